"""Builds a bundle and an image from a model and a wheelhouse and prints what came of it, as JSON:
``python image_builder.py MODEL WHEELS BASE SCRATCH``.

For tests that do it in several ways that must not matter: as another user, elsewhere, later, on another machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
import zipfile
from pathlib import Path

from fakes import FakeClock, FakeConsole
from mlpipeline.adapters.bundle import Digests, build
from mlpipeline.adapters.cyclonedx import environment_bom, site_packages
from mlpipeline.adapters.environment import Environments
from mlpipeline.adapters.oci.layout import write_archive
from mlpipeline.config.model import Config
from mlpipeline.config.sections.packaging import Image
from mlpipeline.config.sections.training import Train
from mlpipeline.core import sbom
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.places import Places
from mlpipeline.record.result import Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context, World
from mlpipeline.verbs.package import Packing, _sources
from mlpipeline.verbs.package_image import PreparedImage, prepare_image


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


def wheel_of(folder: Path, name: str) -> None:
    """The wheel that an installed distribution came from, as good as: one with compiled files, without an index."""
    found = importlib.metadata.distribution(name)
    version = found.version
    files = {
        str(file): Path(str(file.locate())) for file in found.files or () if ".." not in file.parts and file.suffix != ".pyc"
    }
    tag = next(line.removeprefix("Tag: ") for line in (found.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: "))
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        for path, file in sorted(files.items()):
            if file.name not in {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}:
                wheel.write(file, path)
        wheel.writestr(f"{name}-{version}.dist-info/RECORD", "".join(f"{path},,\n" for path in sorted(files)))


def prepared(model: Path, wheels: Path, base: str, scratch: Path) -> tuple[Context, Packing, PreparedImage]:
    """Bundle and image of a model with the serving code and all wheels of a folder, by what ``package`` calls itself."""

    def absent(*_: object) -> None:
        raise AssertionError("not asked for")

    places = Places(project=scratch / "project", home=scratch / "home", service="tiny")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    environments = Environments(places, wheels)
    lock = environments.lock(["==".join(file.name.split("-")[:2]) for file in wheels.iterdir()], python=python)
    context = Context(
        config=Config(service="tiny", train=Train(command="true"), image=Image(base=base)),
        places=places,
        clock=FakeClock(),
        console=FakeConsole(),
        world=World(target=absent, registry=absent, metrics=absent),  # type: ignore[arg-type]
    )
    bundle = build(
        places.bundles,
        _sources(context, model),
        {"requirements.lock": lock.text},
        lock=lock.digest,
        python=python,
        digests=Digests(scratch / "digests.json"),
    )
    run = Run(id=f"run-of-{os.getpid()}", service="tiny", commit="a" * 40, created="")
    trained = Result(verb="train", service="tiny", run=run.id, verdict=Verdict.PASS, summary="")
    packing = Packing(bundle, lock, environments, trained)
    return context, packing, prepare_image(context, run, packing)


def built(model: Path, wheels: Path, base: str, scratch: Path) -> str:
    """The digest of the image."""
    return prepared(model, wheels, base, scratch)[2].image.digest


def everything(model: Path, wheels: Path, base: str, scratch: Path) -> dict[str, str]:
    """Digests of all that is published: bundle, each layer, configuration, image, archive and bill of materials."""
    _, packing, made = prepared(model, wheels, base, scratch)
    write_archive(made.image, scratch / "image.tar", "tiny:1")
    site = site_packages(packing.environments.install(packing.lock))
    told = sbom.Modelled("tiny", packing.built.manifest.digest, "a" * 40, made="2026-03-01T00:00:00Z", worker="1")
    bill = sbom.bill(told, environment_bom(packing.lock.text, site))
    return {
        "bundle": packing.built.manifest.digest,
        "image": made.image.digest,
        "configuration": made.image.config_blob.descriptor.digest,
        **{f"layer: {layer.title or 'base'}": layer.descriptor.digest for layer in made.image.layers},
        "archive": hashlib.sha256((scratch / "image.tar").read_bytes()).hexdigest(),
        "bill of materials": hashlib.sha256(bill).hexdigest(),
    }


if __name__ == "__main__":
    print(json.dumps(everything(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))))
