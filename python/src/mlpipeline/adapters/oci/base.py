"""The image that others are built on: pinned by digest, brought into the state folder once, each blob compared with its digest.

It comes from a registry (``host/name@sha256:...``), an OCI layout (``oci:FOLDER@sha256:...``) or an archive of ``docker save``
(``docker-archive:FILE@sha256:...``, the digest being the image's id).
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.oci.blobs import Blob, FileBlob, other_digest, put
from mlpipeline.adapters.oci.registry import Registry
from mlpipeline.core.image import (
    DOCKER_INDEX_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    Descriptor,
    Layer,
    Repository,
    digest_of,
    encoded,
    interpreter_path,
    oci_layer_type,
    pinned,
    repository,
)
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.files import used, write_atomically

_TEXT_BYTES = 4 << 20
_GZIP = b"\x1f\x8b"


class Base(msgspec.Struct, frozen=True):
    """A base in the state folder.

    Args:
        pin: The digest it was asked for by.
        config: Its configuration.
        layers: From the lowest on.
        python: Path of the interpreter inside, empty when none of the wanted version was seen.
        repository: Where it came from, if a registry; blobs can be taken over from there.
    """

    pin: str
    config: dict[str, Any]
    layers: tuple[Layer, ...]
    python: str = ""
    repository: str = ""

    def blobs(self, folder: Path) -> list[Blob]:
        """One per layer."""
        return [FileBlob(layer.descriptor, folder / layer.descriptor.digest.removeprefix("sha256:")) for layer in self.layers]


class Source(msgspec.Struct, frozen=True):
    """Where a base is looked for.

    Args:
        text: As configured.
        project: Paths are relative to it.
        platform: ``linux/amd64``; chooses from an index.
        python: The version of the interpreter that has to be inside, such as ``3.11``.
    """

    text: str
    project: Path
    platform: str
    python: str


def base_image(source: Source, images: Path, environment: Mapping[str, str], *, plain_http: bool = False) -> Base:
    """The base, brought into ``images`` unless it is there.

    Raises ConfigurationError for one that is not pinned, is another one, or is for another platform; EnvironmentFault when it
    cannot be had.
    """
    try:
        name, digest = pinned(source.text)
    except ValueError as error:
        raise _unpinned(source, images, environment, plain_http) from error
    blobs = images / "blobs" / "sha256"
    key = digest_of(encoded([digest, source.platform, source.python])).removeprefix("sha256:")
    known = images / "bases" / f"{key}.json"
    if known.is_file():
        try:
            base = msgspec.json.decode(known.read_bytes(), type=Base)
        except msgspec.DecodeError:
            base = None
        if base and all(_there(blobs, layer.descriptor) for layer in base.layers):
            used(known)
            return base
    if name.startswith("docker-archive:"):
        base = _from_archive(_path(source, name.removeprefix("docker-archive:")), digest, source, blobs)
    elif name.startswith("oci:"):
        place = _path(source, name.removeprefix("oci:"))
        base = _from_manifest(_LayoutReader(place), digest, source, blobs)
    else:
        base = _from_manifest(_RegistryReader(_repository(name), environment, plain_http), digest, source, blobs)
        base = msgspec.structs.replace(base, repository=name)
    base = msgspec.structs.replace(base, python=interpreter_path(_names(base, blobs), source.python))
    write_atomically(known, msgspec.json.encode(base))
    return base


def image_of_archive(file: Path, blobs: Path) -> tuple[bytes, tuple[Layer, ...]]:
    """Configuration and layers of what ``docker save`` wrote, its layers put into ``blobs``."""
    try:
        return _archive(file, blobs)
    except (tarfile.TarError, KeyError, IndexError, EOFError, ValueError, msgspec.MsgspecError) as error:
        raise ConfigurationError(
            "this is not an archive of docker save", facts={"file": file, "found": f"{type(error).__name__}: {error}"}
        ) from error


class _LayoutReader:
    """Reads from an OCI layout."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._blobs = folder / "blobs" / "sha256"
        if not (folder / "index.json").is_file():
            raise ConfigurationError("there is no OCI layout", facts={"image.base": folder, "missing": folder / "index.json"})

    def manifest(self, digest: str) -> bytes:
        return self._text(digest)

    def config(self, wanted: Descriptor) -> bytes:
        return self._text(wanted.digest)

    def blob(self, wanted: Descriptor) -> Blob:
        return FileBlob(wanted, self._blobs / wanted.digest.removeprefix("sha256:"))

    def _text(self, digest: str) -> bytes:
        file = self._blobs / digest.removeprefix("sha256:")
        if not file.is_file():
            raise ConfigurationError("the base image is not in the OCI layout", facts={"folder": self.where, "missing": digest})
        with file.open("rb") as source:
            content = source.read(_TEXT_BYTES)
        if digest_of(content) != digest:
            raise other_digest(digest, digest_of(content), str(file))
        return content


