"""The local target: both colours as processes of this machine, users routed by an Envoy that watches a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mlpipeline.adapters.local.colours import ColourProcess
from mlpipeline.adapters.local.envoy import Envoy
from mlpipeline.config.sections.target import Local
from mlpipeline.core.traffic import Colour
from mlpipeline.hosting.processes import ManagedProcess
from mlpipeline.hosting.scraper import Scraper
from mlpipeline.hosting.target import HostTarget
from mlpipeline.hosting.writer import Fence
from mlpipeline.ports import Artifact, Clock
from mlpipeline.record.places import Places

SHUTDOWN_SECONDS = 10.0


class LocalTarget(HostTarget):
    """Implements :class:`mlpipeline.ports.Target` on one machine, with Envoy and Prometheus.

    Keeps everything in ``places.target`` and remembers nothing itself: two workers after each other see the same.

    Args:
        python_for: The interpreter of an artifact's environment.
        fence: Called right before each write: the worker's fencing token. Raises Held when it no longer may change the service.
        failover: Whether one colour may answer what the other did not.
    """

    def __init__(
        self,
        places: Places,
        service: str,
        settings: Local,
        clock: Clock,
        python_for: Callable[[Artifact], Path],
        *,
        fence: Fence | None = None,
        failover: bool = True,
    ) -> None:
        folder = self._folder = places.target
        envoy = Envoy(folder / "router", settings.host, settings.port, service, clock, failover=failover)
        envoy.fence = fence or envoy.fence
        scraper = Scraper(folder / "prometheus", service, clock)
        colours = {
            colour: ColourProcess(folder / colour, service, colour, settings=settings, clock=clock, python_for=python_for)
            for colour in Colour
        }
        users = (settings.host, settings.port)
        super().__init__(users, envoy, colours, scraper, clock, drain_timeout=settings.drain_timeout, fence=fence)
        named = {str(colour): process.process for colour, process in colours.items()}
        self._processes = {"router": envoy.process, **named, "prometheus": scraper.process}

    def processes(self) -> dict[str, ManagedProcess]:
        """Every process of this service by name: ``router``, ``blue``, ``green``, ``prometheus``."""
        return dict(self._processes)

    def recorded(self, colour: Colour) -> Sequence[bytes]:
        """Of the file that the colour samples to, the older half first."""
        folder = self._folder / colour
        found: list[bytes] = []
        for name in ("requests.jsonl.1", "requests.jsonl"):
            with suppress(FileNotFoundError):
                found.extend((folder / name).read_bytes().splitlines())
        return found

    def shutdown(self) -> None:
        """Ends everything of this service, by its records; requests in flight are lost. Files stay."""
        for process in self._processes.values():
            process.stop(SHUTDOWN_SECONDS)
