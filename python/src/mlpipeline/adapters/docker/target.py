"""The docker target: both colours as containers of this host, users routed by an Envoy container that watches a file."""

from __future__ import annotations

from collections.abc import Mapping

from mlpipeline.adapters.docker.colours import ColourContainer
from mlpipeline.adapters.docker.engine import Engine
from mlpipeline.adapters.docker.envoy import EnvoyContainer
from mlpipeline.adapters.docker.images import Images
from mlpipeline.adapters.docker.inventory import strangers
from mlpipeline.adapters.docker.network import Network
from mlpipeline.config.sections.target import Docker
from mlpipeline.core.inventory import Part
from mlpipeline.core.traffic import Colour
from mlpipeline.hosting.scraper import Scraper
from mlpipeline.hosting.target import HostTarget
from mlpipeline.hosting.writer import Fence
from mlpipeline.ports import Clock
from mlpipeline.record.places import Places

SHUTDOWN_SECONDS = 10.0


class DockerTarget(HostTarget):
    """Implements :class:`mlpipeline.ports.Target` with containers, found by their labels and by nothing else.

    Args:
        environment: ``DOCKER_HOST`` and its like, and the devices of a lease.
        gpus: How many devices the image needs.
        fence: Called right before each write: the worker's fencing token. Raises Held when it no longer may change the service.
        failover: Whether one colour may answer what the other did not.
    """

    def __init__(
        self,
        places: Places,
        service: str,
        settings: Docker,
        clock: Clock,
        environment: Mapping[str, str],
        *,
        gpus: int = 0,
        fence: Fence | None = None,
        failover: bool = True,
    ) -> None:
        self._engine = Engine(settings.engine, environment)
        self._images = Images(self._engine, service, settings.keep_images)
        self._network = Network(self._engine, service, bridged=settings.network == "bridge")
        self._service = service
        parts = (self._engine, self._images, self._network, service)
        self._envoy = EnvoyContainer(*parts, places.docker / "router", settings=settings, clock=clock, failover=failover)
        self._envoy.fence = fence or self._envoy.fence
        colours = {
            colour: ColourContainer(*parts, colour, settings=settings, gpus=gpus, environment=environment, clock=clock)
            for colour in Colour
        }
        self._prometheus = Scraper(places.docker / "prometheus", service, clock)
        super().__init__(
            (settings.host, settings.port),
            self._envoy,
            colours,
            self._prometheus,
            clock,
            drain_timeout=settings.drain_timeout,
            fence=fence,
        )

    def retire(self, colour: Colour) -> None:
        """Drains and removes the container, images that are not needed any more, and the network once it is empty."""
        super().retire(colour)
        self._images.prune()
        self._network.release()

    def inventory(self) -> Mapping[str, Part]:
        """Besides colours and router, whoever else is in the service's network."""
        return {**super().inventory(), **strangers(self._engine, self._service)}

    def shutdown(self) -> None:
        """Removes every container of this service and its network; requests in flight are lost. Files and images stay."""
        self._prometheus.process.stop(SHUTDOWN_SECONDS)
        for entry in self._engine.containers(self._service):
            self._engine.stop(entry["Id"], SHUTDOWN_SECONDS)
        for entry in self._engine.containers(self._service):
            self._engine.remove(entry["Id"])
        self._network.release()