class _RegistryReader:
    """Reads from a registry."""

    def __init__(self, place: Repository, environment: Mapping[str, str], plain_http: bool) -> None:
        self.where = str(place)
        self._registry = Registry(place, environment, plain_http=plain_http)

    def manifest(self, digest: str) -> bytes:
        found = self._registry.manifest(digest)
        if found is None:
            raise ConfigurationError("the base image is not in the registry", facts={"image.base": f"{self.where}@{digest}"})
        return found[0]

    def config(self, wanted: Descriptor) -> bytes:
        content = b"".join(self._registry.blob_blocks(wanted, 0)) if wanted.size <= _TEXT_BYTES else b""
        if digest_of(content) != wanted.digest:
            raise other_digest(wanted.digest, digest_of(content), self.where)
        return content

    def blob(self, wanted: Descriptor) -> Blob:
        return self._registry.blob(wanted)


def _from_manifest(reader: _LayoutReader | _RegistryReader, digest: str, source: Source, blobs: Path) -> Base:
    try:
        found = msgspec.json.decode(reader.manifest(digest))
        if found.get("mediaType") in (INDEX_TYPE, DOCKER_INDEX_TYPE) or "manifests" in found:
            found = msgspec.json.decode(reader.manifest(_for_platform(found["manifests"], source)))
        described = msgspec.convert(found["config"], Descriptor)
        config = msgspec.json.decode(reader.config(described), type=dict[str, Any])
        contents = list(config["rootfs"]["diff_ids"])
        descriptors = [msgspec.convert(layer, Descriptor) for layer in found["layers"]]
        layers = tuple(
            Layer(Descriptor(oci_layer_type(layer.media_type), layer.digest, layer.size), content)
            for layer, content in zip(descriptors, contents, strict=True)
        )
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.MsgspecError) as error:
        raise ConfigurationError(
            "the base image cannot be built on", facts={"image.base": source.text, "found": f"{type(error).__name__}: {error}"}
        ) from error
    _same_platform(config, source)
    for layer in layers:
        put(blobs, reader.blob(layer.descriptor))
    return Base(digest, config, layers)


def _for_platform(manifests: list[dict[str, Any]], source: Source) -> str:
    there = {}
    for entry in manifests:
        platform = entry.get("platform", {})
        there[f"{platform.get('os')}/{platform.get('architecture')}"] = str(entry["digest"])
    if source.platform not in there:
        raise ConfigurationError(
            f"the base image is not there for {source.platform}",
            facts={"image.base": source.text, "platforms": ", ".join(sorted(there))},
            tries=("choose another base", "set image.platform"),
        )
    return there[source.platform]


def _same_platform(config: Mapping[str, Any], source: Source) -> None:
    found = f"{config.get('os')}/{config.get('architecture')}"
    if found != source.platform:
        raise ConfigurationError(
            f"the base image is for {found}, not for {source.platform}",
            facts={"image.base": source.text},
            tries=("choose another base", "set image.platform"),
        )


def _from_archive(file: Path, digest: str, source: Source, blobs: Path) -> Base:
    if not file.is_file():
        raise ConfigurationError("the archive of the base image is missing", facts={"image.base": source.text, "missing": file})
    content, layers = image_of_archive(file, blobs)
    if digest_of(content) != digest:
        raise ConfigurationError(
            "the archive holds another image than the pinned one",
            facts={"file": file, "image.base": digest, "found": digest_of(content)},
            tries=(f"image.base: docker-archive:{file.name}@{digest_of(content)}    # if this is the one you want",),
        )
    config = msgspec.json.decode(content, type=dict[str, Any])
    _same_platform(config, source)
    return Base(digest, config, layers)


