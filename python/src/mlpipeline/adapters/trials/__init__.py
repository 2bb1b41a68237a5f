"""Copies of a project in which trials run beside each other, and what moves between them and the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from mlpipeline.errors import EnvironmentFault


def copy_project(project: Path, folder: Path, *, leave: Iterable[str]) -> None:
    """Makes ``folder`` a copy of the project, without virtual environments and what is in ``leave`` (names at its top).

    Data is shared with the original where the file system can (copy on write).
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    left = set(leave)
    entries = [
        str(entry) for entry in sorted(project.iterdir()) if entry.name not in left and not (entry / "pyvenv.cfg").is_file()
    ]
    if not entries:
        return
    copied = subprocess.run(
        ["cp", "-a", "--reflink=auto", "--", *entries, str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if copied.returncode:
        raise EnvironmentFault(
            "the project cannot be copied for a trial",
            facts={"folder": folder, "found": copied.stderr.strip()[-500:]},
            likely="the disk is full: each worker of a sweep has a copy of the project",
            tries=("df -h", "train.sweep.workers: 1"),
        )


def take(source: Path, target: Path) -> None:
    """Replaces ``target``, a file or folder, by a copy of ``source``; nothing when there is no source."""
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.trial")
    remove(beside)
    if source.is_dir():
        shutil.copytree(source, beside, symlinks=True)
    else:
        shutil.copy2(source, beside)
    remove(target)
    os.replace(beside, target)


def remove(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
