"""Writing files so that a crash leaves the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from mlpipeline.errors import EnvironmentFault

T = TypeVar("T")


def write_atomically(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Temporary file in the same folder, fsync, rename, fsync of the folder. Creates missing folders.

    Args:
        mode: Permission bits of the file; None: for this user alone.
    """
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write knows only its number, and a person needs to know which disk is full
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_own(path: Path, kind: type[T], what: str, tries: Sequence[str] = ()) -> T:
    """The content of a JSON file that mlpipeline itself wrote.

    Args:
        what: The file in words.

    Raises:
        FileNotFoundError: There is none.
        EnvironmentFault: Something else wrote into it, or a disk lost data. It is never guessed at.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvironmentFault(
            f"{what} cannot be read",
            facts={"file": path, "found": error},
            likely="someone edited the file, or a disk lost data",
            tries=tries or (f"mv {path} {path}.broken", "then run the same command again"),
        ) from error
