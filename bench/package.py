"""Packaging beside one SHA-256 and one copy of the same bytes, in one run: ratios.

A model of 200 MB by default, with the worker's own serving code; the lock is given, so that no index is measured.

    python bench/package.py [--megabytes 200] [--rounds 3]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlpipeline.adapters import bundle as bundles
from mlpipeline.adapters.bundle import Built, Digests, build, files_under

CODE_FILES = 40


def write_project(folder: Path, megabytes: int) -> None:
    """One file with the weights, a few small ones beside it, some code."""
    (folder / "model").mkdir(parents=True)
    (folder / "code").mkdir()
    with (folder / "model" / "weights.bin").open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))
    (folder / "model" / "MLmodel").write_text("flavors: {}\n")
    for index in range(CODE_FILES):
        (folder / "code" / f"part{index}.py").write_text(f"PART = {index}\n" * 200)


def package(project: Path, home: Path) -> Built:
    """What the verb does once the lock is there."""
    sources = {**files_under(project / "model", "model"), **files_under(project / "code", "code")}
    digests = Digests(home / "digests.json")
    built = build(
        home / "bundles", sources, {"requirements.lock": "# python 3.11\n"}, lock="sha256:0", python="3.11", digests=digests
    )
    digests.save()
    return built


def hash_and_copy(project: Path, target: Path) -> None:
    """The least that could be done: each byte hashed once and copied once, and safely on the disk as the bundle's are."""
    for file in project.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(project)
            place.parent.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as source:
                hashlib.file_digest(source, "sha256")
            shutil.copyfile(file, place)
            with place.open("rb") as written:
                os.fsync(written.fileno())


def timed(work: Callable[[], object]) -> float:
    """Seconds, with a disk that has nothing left to write of what came before."""
    os.sync()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def one_round(megabytes: int) -> dict[str, float]:
    """Seconds by case, all in fresh folders."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project, home = folder / "project", folder / "home"
        write_project(project, megabytes)
        # A file must be two seconds old to be remembered; by the time a pipeline packages, its model is.
        time.sleep(bundles._YOUNG_SECONDS + 0.2)
        seconds = {"sha256 + copy": timed(lambda: hash_and_copy(project, folder / "plain"))}
        seconds["first build"] = timed(lambda: package(project, home))
        seconds["unchanged"] = timed(lambda: package(project, home))
        (project / "model" / "MLmodel").write_text("flavors: {python_function: {}}\n")
        seconds["small file of the model changed"] = timed(lambda: package(project, home))
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds = [one_round(options.megabytes) for _ in range(options.rounds)]
    median = {case: statistics.median(found[case] for found in rounds) for case in rounds[0]}
    base = median["sha256 + copy"]
    print(f"{options.megabytes} MB and {CODE_FILES} files, median of {options.rounds}")
    for case, seconds in median.items():
        print(f"  {case:<32} {seconds * 1000:9.1f} ms  {seconds / base:7.3f} x")


if __name__ == "__main__":
    main()
