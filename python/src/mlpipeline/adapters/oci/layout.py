"""OCI layout folders, and the archive that both ``docker load`` and OCI tools read."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from mlpipeline.adapters.oci.blobs import Blob, FileBlob, disk_errors, other_digest, put
from mlpipeline.adapters.oci.image import Image
from mlpipeline.core.image import (
    INDEX_TYPE,
    REF_NAME,
    Descriptor,
    Entry,
    encoded,
    header,
    padding,
    tar_end,
    with_folders,
)
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.files import sync_folder, write_atomically, write_blocks

_LAYOUT = {"blobs", "oci-layout", "index.json"}
_VERSION = encoded({"imageLayoutVersion": "1.0.0"})


def write_layout(image: Image, folder: Path, name: str, annotations: Mapping[str, str]) -> int:
    """Puts the image into an OCI layout under a name; returns the bytes written, 0 when all of it was there.

    The index names it last, so that a reader finds the old image or the new one. An image that had the name before goes, with
    what no other one shares. Raises ConfigurationError when the folder is something else.
    """
    index = _index(folder)
    if folder.exists() and index is None and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= _LAYOUT):
        raise ConfigurationError(
            "the folder for the image holds something else", facts={"image.layout": folder}, tries=("choose an empty folder",)
        )
    blobs = folder / "blobs" / "sha256"
    with disk_errors(folder, image.bytes):
        written = _put_all(blobs, (*image.blobs, image.config_blob, image.manifest_blob))
        known = [entry for entry in index or [] if entry.annotations.get(REF_NAME) != name]
        mine = msgspec.structs.replace(image.descriptor, annotations={**annotations, REF_NAME: name})
        content = _index_bytes([*known, mine])
        if not (folder / "oci-layout").is_file():
            write_atomically(folder / "oci-layout", _VERSION)
        file = folder / "index.json"
        if not file.is_file() or file.read_bytes() != content:
            write_atomically(file, content)
            (folder / "oci-layout").chmod(0o644)
            file.chmod(0o644)
            written += len(content)
            replaced = [entry for entry in index or [] if entry.annotations.get(REF_NAME) == name]
            _forget(blobs, replaced, [*known, mine])
    return written


def _put_all(folder: Path, blobs: Sequence[Blob]) -> int:
    """Writes what is missing; when one of them cannot be written, those that came before it go again: nothing names them yet."""
    written: dict[Path, int] = {}
    try:
        for blob in blobs:
            if size := put(folder, blob):
                written[folder / blob.descriptor.digest.removeprefix("sha256:")] = size
        sync_folder(folder)
    except BaseException:
        for place in written:
            place.unlink(missing_ok=True)
        raise
    return sum(written.values())


def borrowed_layout(image: Image, folder: Path) -> None:
    """An OCI layout of one image for a look into it. A file of the same disk gets another name there and is not copied; symbolic
    links are refused by programs that read layouts.

    Raises EnvironmentFault when the disk is full.
    """
    blobs = folder / "blobs" / "sha256"
    with disk_errors(folder, image.bytes):
        blobs.mkdir(parents=True)
        for blob in (*image.blobs, image.config_blob, image.manifest_blob):
            place = blobs / blob.descriptor.digest.removeprefix("sha256:")
            if isinstance(blob, FileBlob) and blob.whole:
                with contextlib.suppress(OSError):
                    os.link(blob.file, place)
            put(blobs, blob)
        (folder / "oci-layout").write_bytes(_VERSION)
        (folder / "index.json").write_bytes(_index_bytes([image.descriptor]))


def write_archive(image: Image, file: Path, tag: str) -> int:
    """Writes one tar that ``docker load`` reads, and OCI tools as well; returns the bytes written, 0 when it stood there.

    Args:
        tag: ``name:tag`` that the engine gives the image.
    """
    pieces, blobs = _archive_pieces(image, tag)
    size = sum(len(part) if isinstance(part, bytes) else part.descriptor.size for part in pieces) + sum(
        len(padding(blob.descriptor.size)) for blob in blobs
    )
    first = pieces[0]
    with disk_errors(file.parent, size):
        if isinstance(first, bytes) and file.is_file() and file.stat().st_size == size and _starts_with(file, first):
            return 0
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as target:
                write_blocks(_archive_blocks(pieces), target)
                os.fchmod(target.fileno(), 0o644)
            os.replace(temporary, file)
            sync_folder(file.parent)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    return size


def _archive_pieces(image: Image, tag: str) -> tuple[list[bytes | Blob], list[Blob]]:
    """The archive from its begin to its end: first what names the image, so that a look at it tells whether it is the one."""

    def place(digest: str) -> str:
        return f"blobs/sha256/{digest.removeprefix('sha256:')}"

    docker = [
        {
            "Config": place(image.config_blob.descriptor.digest),
            "RepoTags": [tag],
            "Layers": [place(layer.descriptor.digest) for layer in image.layers],
        }
    ]
    texts = {
        "index.json": _index_bytes([msgspec.structs.replace(image.descriptor, annotations={REF_NAME: tag.rpartition(":")[2]})]),
        "manifest.json": encoded(docker),
        "oci-layout": _VERSION,
    }
    folders = [entry for entry in with_folders([Entry("blobs/sha256/x")]) if entry.kind == "folder"]
    pieces: list[bytes | Blob] = []
    start = b"".join(
        header(Entry(name, size=len(content))) + content + padding(len(content)) for name, content in sorted(texts.items())
    )
    pieces.append(start + b"".join(header(entry) for entry in folders))
    blobs = {blob.descriptor.digest: blob for blob in (*image.blobs, image.config_blob, image.manifest_blob)}
    for digest in sorted(blobs):
        pieces += [header(Entry(place(digest), size=blobs[digest].descriptor.size)), blobs[digest]]
    return [*pieces, tar_end()], list(blobs.values())


def _archive_blocks(pieces: list[bytes | Blob]) -> Iterator[bytes]:
    for part in pieces:
        if isinstance(part, bytes):
            yield part
        else:
            yield from _checked(part)
            yield padding(part.descriptor.size)


def _starts_with(file: Path, start: bytes) -> bool:
    with file.open("rb") as there:
        return there.read(len(start)) == start


def _checked(blob: Blob) -> Iterator[bytes]:
    import hashlib

    digest = hashlib.sha256()
    for block in blob.blocks():
        digest.update(block)
        yield block
    if (found := f"sha256:{digest.hexdigest()}") != blob.descriptor.digest:
        raise other_digest(blob.descriptor.digest, found, "a layer of the image")


def _index(folder: Path) -> list[Descriptor] | None:
    """What a layout names; None when the folder is none."""

    class Index(msgspec.Struct):
        manifests: list[Descriptor] = []

    try:
        return msgspec.json.decode((folder / "index.json").read_bytes(), type=Index).manifests
    except (OSError, msgspec.DecodeError):
        return None


def _index_bytes(manifests: list[Descriptor]) -> bytes:
    ordered = sorted(manifests, key=lambda entry: (entry.annotations.get(REF_NAME, ""), entry.digest))
    return encoded({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": ordered})


def _forget(blobs: Path, replaced: list[Descriptor], kept: list[Descriptor]) -> None:
    """Removes what only replaced images had."""
    needed = set().union(*(_parts(blobs, entry.digest) for entry in kept))
    for entry in replaced:
        for digest in _parts(blobs, entry.digest) - needed:
            (blobs / digest.removeprefix("sha256:")).unlink(missing_ok=True)


def _parts(blobs: Path, digest: str) -> set[str]:
    class Parts(msgspec.Struct):
        config: Descriptor
        layers: list[Descriptor]

    found = {digest}
    with contextlib.suppress(OSError, msgspec.DecodeError):
        content = (blobs / digest.removeprefix("sha256:")).read_bytes()
        parts = msgspec.json.decode(content, type=Parts)
        found |= {parts.config.digest, *(layer.digest for layer in parts.layers)}
    return found
