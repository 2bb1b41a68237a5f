"""Layers from bundles and from folders. What a layer's digest is, is remembered by what is in it, so that it is read once."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from mlpipeline.adapters.oci.blobs import BLOCK_BYTES, Blob, FileBlob, TarBlob, measured, put
from mlpipeline.core.image import (
    LAYER_TYPE,
    Descriptor,
    Entry,
    Layer,
    digest_of,
    encoded,
    header,
    padding,
    recipe,
    tar_end,
    tar_size,
    with_folders,
)
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.files import used, write_atomically


class Measured(msgspec.Struct, frozen=True):
    """What was found by reading a layer once. ``lock``: hex digest of the lock that it is the environment of."""

    digest: str
    size: int
    lock: str = ""


def layer(images: Path, entries: Iterable[Entry], title: str, *, fresh: bool = False) -> tuple[Layer, Blob]:
    """The layer with these entries; a layer with the same names, modes and contents was measured before: nothing is read.

    Args:
        fresh: This process wrote the files and knows their digests.
    """
    listed = with_folders(entries)
    memory = _memory(images, listed)
    known = _remembered(memory)
    if known is None:
        known = Measured(*measured(listed))
        write_atomically(memory, msgspec.json.encode(known))
    return _described(known, listed, title, fresh=fresh)


class WatchedLayer:
    """A layer that is measured while somebody else copies its files, so that nothing is read a second time for it.

    Args:
        images: Where it is remembered.
        files: Path to the file, all that the layer will have.
        prefix: What stands before the paths in the image.
    """

    def __init__(self, images: Path, files: Mapping[str, Path], prefix: str) -> None:
        self._images = images
        self._prefix = prefix
        self._left = list(with_folders(_unread(f"{prefix}/{path}", file) for path, file in files.items()))
        self._digest, self._size = hashlib.sha256(), 0
        self._entries: list[Entry] = []

    def begin(self, path: str) -> None:
        """The next bytes are those of this file. Files come in the order of their paths."""
        while self._left and self._left[0].path <= f"{self._prefix}/{path}":
            self._entries.append(self._left.pop(0))
            self.update(header(self._entries[-1]))

    def update(self, block: bytes) -> None:
        """The next bytes."""
        self._digest.update(block)
        self._size += len(block)

    def end(self, sha256: str) -> None:
        """The file is complete, and this is its digest (hex)."""
        entry = msgspec.structs.replace(self._entries.pop(), sha256=sha256)
        self._entries.append(entry)
        self.update(padding(entry.size))

    def remember(self) -> None:
        """All files came: :func:`layer` will not read them."""
        self.update(tar_end())
        if not self._left and self._size == tar_size(self._entries):
            known = Measured(f"sha256:{self._digest.hexdigest()}", self._size)
            write_atomically(_memory(self._images, self._entries), msgspec.json.encode(known))


def _unread(path: str, file: Path) -> Entry:
    found = file.stat()
    return Entry(path, mode=0o755 if found.st_mode & stat.S_IXUSR else 0o644, size=found.st_size)


def _memory(images: Path, entries: Iterable[Entry]) -> Path:
    return images / "layers" / f"{recipe(entries).removeprefix('sha256:')}.json"


def kept_layer(images: Path, key: str, title: str) -> tuple[Layer, Blob] | None:
    """The layer that :func:`keep_layer` kept under this key, None when it is not there."""
    known = _remembered(_kept(images, key))
    if known is None:
        return None
    file = images / "blobs" / "sha256" / known.digest.removeprefix("sha256:")
    if not file.is_file() or file.stat().st_size != known.size:
        return None
    used(_kept(images, key))
    descriptor = Descriptor(LAYER_TYPE, known.digest, known.size)
    return Layer(descriptor, known.digest, title), FileBlob(descriptor, file)


def keep_layer(images: Path, key: str, entries: Iterable[Entry], title: str, lock: str) -> tuple[Layer, Blob]:
    """Writes a layer whose files will not stay into the state folder, under a key that says what it was made from.

    Args:
        lock: Hex digest of the lock that it is the environment of.
    """
    listed = with_folders(entries)
    known = Measured(*measured(listed), lock)
    made, blob = _described(known, listed, title)
    put(images / "blobs" / "sha256", blob)
    write_atomically(_kept(images, key), msgspec.json.encode(known))
    return kept_layer(images, key, title) or (made, blob)


def entries_under(folder: Path, prefix: str, leave_out: frozenset[str] = frozenset()) -> list[Entry]:
    """The files and links below a folder as they are to stand below ``prefix``, each read once for its digest.

    Bytecode is left out, and what ``leave_out`` names (paths relative to the folder). Raises ConfigurationError for a name
    that is not UTF-8, or a link with an absolute target, which leads elsewhere in an image.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files + [name for name in folders if Path(place, name).is_symlink()]:
            file = Path(place, name)
            inside = str(file.relative_to(folder))
            if inside in leave_out or name.endswith((".pyc", ".pyo")):
                continue
            found.append(_entry(file, f"{prefix}/{inside}"))
    return found


def key_of(*parts: str) -> str:
    """A name for what was made from these."""
    return digest_of(encoded(parts)).removeprefix("sha256:")


def _entry(file: Path, path: str) -> Entry:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError("a file's name is not UTF-8 text", facts={"file": ascii(str(file))}) from error
    if file.is_symlink():
        target = str(file.readlink())
        if target.startswith("/"):
            raise ConfigurationError("a link leads out of the image", facts={"file": file, "target": target})
        return Entry(path, kind="link", mode=0o777, target=target)
    with file.open("rb", buffering=0) as source:
        digest, size = hashlib.sha256(), 0
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            size += len(block)
        mode = 0o755 if os.fstat(source.fileno()).st_mode & stat.S_IXUSR else 0o644
    return Entry(path, mode=mode, size=size, sha256=digest.hexdigest(), source=str(file))


def _described(known: Measured, entries: tuple[Entry, ...], title: str, *, fresh: bool = False) -> tuple[Layer, Blob]:
    descriptor = Descriptor(LAYER_TYPE, known.digest, known.size)
    return Layer(descriptor, known.digest, title), TarBlob(descriptor, entries, fresh=fresh)


def _kept(images: Path, key: str) -> Path:
    return images / "layers" / f"kept-{key}.json"


def _remembered(file: Path) -> Measured | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Measured)
    except (OSError, msgspec.DecodeError):
        return None
