"""Whether an engine can do what a release will ask of it. Changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from mlpipeline.adapters.docker.engine import Engine
from mlpipeline.adapters.docker.images import Images
from mlpipeline.config.sections.target import Docker
from mlpipeline.core.container import gpu_devices
from mlpipeline.errors import ConfigurationError, EnvironmentFault


def engine_report(settings: Docker, gpus: int, environment: Mapping[str, str]) -> str:
    """Version and abilities of the engine, in one line.

    Raises:
        EnvironmentFault: It cannot be reached, is too old, has no bridges, enforces no limits, or gives no GPUs.
        ConfigurationError: GPUs are to be leased ones and none are.
    """
    engine = Engine(settings.engine, environment)
    with engine.asked("the container engine does not answer"):
        version, info = engine.client.version(), engine.client.info()
    if settings.network == "bridge" and "bridge" not in (info.get("Plugins") or {}).get("Network", ()):
        raise EnvironmentFault(
            "the engine has no bridge networks", facts={"engine": engine.address}, tries=("target.docker.network: host",)
        )
    for key, ability in (("memory", "MemoryLimit"), ("cpus", "CpuCfsQuota")):
        if getattr(settings, key) and not info.get(ability):
            raise EnvironmentFault(
                f"the engine cannot enforce target.docker.{key}: its kernel has no such limit",
                facts={"engine": engine.address, "warnings": "; ".join(info.get("Warnings") or ()) or "none"},
                tries=(f"leave target.docker.{key} out", "boot the kernel with cgroups for memory and cpu"),
            )
    given = _devices(settings, gpus, environment, info)
    return f"engine {version['Version']} (API {engine.client.api_version}) answers at {engine.address}{given}"


def router_report(settings: Docker, environment: Mapping[str, str]) -> str:
    """Whether the router's image is there, in one line; one that will be pulled is no fault."""
    engine = Engine(settings.engine, environment)
    images = Images(engine, "", 1)
    images.require_pinned(settings.router_image, "target.docker.router_image")
    if images.has(settings.router_image):
        return f"the engine has the router's image {settings.router_image[-19:]}"
    if "@" not in settings.router_image:
        raise EnvironmentFault(
            "the engine does not have the image of target.docker.router_image",
            facts={"image": settings.router_image},
            tries=("docker load --input FILE",),
        )
    with engine.asked("the registry does not tell of the router's image", image=settings.router_image):
        engine.client.inspect_distribution(settings.router_image)
    return "the router's image will be pulled by the first release"


def _devices(settings: Docker, gpus: int, environment: Mapping[str, str], info: Mapping[str, object]) -> str:
    try:
        wanted = gpu_devices(settings.gpus, gpus, environment)
    except ValueError as error:
        raise ConfigurationError(
            f"target.docker.gpus is leased, but no GPU is: {error}", tries=("run it under mlGpu, or set MLPIPELINE_GPUS",)
        ) from error
    if not wanted:
        return ""
    runtimes = info.get("Runtimes")
    known = isinstance(runtimes, dict) and "nvidia" in runtimes
    if not known and not shutil.which("nvidia-container-runtime-hook") and not info.get("DiscoveredDevices"):
        raise EnvironmentFault(
            "the engine has no NVIDIA runtime, and containers need GPUs",
            facts={"devices": wanted, "runtimes": ", ".join(runtimes) if isinstance(runtimes, dict) else "unknown"},
            tries=("sudo apt-get install nvidia-container-toolkit", "nvidia-ctk runtime configure --runtime=docker"),
        )
    return f", GPUs {wanted}"
