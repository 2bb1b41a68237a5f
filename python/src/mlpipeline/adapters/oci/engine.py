"""Images from a project's own Dockerfile, built by the container engine of this machine.

What such a build does is the Dockerfile's business: times, package mirrors and network make it another image each time. So it is
built once for the same bundle, Dockerfile and labels, and what came out is kept.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.oci.base import image_of_archive
from mlpipeline.adapters.oci.blobs import FileBlob, disk_errors, put, tar_blocks
from mlpipeline.adapters.oci.build import Content
from mlpipeline.adapters.oci.image import Image, assembled
from mlpipeline.adapters.oci.layers import key_of
from mlpipeline.core.image import Descriptor, Entry, Layer, digest_of, with_folders
from mlpipeline.errors import EnvironmentFault, Failed
from mlpipeline.record.files import used, write_atomically

_LIMIT_SECONDS = 1800


class Kept(msgspec.Struct, frozen=True):
    """What an engine made: the digest of its configuration, and its layers."""

    config: str
    layers: tuple[Layer, ...]


def engine_image(
    images: Path, dockerfile: Path, contents: Sequence[Content], labels: Mapping[str, str], *, platform: str, say: Any
) -> Image:
    """Builds the Dockerfile with the bundle as its context, unless that was done before.

    Raises Failed when the Dockerfile does not build, EnvironmentFault without an engine.
    """
    blobs = images / "blobs" / "sha256"
    text = dockerfile.read_bytes()
    parts = (digest_of(text), platform, *(f"{name}={value}" for name, value in sorted(labels.items())))
    files = (f"{one.path} {one.sha256} {one.mode}" for one in sorted(contents, key=lambda one: one.path))
    memory = images / "built" / f"{key_of('dockerfile-1', *parts, *files)}.json"
    known = _remembered(memory, blobs)
    if known is not None:
        used(memory)
        config = (blobs / known.config.removeprefix("sha256:")).read_bytes()
        return _image(config, known.layers, blobs, labels)
    say(f"package: building {dockerfile.name} with the container engine; unlike images on a base, it is not reproducible")
    with disk_errors(images, sum(one.size for one in contents)):
        images.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=images, prefix=".engine-", suffix=".tar")
        try:
            with os.fdopen(handle, "wb") as archive:
                for block in _built(dockerfile, text, contents, labels, platform):
                    archive.write(block)
            config, layers = image_of_archive(Path(name), blobs)
        finally:
            os.unlink(name)
    image = _image(config, layers, blobs, labels)
    put(blobs, image.config_blob)
    write_atomically(memory, msgspec.json.encode(Kept(digest_of(config), layers)))
    return image


def _built(
    dockerfile: Path, text: bytes, contents: Sequence[Content], labels: Mapping[str, str], platform: str
) -> Iterator[bytes]:
    """The engine's archive of what it built."""
    import docker
    import requests

    client = None
    try:
        client = docker.from_env(timeout=_LIMIT_SECONDS)
        client.ping()
        image = ""
        lines = client.api.build(
            fileobj=_Context(text, contents),
            custom_context=True,
            dockerfile=_DOCKERFILE,
            labels=dict(labels),
            platform=platform,
            rm=True,
            forcerm=True,
            decode=True,
        )
        said: list[str] = []
        for line in lines:
            said.append(str(line.get("stream", "")).rstrip())
            image = str(line.get("aux", {}).get("ID", image))
            if line.get("error"):
                raise Failed(
                    "the Dockerfile does not build",
                    facts={"file": dockerfile, "engine said": "\n".join([*filter(None, said), str(line["error"])][-12:])},
                    tries=("the bundle is the context: model/, code/, lib/, requirements.lock and manifest.json lie in it",),
                )
        yield from client.api.get_image(image)
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise EnvironmentFault(
            "there is no container engine to build the Dockerfile with",
            facts={"DOCKER_HOST": os.environ.get("DOCKER_HOST", "not set"), "found": str(error)[:300]},
            tries=("start the engine: systemctl start docker", "image.base instead of image.dockerfile needs no engine"),
        ) from error
    finally:
        if client is not None:
            client.close()


_DOCKERFILE = ".mlpipeline.Dockerfile"


class _Context:
    """The context as one stream of a tar."""

    def __init__(self, text: bytes, contents: Sequence[Content]) -> None:
        self._text = text
        self._contents = contents

    def __iter__(self) -> Iterator[bytes]:
        with tempfile.TemporaryDirectory() as folder:
            dockerfile = Path(folder, "Dockerfile")
            dockerfile.write_bytes(self._text)
            # Every Dockerfile may copy code/, also that of a project that includes none.
            entries = [Entry("code", kind="folder", mode=0o755), Entry(_DOCKERFILE, size=len(self._text), source=str(dockerfile))]
            entries += [Entry(one.path, mode=one.mode, size=one.size, source=str(one.source)) for one in self._contents]
            yield from tar_blocks(with_folders(entries))


def _image(config: bytes, layers: Sequence[Layer], blobs: Path, annotations: Mapping[str, str]) -> Image:
    streams = [FileBlob(layer.descriptor, blobs / layer.descriptor.digest.removeprefix("sha256:")) for layer in layers]
    return assembled(config, list(zip(layers, streams, strict=True)), annotations)


def _remembered(memory: Path, blobs: Path) -> Kept | None:
    try:
        known = msgspec.json.decode(memory.read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return None
    wanted: list[Descriptor] = [layer.descriptor for layer in known.layers]
    there = all((blobs / one.digest.removeprefix("sha256:")).is_file() for one in wanted)
    return known if there and (blobs / known.config.removeprefix("sha256:")).is_file() else None
