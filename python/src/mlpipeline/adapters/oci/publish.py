"""Pushes an image: what the registry has already is not sent, the manifest goes last, the tags after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from mlpipeline.adapters.oci.image import Image
from mlpipeline.adapters.oci.registry import Registry
from mlpipeline.core.image import MANIFEST_TYPE, Repository, repository

Progress = Callable[[str, float, float], None]


class Pushed(msgspec.Struct, frozen=True):
    """What a push came to. ``sent`` counts bytes of layers, configuration and manifest; ``reference`` is ``name@sha256:...``."""

    reference: str
    sent: int
    tags: tuple[str, ...]


def push(
    image: Image,
    place: Repository,
    environment: Mapping[str, str],
    *,
    tags: Sequence[str] = (),
    base: str = "",
    plain_http: bool = False,
    progress: Progress | None = None,
) -> Pushed:
    """Brings the image into the repository and names it there.

    Args:
        base: Where its base came from; a repository of the same registry hands over its layers itself.

    Raises EnvironmentFault when the registry breaks off or serves something else, ConfigurationError when it does not let us in:
    then no tag and no digest names a half-pushed image.
    """
    registry = Registry(place, environment, plain_http=plain_http)
    if not registry.has_manifest(image.digest, image.digest):
        mounts = _same_host(base, place)
        whole = sum(layer.descriptor.size for layer in image.layers)
        done = 0
        for layer, blob in zip(image.layers, image.blobs, strict=True):
            if progress:
                progress(f"push: {layer.title or 'base'}", done, whole)
            registry.push_blob(blob, mounts)
            done += layer.descriptor.size
        registry.push_blob(image.config_blob)
        registry.push_manifest(image.manifest, MANIFEST_TYPE)
    for tag in tags:
        registry.push_manifest(image.manifest, MANIFEST_TYPE, tag)
    return Pushed(f"{place}@{image.digest}", registry.sent, tuple(tags))


def _same_host(base: str, place: Repository) -> tuple[str, ...]:
    try:
        found = repository(base)
    except ValueError:
        return ()
    return (found.name,) if found.host == place.host else ()
