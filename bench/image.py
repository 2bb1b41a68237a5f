"""Making and pushing an image beside one SHA-256 and one copy of the same weights, in one run: ratios.

A model of 512 MB by default. The base and the dependencies are small and there already, as in every packaging but the first of a
lock. With a real registry (tools/setup_images.sh) also what a push sends.

    python bench/image.py [--megabytes 512] [--rounds 3]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))

from image_parts import PROGRAMS, registry_server, small_base
from mlpipeline.adapters import bundle as bundles
from mlpipeline.adapters.environment import Environments, Lock
from mlpipeline.config.sections.packaging import Image
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Result
from mlpipeline.verbs import package
from small_project import SmallProject


def unpack(_: Environments, lock: Lock, folder: Path) -> Path:
    """A small environment: the real one is made once per lock."""
    site = folder / "lib" / f"python{lock.python}" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (site / "one.py").write_text("ONE = 1\n")
    return site


def not_installed(_: Environments, __: Lock) -> Path:
    return Path("/not/installed")


def write_weights(file: Path, megabytes: int) -> None:
    with file.open("wb") as target:
        for _ in range(megabytes):
            target.write(os.urandom(1 << 20))


def hash_and_copy(weights: Path, target: Path) -> None:
    """The least that could be done: each byte hashed once and copied once, safely on the disk as the bundle's are."""
    with weights.open("rb") as source:
        hashlib.file_digest(source, "sha256")
    shutil.copyfile(weights, target)
    with target.open("rb") as written:
        os.fsync(written.fileno())


def timed(work: Callable[[], object]) -> float:
    """Seconds, with a disk that has nothing left to write of what came before."""
    os.sync()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class Pipeline:
    """A project with a model of this size, packaged by the verb itself; what stood before it is written down, not done."""

    def __init__(self, folder: Path, megabytes: int, **image: str) -> None:
        self.project = SmallProject(folder, image=Image(base=small_base(folder / "base"), **image))
        self.model = self.project.folder / "model"
        shutil.copytree(self.project.folder / "made", self.model)
        self.weights = self.model / "weights.bin"
        write_weights(self.weights, megabytes)
        self.run = self.project.run()
        self.trained()

    def trained(self) -> None:
        """The model counts as trained, and is old enough to be remembered, as it is when a pipeline gets to packaging."""
        time.sleep(bundles._YOUNG_SECONDS + 0.2)
        memory = bundles.Digests(self.project.places.work / "digests-model.json")
        digest = bundles.folder_digest(self.model, memory)
        memory.save()
        self.project.passed(self.run, "train", model_digest=digest, data_version={})
        self.project.passed(self.run, "gate-security", model_digest=digest)

    def package(self) -> Result:
        result = package.run(self.project.context(), self.run)
        assert result.verdict is Verdict.PASS
        return result


def moved(result: Result) -> dict[str, int]:
    image = result.evidence["image"]
    assert isinstance(image, dict)
    model = next(layer["bytes"] for layer in image["layers"] if layer["title"] == "model")
    return {"sent": image["sent"], "written": image["written"], "model": model}


def one_round(folder: Path, megabytes: int, **image: str) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds by case, and shares of the model's bytes."""
    pipeline = Pipeline(folder, megabytes, **image)
    # The lock, the base and the dependencies of a project are there when its next model comes.
    small = pipeline.weights.with_name("weights.aside")
    pipeline.weights.rename(folder / small.name)
    pipeline.trained()
    pipeline.package()
    (folder / small.name).rename(pipeline.weights)
    pipeline.trained()
    seconds = {"sha256 + copy": timed(lambda: hash_and_copy(pipeline.weights, folder / "plain"))}
    found: list[Result] = []
    seconds["package"] = timed(lambda: found.append(pipeline.package()))
    seconds["unchanged"] = timed(lambda: found.append(pipeline.package()))
    assert found[1] == found[0], "an unchanged model has no new result: nothing was sent or written"
    with pipeline.weights.open("r+b") as weights:
        weights.write(b"changed")
    pipeline.trained()
    seconds["changed model"] = timed(lambda: found.append(pipeline.package()))
    last = moved(found[2])
    return seconds, {"moved for a changed model / model": (last["sent"] or last["written"]) / last["model"]}


def report(title: str, rounds: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    median = {case: statistics.median(seconds[case] for seconds, _ in rounds) for case in rounds[0][0]}
    base = median["sha256 + copy"]
    print(f"  {title}")
    for case, seconds in median.items():
        print(f"    {case:<32} {seconds * 1000:9.1f} ms  {seconds / base:7.3f} x")
    for name in rounds[0][1]:
        print(f"    {name:<32} {max(shares[name] for _, shares in rounds):9.5f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    Environments.unpack = unpack  # type: ignore[method-assign]
    Environments.install = not_installed  # type: ignore[method-assign]
    layouts, pushes = [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            layouts.append(one_round(Path(name), options.megabytes))
        if (PROGRAMS / "bin" / "docker-registry").exists():
            with tempfile.TemporaryDirectory() as name, registry_server(Path(name, "registry")) as registry:
                pushes.append(one_round(Path(name), options.megabytes, repository=f"{registry.host}/bench/model"))
    print(f"{options.megabytes} MB of weights, median of {options.rounds}")
    report("into an OCI layout", layouts)
    if pushes:
        report("pushed to a registry on this machine", pushes)
    else:
        print("  not pushed: there is no registry here, see tools/setup_images.sh")


if __name__ == "__main__":
    main()
