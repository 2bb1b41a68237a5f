"""What is said of an image, beside it in the registry: files that refer to it (OCI 1.1: ``subject``, referrers API, tags)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from mlpipeline.adapters.oci.blobs import TextBlob
from mlpipeline.adapters.oci.registry import Registry
from mlpipeline.core.image import INDEX_TYPE, MANIFEST_TYPE, Descriptor, digest_of, encoded
from mlpipeline.errors import EnvironmentFault

T = TypeVar("T")
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
_EMPTY = b"{}"
_LARGEST_BYTES = 64 << 20


class _Listed(
    msgspec.Struct, frozen=True, rename={"media_type": "mediaType", "artifact_type": "artifactType"}, omit_defaults=True
):
    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] = {}


class _Index(msgspec.Struct, frozen=True):
    manifests: list[_Listed] = []


class _Manifest(msgspec.Struct, frozen=True):
    layers: list[Descriptor] = []
    subject: Descriptor | None = None


def attach(registry: Registry, image: str, files: Mapping[str, tuple[str, bytes]]) -> tuple[str, ...]:
    """Puts files beside an image; what is there already is left.

    Args:
        image: ``sha256:...`` of its manifest.
        files: Name to media type and content.

    Returns:
        Digests of their manifests.

    Raises EnvironmentFault when the image is not in the registry, or the registry breaks off.
    """
    subject = _subject(registry, image)
    listed = []
    for name, (media_type, content) in sorted(files.items()):
        layer = Descriptor(media_type, digest_of(content), len(content), {TITLE: name})
        made = _manifest(layer, media_type, name, subject)
        registry.push_blob(TextBlob(layer, content))
        registry.push_blob(TextBlob(Descriptor(EMPTY_TYPE, digest_of(_EMPTY), len(_EMPTY)), _EMPTY))
        digest = registry.push_manifest(made, MANIFEST_TYPE)
        listed.append(_Listed(MANIFEST_TYPE, digest, len(made), media_type, {TITLE: name}))
    if registry.referrers(image) is None:
        _list_by_tag(registry, image, listed)
    return tuple(one.digest for one in listed)


def attached(registry: Registry, image: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file beside an image; every content has the digest that its manifest names.

    Raises EnvironmentFault for anything that refers to another image, or whose content is another one.
    """
    content = registry.referrers(image)
    if content is None:
        found = registry.manifest(_tag(image))
        content = found[0] if found else b"{}"
    for one in _decoded(content, _Index, "the list of what refers to the image").manifests:
        if TITLE not in one.annotations:
            continue  # somebody else's
        found = registry.manifest(one.digest)
        if found is None:
            raise EnvironmentFault(
                "the registry lists something beside the image and does not have it",
                facts={"image": image, "missing": one.digest},
            )
        manifest = _decoded(found[0], _Manifest, "what refers to the image")
        if manifest.subject is None or manifest.subject.digest != image or len(manifest.layers) != 1:
            raise EnvironmentFault("the registry lists something that refers to another image", facts={"listed": one.digest})
        yield one.annotations[TITLE], _content(registry, manifest.layers[0])


def _content(registry: Registry, layer: Descriptor) -> bytes:
    from mlpipeline.adapters.oci.blobs import other_digest

    if layer.size > _LARGEST_BYTES:
        raise EnvironmentFault("a file beside the image is far too large", facts={"digest": layer.digest, "bytes": layer.size})
    content = b"".join(registry.blob(layer).blocks())
    if digest_of(content) != layer.digest:
        raise other_digest(layer.digest, digest_of(content), f"{registry.repository}@{layer.digest}")
    return content


def _subject(registry: Registry, image: str) -> Descriptor:
    found = registry.manifest(image)
    if found is None:
        raise EnvironmentFault(
            "the image is not in the registry, so nothing can be put beside it",
            facts={"image": f"{registry.repository}@{image}"},
            tries=("mlpipeline package    # pushes it",),
        )
    return Descriptor(found[1] or MANIFEST_TYPE, image, len(found[0]))


def _manifest(layer: Descriptor, artifact_type: str, name: str, subject: Descriptor) -> bytes:
    return encoded(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": artifact_type,
            "config": Descriptor(EMPTY_TYPE, digest_of(_EMPTY), len(_EMPTY)),
            "layers": [layer],
            "subject": subject,
            "annotations": {TITLE: name},
        }
    )


def _list_by_tag(registry: Registry, image: str, listed: list[_Listed]) -> None:
    """What a registry without the referrers API needs: an index under a tag made of the image's digest."""
    found = registry.manifest(_tag(image))
    known = _decoded(found[0], _Index, "the list of what refers to the image").manifests if found else []
    names = {one.annotations.get(TITLE) for one in listed}
    kept = [one for one in known if one.annotations.get(TITLE) not in names]
    index = encoded({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*kept, *listed]})
    if found is None or found[0] != index:
        registry.push_manifest(index, INDEX_TYPE, _tag(image))


def _tag(image: str) -> str:
    return image.replace(":", "-")


def _decoded(content: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise EnvironmentFault(f"{what} cannot be read", facts={"found": error}) from error
