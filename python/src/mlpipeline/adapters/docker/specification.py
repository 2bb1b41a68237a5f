"""What a container of ours is created with, as the engine's own JSON. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePosixPath

from mlpipeline.config.sections.target import Docker
from mlpipeline.core.container import device_request
from mlpipeline.core.gpu import bytes_of
from mlpipeline.core.image import USER

LOG_FILES = "3"
HEALTH_SECONDS = 30
_NANO = 1_000_000_000
_READY = "import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/ready', timeout=5)"
_ROOTS = {"", "0", "root"}


def hardened(settings: Docker, *, limited: bool = True) -> dict[str, object]:
    """The part of the host configuration that every container of ours has: it may do as little as possible.

    Args:
        limited: Whether memory and processors are limited as those of a model.
    """
    scratch = f"rw,nosuid,nodev,size={bytes_of(settings.scratch)},mode=1777"
    found: dict[str, object] = {
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": scratch},  # noqa: S108 - a container's own
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": settings.processes,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": str(bytes_of(settings.log_size)), "max-file": LOG_FILES}},
        # Until it was ready once: what cannot start must not be started again and again.
        "RestartPolicy": {"Name": "no"},
    }
    if limited and settings.memory:
        memory = bytes_of(settings.memory)
        found |= {"Memory": memory, "MemorySwap": memory}
    if limited and settings.cpus:
        found["NanoCpus"] = round(settings.cpus * _NANO)
    return found


def devices(named: str) -> dict[str, object]:
    """The part of the host configuration that asks for GPUs."""
    request = device_request(named)
    return {} if request is None else {"DeviceRequests": [request]}


def user_of(user: str) -> str:
    """Whom a container runs as: what its image says, but never root."""
    return USER if user.partition(":")[0] in _ROOTS else user


def health(entrypoint: list[str], port: int) -> dict[str, object]:
    """A check by the image's own interpreter; none where the image starts something else, of which nothing is known."""
    if not entrypoint or not PurePosixPath(entrypoint[0]).name.startswith("python"):
        return {}
    check = {
        "Test": ["CMD", entrypoint[0], "-c", _READY.format(port=port)],
        "Interval": HEALTH_SECONDS * _NANO,
        "Timeout": 10 * _NANO,
        "Retries": 3,
        "StartPeriod": HEALTH_SECONDS * _NANO,
    }
    return {"Healthcheck": check}


def stop_timeout(drain_timeout: float, more: float) -> int:
    """Whole seconds until a container that will not end is killed."""
    return math.ceil(drain_timeout + more)


def variables(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(environment.items())]