def _archive(file: Path, blobs: Path) -> tuple[bytes, tuple[Layer, ...]]:
    with tarfile.open(file, "r:") as archive:
        members = {member.name.removeprefix("./"): member for member in archive if member.isfile() or member.issym()}

        def member(name: str) -> tarfile.TarInfo:
            found = members[name]
            if found.issym():  # old engines link a layer that stands twice
                found = (
                    members[str(Path(name).parent / found.linkname)] if found.linkname not in members else members[found.linkname]
                )
            return found

        def text(name: str) -> bytes:
            source = archive.extractfile(member(name))
            return source.read(_TEXT_BYTES) if source else b""

        listed = msgspec.json.decode(text("manifest.json"))[0]
        content = text(listed["Config"])
        config = msgspec.json.decode(content, type=dict[str, Any])
        layers = []
        for name, diff_id in zip(listed["Layers"], config["rootfs"]["diff_ids"], strict=True):
            found = member(name)
            with file.open("rb") as source:
                source.seek(found.offset_data)
                kind = f"{LAYER_TYPE}+gzip" if source.read(2) == _GZIP else LAYER_TYPE
            probe = FileBlob(Descriptor(kind, "", found.size), file, found.offset_data)
            digest = str(diff_id) if kind == LAYER_TYPE else _digest(probe)
            described = Descriptor(kind, digest, found.size)
            put(blobs, FileBlob(described, file, found.offset_data))
            layers.append(Layer(described, str(diff_id)))
    return content, tuple(layers)


def _digest(blob: Blob) -> str:
    digest = hashlib.sha256()
    for block in blob.blocks():
        digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _names(base: Base, blobs: Path) -> Iterator[str]:
    """Paths of all layers; what a later layer removes again is still among them. Layers packed with zstd are passed over."""
    for layer in base.layers:
        if layer.descriptor.media_type.endswith("zstd"):
            continue
        file = blobs / layer.descriptor.digest.removeprefix("sha256:")
        try:
            with tarfile.open(file, "r|gz" if layer.descriptor.media_type.endswith("gzip") else "r|") as tar:
                for member in tar:
                    yield member.name
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, OSError) as error:
            raise ConfigurationError(
                "a layer of the base image cannot be read",
                facts={"layer": layer.descriptor.digest, "type": layer.descriptor.media_type, "found": error},
            ) from error


def _unpinned(source: Source, images: Path, environment: Mapping[str, str], plain_http: bool) -> ConfigurationError:
    """Says which digest the name stands for now, if that is easily told."""
    name = source.text.partition("@")[0]
    found = ""
    try:
        if name.startswith("docker-archive:"):
            content, _ = image_of_archive(_path(source, name.removeprefix("docker-archive:")), images / "blobs" / "sha256")
            found = f"{name}@{digest_of(content)}"
        elif not name.startswith("oci:"):
            place, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
            answer = Registry(_repository(place), environment, plain_http=plain_http).manifest(tag)
            found = f"{place}@{digest_of(answer[0])}" if answer else ""
    except (ConfigurationError, EnvironmentFault, OSError):
        found = ""
    return ConfigurationError(
        "the base image is not pinned by its digest, so it would be another one tomorrow",
        facts={"image.base": source.text},
        tries=(f"image.base: {found}    # what the name stands for now",) if found else ("image.base: NAME@sha256:...",),
    )


def _repository(name: str) -> Repository:
    try:
        return repository(name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name)
    except ValueError as error:
        raise ConfigurationError(
            str(error), tries=("image.base: registry.example.org/debian/python@sha256:...", "image.base: oci:FOLDER@sha256:...")
        ) from error


def _path(source: Source, text: str) -> Path:
    return source.project / text


def _there(blobs: Path, wanted: Descriptor) -> bool:
    file = blobs / wanted.digest.removeprefix("sha256:")
    return file.is_file() and file.stat().st_size == wanted.size
