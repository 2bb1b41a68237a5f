"""Blobs as streams: nothing is ever held in memory as a whole, and nothing counts as written before its digest was seen.

A layer of a bundle exists only as a recipe: its bytes are produced from the bundle's files whenever they are needed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from mlpipeline.core.image import Descriptor, Entry, header, padding, tar_end
from mlpipeline.errors import EnvironmentFault
from mlpipeline.record.files import write_blocks

BLOCK_BYTES = 1 << 20
_KERNEL_BYTES = 64 << 20


class Blob(Protocol):
    """Bytes with a digest."""

    @property
    def descriptor(self) -> Descriptor: ...

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        """The content from this offset on. Raises EnvironmentFault when its source is gone or was changed meanwhile."""


class TextBlob:
    """A small one, in memory."""

    def __init__(self, descriptor: Descriptor, content: bytes) -> None:
        self.descriptor = descriptor
        self._content = content

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        yield self._content[start:]


class FileBlob:
    """A blob that lies in a file of its own, or in a part of one that begins at ``offset``."""

    def __init__(self, descriptor: Descriptor, file: Path, offset: int = 0) -> None:
        self.descriptor = descriptor
        self.file = file
        self._offset = offset

    @property
    def whole(self) -> bool:
        """Whether the file holds nothing else."""
        return not self._offset and self.file.stat().st_size == self.descriptor.size

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        yield from _read(self.file, self._offset + start, self.descriptor.size - start)


class TarBlob:
    """A layer that is made of its entries' files each time it is read.

    Args:
        fresh: The files were written and measured by this very process: they need not be compared with the digest once more.
    """

    def __init__(self, descriptor: Descriptor, entries: Sequence[Entry], *, fresh: bool = False) -> None:
        self.descriptor = descriptor
        self.entries = tuple(entries)
        self.fresh = fresh

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        yield from tar_blocks(self.entries, start)


def tar_blocks(entries: Sequence[Entry], start: int = 0) -> Iterator[bytes]:
    """The bytes of the layer with these entries, which stand in the order they are to have, from an offset on."""
    skip = start
    for entry in entries:
        for part in (header(entry), entry, padding(entry.size)):
            size = len(part) if isinstance(part, bytes) else part.size
            if skip >= size:
                skip -= size
                continue
            if isinstance(part, bytes):
                yield part[skip:]
            else:
                yield from _read(Path(part.source), skip, size - skip)
            skip = 0
    yield tar_end()[skip:]


def measured(entries: Sequence[Entry]) -> tuple[str, int]:
    """Digest and size of the layer with these entries, by reading all of them."""
    digest, size = hashlib.sha256(), 0
    for block in tar_blocks(entries):
        digest.update(block)
        size += len(block)
    return f"sha256:{digest.hexdigest()}", size


def put(folder: Path, blob: Blob) -> int:
    """Writes the blob into ``folder`` under its hex digest, unless it is there; returns how many bytes were written.

    The name appears by a rename, once the bytes were seen to have this digest; that it survives a power cut is up to whoever
    writes down that it is there. Raises EnvironmentFault when they have not, or when the disk is full; nothing of it stays.
    """
    wanted = blob.descriptor
    place = folder / wanted.digest.removeprefix("sha256:")
    if place.is_file() and place.stat().st_size == wanted.size:
        return 0
    with disk_errors(folder, wanted.size):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                digest = hashlib.sha256()
                os.fchmod(file.fileno(), 0o644)
                if isinstance(blob, TarBlob) and blob.fresh:
                    _copy_within(blob, file)
                    found = wanted.digest
                else:
                    write_blocks(blob.blocks(), file, digest.update)
                    found = f"sha256:{digest.hexdigest()}"
            if found != wanted.digest or Path(name).stat().st_size != wanted.size:
                raise other_digest(wanted.digest, found, str(place))
            Path(name).rename(place)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    return wanted.size


def _copy_within(blob: TarBlob, file: BinaryIO) -> None:
    """Has the kernel copy the files, without a look at them, and without waiting for the disk: they lie safely in the bundle, and
    a copy that a power cut tears has another size, so that it is made again."""
    for entry in blob.entries:
        file.write(header(entry))
        if entry.size:
            file.flush()
            with Path(entry.source).open("rb", buffering=0) as source:
                left = entry.size
                while left and (sent := os.sendfile(file.fileno(), source.fileno(), None, min(left, _KERNEL_BYTES))):
                    left -= sent
        file.write(padding(entry.size))
    file.write(tar_end())


def other_digest(wanted: str, found: str, where: str) -> EnvironmentFault:
    """What was read is not what its name says."""
    return EnvironmentFault(
        "the content is not what its digest says, nothing of it is used",
        facts={"read from": where, "wanted": wanted, "found": found},
        likely="a file was changed while it was read, a disk or a registry lost data, or somebody tampered with it",
        tries=("run it again", "mlpipeline package    # after the bundle was restored"),
    )


@contextlib.contextmanager
def disk_errors(folder: Path, needed: int) -> Iterator[None]:
    """Tells what a full disk or a missing right means, in words."""
    try:
        yield
    except OSError as error:
        there = next((place for place in (folder, *folder.parents) if place.is_dir()), Path("/"))
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise EnvironmentFault(
                "the disk is full, the image was not written and nothing of it was left behind",
                facts={
                    "folder": folder,
                    "needed": f"{needed / 1e6:.1f} MB",
                    "free": f"{shutil.disk_usage(there).free / 1e6:.1f} MB",
                },
                tries=(f"free some space: df -h {there}", "keep the state on a larger disk: MLPIPELINE_HOME=/path"),
            ) from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError | IsADirectoryError):
            raise EnvironmentFault(
                "the image could not be written there",
                facts={"file": error.filename or folder, "system": error.strerror},
                tries=("choose another place in image.layout or image.archive",),
            ) from error
        raise


def _read(file: Path, start: int, size: int) -> Iterator[bytes]:
    left = size
    try:
        with file.open("rb", buffering=0) as source:
            source.seek(start)
            while left and (block := source.read(min(BLOCK_BYTES, left))):
                left -= len(block)
                yield block
    except FileNotFoundError as error:
        raise EnvironmentFault(
            "a file of the image is not there any more", facts={"missing": file}, tries=("mlpipeline package",)
        ) from error
    if left:
        raise EnvironmentFault(
            "a file of the image became shorter while it was read", facts={"file": file}, tries=("run it again",)
        )
