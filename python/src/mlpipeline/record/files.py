"""Writing files so that a crash leaves the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from mlpipeline.errors import EnvironmentFault

T = TypeVar("T")
_SYNC_BYTES = 32 << 20
_SYNCED_TOGETHER = 16


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


def write_blocks(blocks: Iterable[bytes], file: BinaryIO, *consumers: Callable[[bytes], object]) -> None:
    """Writes the blocks, gives each to every consumer, and has all of it on the disk at the end.

    Consumers (digests, mostly) work beside the writing, and the disk is kept busy all along instead of at the end alone: large
    files take about as long as their slowest part.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    ahead = iter(blocks)
    first = next(ahead, b"")
    second = next(ahead, b"")
    if not second:
        for consume in consumers:
            consume(first)
        file.write(first)
        file.flush()
        os.fsync(file.fileno())
        return
    with ThreadPoolExecutor(len(consumers) + 1) as pool:
        syncing: Future[None] | None = None
        jobs: list[Future[object]] = []
        unsynced = 0
        for block in chain((first, second), ahead):
            for job in jobs:  # of the block before: they went on while it was written and this one was read
                job.result()
            jobs = [pool.submit(consume, block) for consume in consumers]
            file.write(block)
            unsynced += len(block)
            if unsynced >= _SYNC_BYTES and (syncing is None or syncing.done()):
                if syncing is not None:
                    syncing.result()
                file.flush()
                syncing, unsynced = pool.submit(os.fdatasync, file.fileno()), 0
        for job in jobs:
            job.result()
        if syncing is not None:
            syncing.result()
    file.flush()
    os.fsync(file.fileno())


def used(note: Path) -> None:
    """Makes a file as young as if it had just been written: what is used is not removed as old."""
    with contextlib.suppress(OSError):  # of another user, who may keep it as it is
        os.utime(note)


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(paths: Sequence[Path]) -> None:
    """Has files and folders on the disk, side by side: a file system that keeps a journal writes it once for many of them."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_SYNCED_TOGETHER) as pool:
        for _ in pool.map(sync_folder, paths):
            pass


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
