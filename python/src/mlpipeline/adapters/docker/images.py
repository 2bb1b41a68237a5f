"""Images in the engine: found by digest, loaded from what ``package`` wrote, or pulled; those nobody needs are removed."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.docker.engine import Engine, said
from mlpipeline.core.container import ContainerImage, image_name
from mlpipeline.core.image import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    REF_NAME,
    Descriptor,
    digest_of,
    encoded,
    is_digest,
    padding,
    pinned,
    tar_end,
)
from mlpipeline.errors import ConfigurationError, EnvironmentFault

_BLOCK_BYTES = 1 << 20
CONTAINERD_NAME = "io.containerd.image.name"


class Images:
    """The images of one service.

    Args:
        keep: How many stay besides those that containers use.
    """

    def __init__(self, engine: Engine, service: str, keep: int) -> None:
        self._engine, self._service, self._keep = engine, service, keep

    def ensure(self, image: ContainerImage | None) -> str:
        """The engine's id of this very image; loaded or pulled when it is not there yet.

        Raises:
            ConfigurationError: No image was made.
            EnvironmentFault: It is nowhere to be had, or what was had is another one.
        """
        if image is None:
            raise ConfigurationError(
                "this version has no container image",
                likely="it was packaged before target.kind was docker, or image.base is not set",
                tries=("image.base: registry.example.org/debian/python@sha256:...", "mlpipeline package"),
            )
        found = self._known(image)
        if not found:
            if image.source and Path(image.source).exists():
                self._load(image)
            elif image.reference:
                self._pull(image.reference)
            else:
                raise self._nowhere(image)
            found = self._known(image)
        if not found:
            raise EnvironmentFault(
                "the engine took another image than the one that was packaged",
                facts={"image": image.digest, "loaded from": image.source or image.reference},
                tries=("mlpipeline package",),
            )
        self._name(found, image)
        return found

    def ensure_pinned(self, reference: str, key: str) -> str:
        """The engine's id of an image that the configuration names by digest; pulled when it is not there yet."""
        name, digest = self.require_pinned(reference, key)
        found = self._inspected(reference if name else digest)
        if found is None:
            if not name:
                raise EnvironmentFault(
                    f"the engine does not have the image of {key}", facts={key: reference}, tries=("docker load --input FILE",)
                )
            self._pull(reference)
            found = self._inspected(reference)
        if found is None:
            raise EnvironmentFault(f"the image of {key} was pulled and is not there", facts={key: reference})
        return str(found["Id"])

    @staticmethod
    def require_pinned(reference: str, key: str) -> tuple[str, str]:
        """Name, if any, and digest. Raises ConfigurationError without one: a name alone means another image tomorrow."""
        name, _, digest = reference.rpartition("@")
        if not is_digest(digest) or (not name and "@" in reference):
            raise ConfigurationError(
                f"{key} does not name an image by its digest",
                facts={key: reference or "not set"},
                tries=(f"{key}: registry.example.org/envoyproxy/envoy@sha256:...",),
            )
        return name, digest

    def has(self, reference: str) -> bool:
        """Whether the engine has it under this name or id."""
        return self._inspected(reference) is not None

    def prune(self) -> None:
        """Removes images of the service that no container uses, the newest kept. What people named themselves stays."""
        import docker

        ours = image_name(self._service)
        with self._engine.asked("the images of this service cannot be read", service=self._service):
            entries = self._engine.client.images(name=ours)
            used = {entry["ImageID"] for entry in self._engine.containers(self._service)}
            details = {str(entry["Id"]): self._inspected(str(entry["Id"])) for entry in entries}
            free = [one for image, one in details.items() if one is not None and image not in used]
            free.sort(key=lambda one: str(one.get("Metadata", {}).get("LastTagTime", "")), reverse=True)
            for one in free[self._keep :]:
                for tag in one.get("RepoTags") or ():
                    if tag.rpartition(":")[0] == ours:
                        try:
                            self._engine.client.remove_image(tag, force=False, noprune=False)
                        except docker.errors.APIError as error:
                            if error.status_code not in (404, 409):
                                raise

    def entrypoint(self, image: str) -> tuple[list[str], str]:
        """What it starts, and as whom."""
        found = self._inspected(image) or {}
        config = found.get("Config") or {}
        return list(config.get("Entrypoint") or ()), str(config.get("User") or "")

    def _known(self, image: ContainerImage) -> str:
        """By the digest of its configuration, or of its manifest where the engine names images so."""
        for name in (image.id, image.digest, image.reference):
            found = self._inspected(name) if name else None
            if found is not None and (name == image.reference or found["Id"] in (image.id, image.digest)):
                return str(found["Id"])
        return ""

    def _inspected(self, name: str) -> dict[str, Any] | None:
        import docker

        with self._engine.asked("the engine's images cannot be read", image=name):
            try:
                return dict(self._engine.client.inspect_image(name))
            except docker.errors.ImageNotFound:
                return None

    def _name(self, found: str, image: ContainerImage) -> None:
        """Without a name it would be rubbish to ``docker image prune`` as soon as no container used it."""
        with self._engine.asked("an image could not be named", image=image.digest):
            self._engine.client.tag(found, image_name(self._service), _tag(image))

    def _load(self, image: ContainerImage) -> None:
        """Of a layout, only the layers that the engine does not have yet; all of them where it cannot do with less."""
        source = Path(image.source)
        if not source.is_dir():
            self._send(image, _blocks(source))
            return
        parts = _parts(source, image)
        name = f"{image_name(self._service)}:{_tag(image)}"
        known = self._layers_of_others(parts.diff_ids)
        if known:
            with suppress(EnvironmentFault):
                self._send(image, _layout_archive(source, parts, name, known))
        if not self._known(image):
            self._send(image, _layout_archive(source, parts, name))

    def _send(self, image: ContainerImage, archive: Iterator[bytes]) -> None:
        with self._engine.asked("an image could not be loaded", image=image.digest, source=image.source):
            for line in self._engine.client.load_image(archive):
                if line.get("error"):
                    raise EnvironmentFault(
                        "the engine refused an image",
                        facts={"image": image.digest, "source": image.source, "found": str(line["error"])[:300]},
                        likely="its disk is full, or the file is damaged",
                        tries=("df -h", "mlpipeline package"),
                    )

    def _layers_of_others(self, wanted: Sequence[str]) -> int:
        """How many of the lowest layers another image of ours has in this very order; none where containerd keeps the images,
        which takes whole ones only."""
        most = 0
        with self._engine.asked("the engine's images cannot be read", service=self._service):
            if "io.containerd.snapshotter" in str(self._engine.client.info().get("DriverStatus")):
                return 0
            entries = self._engine.client.images(filters={"reference": image_name("*")})
        for entry in entries:
            found = self._inspected(str(entry["Id"])) or {}
            pairs = zip(wanted, (found.get("RootFS") or {}).get("Layers") or (), strict=False)
            most = max(most, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
        return most

    def _pull(self, reference: str) -> None:
        import docker

        name, digest = pinned(reference)
        with self._engine.asked("an image could not be pulled; nothing was changed", image=reference):
            try:
                for line in self._engine.client.pull(name, tag=digest, stream=True, decode=True):
                    if line.get("error"):
                        raise docker.errors.APIError(str(line["error"]))
            except docker.errors.NotFound as error:
                raise EnvironmentFault(
                    "the registry does not have the image",
                    facts={"image": reference, "found": said(error)},
                    tries=("mlpipeline package    # pushes it again", "docker login"),
                ) from error

    def _nowhere(self, image: ContainerImage) -> EnvironmentFault:
        return EnvironmentFault(
            "the image of this version is not on this machine",
            facts={"image": image.digest, **({"was in": image.source} if image.source else {})},
            likely="its file was removed, or the release was packaged on another machine",
            tries=("mlpipeline package", "image.repository: a registry that every machine reaches"),
        )


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            yield block


def _tag(image: ContainerImage) -> str:
    return image.digest.removeprefix("sha256:")[:12]


class _Manifest(msgspec.Struct):
    config: Descriptor
    layers: list[Descriptor]


class _Filesystem(msgspec.Struct):
    diff_ids: list[str]


class _Configuration(msgspec.Struct):
    rootfs: _Filesystem


class _Parts(msgspec.Struct, frozen=True):
    """Of an image in a layout: blobs, and what its layers are called without compression."""

    manifest: bytes
    config: str
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]


