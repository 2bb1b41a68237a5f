"""Builds an image from a model and a wheelhouse and prints its digest: ``python image_builder.py MODEL WHEELS BASE SCRATCH``.

For tests that do it in several ways that must not matter: as another user, elsewhere, later, with other settings.
"""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

from fakes import FakeClock, FakeConsole
from mlpipeline.adapters.bundle import Digests, build, files_under
from mlpipeline.adapters.environment import Environments
from mlpipeline.config.model import Config
from mlpipeline.config.sections.packaging import Image
from mlpipeline.config.sections.training import Train
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.places import Places
from mlpipeline.record.result import Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context, World
from mlpipeline.verbs.package import Packing
from mlpipeline.verbs.package_image import prepare_image


def write_wheel(folder: Path, name: str) -> None:
    """A wheel with a module and a program."""
    info = f"{name}-1.0.dist-info"
    texts = {
        f"{name}/__init__.py": f"def main() -> None:\n    print({name!r})\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-program = {name}:main\n",
    }
    record = "".join(f"{path},,\n" for path in [*texts, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in {**texts, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


def built(model: Path, wheels: Path, base: str, scratch: Path) -> str:
    def absent(*_: object) -> None:
        raise AssertionError("not asked for")

    places = Places(project=scratch / "project", home=scratch / "home", service="tiny")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    environments = Environments(places, wheels)
    lock = environments.lock(["alpha==1.0", "beta==1.0"], python=python)
    texts = {"requirements.lock": lock.text}
    digests = Digests(scratch / "digests.json")
    bundle = build(places.bundles, files_under(model, "model"), texts, lock=lock.digest, python=python, digests=digests)
    context = Context(
        config=Config(service="tiny", train=Train(command="true"), image=Image(base=base)),
        places=places,
        clock=FakeClock(),
        console=FakeConsole(),
        world=World(target=absent, registry=absent, metrics=absent),  # type: ignore[arg-type]
    )
    run = Run(id=f"run-of-{os.getpid()}", service="tiny", commit="a" * 40, created="")
    trained = Result(verb="train", service="tiny", run=run.id, verdict=Verdict.PASS, summary="")
    return prepare_image(context, run, Packing(bundle, lock, environments, trained)).image.digest


if __name__ == "__main__":
    print(built(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))
