"""Room on the disk that is kept for the way back: on a full disk users can still be taken back, and what happened be noted."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mlpipeline.errors import EnvironmentFault

KEPT_BYTES = 4 << 20
"""Journal, routes and ledger of a return take a few hundred kilobytes."""
LEAST_BYTES = 16 << 20
"""Free, besides what is kept, before anything is released."""


def keep_room(folder: Path) -> None:
    """Keeps room in the folder while there is plenty; really written, so that it cannot be given to anybody else."""
    file = folder / "room"
    with suppress(OSError):
        if file.is_file() or free(folder) < LEAST_BYTES + KEPT_BYTES:
            return
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, KEPT_BYTES)
        finally:
            os.close(handle)


def use_room(folder: Path) -> bool:
    """Gives the room free when the disk is nearly full; whether it did. It is kept again once there is plenty."""
    with suppress(OSError):
        if free(folder) < KEPT_BYTES:
            (folder / "room").unlink()
            return True
    return False


def refuse_without_room(folder: Path) -> None:
    """Raises EnvironmentFault when a release would run out of room on its way."""
    with suppress(OSError):
        if free(folder) >= LEAST_BYTES:
            return
        raise EnvironmentFault(
            "the disk is nearly full; nothing was changed",
            facts={"folder": folder, "free": f"{free(folder) / (1 << 20):.1f} MiB", "needed": f"{LEAST_BYTES >> 20} MiB"},
            likely="bundles and environments of earlier releases",
            tries=("mlpipeline nightly    # removes what is old", f"df -h {folder}"),
        )


def free(folder: Path) -> int:
    """Bytes that this user may still write there."""
    there = next(part for part in (folder, *folder.parents) if part.exists())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize
