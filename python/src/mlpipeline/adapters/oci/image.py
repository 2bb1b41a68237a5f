"""An image as it is written and pushed: configuration, layers, manifest, each blob with a way to stream it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from mlpipeline.adapters.oci.blobs import Blob, TextBlob
from mlpipeline.core.image import CONFIG_TYPE, MANIFEST_TYPE, Descriptor, Layer, digest_of, manifest


class Image(NamedTuple):
    """Args:
    config: The configuration's bytes.
    manifest: The manifest's bytes; their digest is the image's.
    layers: From the lowest on.
    blobs: One per layer, in the same order.
    """

    config: bytes
    manifest: bytes
    layers: tuple[Layer, ...]
    blobs: tuple[Blob, ...]

    @property
    def digest(self) -> str:
        """``sha256:...`` of the manifest."""
        return digest_of(self.manifest)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(MANIFEST_TYPE, self.digest, len(self.manifest))

    @property
    def config_blob(self) -> Blob:
        return TextBlob(Descriptor(CONFIG_TYPE, digest_of(self.config), len(self.config)), self.config)

    @property
    def manifest_blob(self) -> Blob:
        return TextBlob(self.descriptor, self.manifest)

    @property
    def labels(self) -> dict[str, str]:
        """As the configuration says them."""
        labels = msgspec.json.decode(self.config)["config"].get("Labels")
        return {str(name): str(value) for name, value in (labels or {}).items()}

    @property
    def bytes(self) -> int:
        """Of all blobs together, a layer that stands twice counted twice."""
        return len(self.config) + len(self.manifest) + sum(layer.descriptor.size for layer in self.layers)


def assembled(config: bytes, parts: Sequence[tuple[Layer, Blob]], annotations: Mapping[str, str]) -> Image:
    """The image of a configuration and its layers."""
    layers = tuple(layer for layer, _ in parts)
    return Image(
        config, manifest(config, [layer.descriptor for layer in layers], annotations), layers, tuple(b for _, b in parts)
    )
