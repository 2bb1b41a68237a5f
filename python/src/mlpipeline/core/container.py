"""What a container of the docker target says of itself on its labels, so that it is found again by nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

SERVICE = "mlpipeline.service"
ROLE = "mlpipeline.role"
"""``blue``, ``green``, ``router`` or ``network``. No image carries it, so that a container somebody else made of our image is
never taken for ours."""
DIGEST = "mlpipeline.digest"
MODEL_VERSION = "mlpipeline.model_version"
RUN = "mlpipeline.run"
PATH = "mlpipeline.path"
IMAGE = "mlpipeline.image"
IMAGE_ID = "mlpipeline.image.id"
IMAGE_REFERENCE = "mlpipeline.image.reference"
IMAGE_SOURCE = "mlpipeline.image.source"
PORT = "mlpipeline.port"
"""On loopback of the host: of the model, or of the router's admin page."""
RESTARTS = "mlpipeline.restarts"
DEVICES = "mlpipeline.devices"
FOLDER = "mlpipeline.folder"
"""Where on the engine's host the state of a service is."""
HOST = "mlpipeline.host"


class ContainerImage(msgspec.Struct, frozen=True):
    """An image, by what it is named for ever.

    Args:
        digest: ``sha256:...`` of its manifest.
        id: ``sha256:...`` of its configuration, which an engine names it by.
        reference: ``host/name@sha256:...`` in a registry; empty when it is in none.
        source: File or OCI layout on this machine from which it can be loaded; empty when there is none.
    """

    digest: str
    id: str
    reference: str = ""
    source: str = ""


def container_name(service: str, role: str) -> str:
    """For people; and the engine takes no second one of it."""
    return f"mlpipeline-{service}-{role}"


def image_name(service: str) -> str:
    """The name under which an engine keeps the images of a service."""
    return f"mlpipeline/{service.lower()}"


def image_labels(image: ContainerImage) -> dict[str, str]:
    """What a container says of its image."""
    return {IMAGE: image.digest, IMAGE_ID: image.id, IMAGE_REFERENCE: image.reference, IMAGE_SOURCE: image.source}


def image_of(labels: Mapping[str, str]) -> ContainerImage | None:
    """Reads it back."""
    if IMAGE not in labels:
        return None
    return ContainerImage(
        digest=labels[IMAGE],
        id=labels.get(IMAGE_ID, ""),
        reference=labels.get(IMAGE_REFERENCE, ""),
        source=labels.get(IMAGE_SOURCE, ""),
    )


def gpu_devices(wanted: str, count: int, environment: Mapping[str, str]) -> str:
    """Which devices a container gets: empty, ``all``, ``count:2``, or names such as ``0,1``.

    Args:
        wanted: ``target.docker.gpus``.
        count: ``image.gpus``.
        environment: Where a lease says its devices.

    Raises ValueError when the devices are to be leased ones and none are.
    """
    if wanted == "leased":
        named = environment.get("MLPIPELINE_GPUS") or environment.get("CUDA_VISIBLE_DEVICES") or ""
        devices = [part.strip() for part in named.split(",") if part.strip()]
        if not devices or devices == ["-1"]:
            raise ValueError("neither MLPIPELINE_GPUS nor CUDA_VISIBLE_DEVICES names a device")
        return ",".join(devices)
    if wanted:
        return ",".join(part.strip() for part in wanted.split(",") if part.strip())
    return f"count:{count}" if count else ""


def device_request(devices: str) -> dict[str, object] | None:
    """What the engine is asked for, as ``--gpus`` would; None: nothing."""
    if not devices:
        return None
    request: dict[str, object] = {"Driver": "", "Capabilities": [["gpu"]], "Options": {}}
    if devices == "all":
        return {**request, "Count": -1, "DeviceIDs": []}
    if devices.startswith("count:"):
        return {**request, "Count": int(devices.removeprefix("count:")), "DeviceIDs": []}
    return {**request, "Count": 0, "DeviceIDs": devices.split(",")}