def _parts(layout: Path, image: ContainerImage) -> _Parts:
    try:
        manifest = (layout / _place(image.digest)).read_bytes()
        if digest_of(manifest) != image.digest:
            raise ValueError("its content has another digest")
        found = msgspec.json.decode(manifest, type=_Manifest)
        configuration = msgspec.json.decode((layout / _place(found.config.digest)).read_bytes(), type=_Configuration)
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            "an image on disk is damaged, or is no longer there",
            facts={"image": image.digest, "layout": layout, "found": error},
            likely="a later package of the same version replaced it, or someone changed the folder",
            tries=("mlpipeline package",),
        ) from error
    return _Parts(manifest, found.config.digest, tuple(one.digest for one in found.layers), tuple(configuration.rootfs.diff_ids))


def _place(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _layout_archive(layout: Path, parts: _Parts, name: str, known: int = 0) -> Iterator[bytes]:
    """The image of an OCI layout as an archive that every engine loads, also those that name images by their manifest.

    Nothing is written in between.

    Args:
        name: ``name:tag`` that the engine gives the image.
        known: How many of the lowest layers are left out.
    """
    mine = Descriptor(MANIFEST_TYPE, digest_of(parts.manifest), len(parts.manifest), {REF_NAME: name, CONTAINERD_NAME: name})
    docker = {"Config": _place(parts.config), "RepoTags": [name], "Layers": [_place(one) for one in parts.layers]}
    texts = {
        "manifest.json": encoded([docker]),
        "index.json": encoded({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [mine]}),
        "oci-layout": encoded({"imageLayoutVersion": "1.0.0"}),
        _place(mine.digest): parts.manifest,
    }
    for path, text in texts.items():
        yield _header(path, len(text)) + text + padding(len(text))
    for digest in dict.fromkeys((parts.config, *parts.layers[known:])):
        file = layout / _place(digest)
        size = file.stat().st_size
        yield _header(_place(digest), size)
        yield from _blocks(file)
        yield padding(size)
    yield tar_end()


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)
