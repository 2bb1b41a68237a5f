"""The local target: both colours as processes of this machine, users routed by an Envoy that watches a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mlpipeline.adapters.local import proof
from mlpipeline.adapters.local.colours import ColourProcess
from mlpipeline.adapters.local.envoy import Envoy
from mlpipeline.adapters.local.processes import ManagedProcess
from mlpipeline.adapters.local.scraper import Scraper
from mlpipeline.config.model import Local
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault, Failed
from mlpipeline.ports import Artifact, Clock, Deployed, Moved, Observed, RouterCounts
from mlpipeline.record.places import Places

POLL_SECONDS = 0.02
PROBE_SECONDS = 60.0
SHUTDOWN_SECONDS = 10.0


class LocalTarget:
    """Implements :class:`mlpipeline.ports.Target` on one machine, with Envoy and Prometheus.

    Keeps everything in ``places.target`` and remembers nothing itself: two workers after each other see the same.

    Args:
        python_for: The interpreter of an artifact's environment.
        fence: Called right before each write; raises Held when this worker no longer may change the service.
    """

    def __init__(
        self,
        places: Places,
        service: str,
        settings: Local,
        clock: Clock,
        python_for: Callable[[Artifact], Path],
        *,
        fence: Callable[[], None] | None = None,
    ) -> None:
        self._settings, self._clock, self._service = settings, clock, service
        self._fence = fence or (lambda: None)
        folder = places.target
        self._envoy = Envoy(folder / "router", settings.host, settings.port, service, clock)
        self._scraper = Scraper(folder / "prometheus", service, clock)
        self._colours = {
            colour: ColourProcess(folder / colour, service, colour, settings=settings, clock=clock, python_for=python_for)
            for colour in Colour
        }

    @property
    def address(self) -> str:
        """Where users reach the service."""
        return f"http://{self._settings.host}:{self._settings.port}"

    def observe(self) -> Observed:
        """Asks the router and both processes."""
        self._envoy.process.bound_log()
        self._scraper.process.bound_log()
        standing = {colour: deployed for colour, process in self._colours.items() if (deployed := process.observe())}
        up = self._envoy.running()
        return Observed(colours=standing, plan=self._envoy.applied() if up else None, router="up" if up else "down")

    def deploy(self, colour: Colour, artifact: Artifact) -> Deployed:
        """Starts the artifact in the colour; restarts a dead or unready process of the same artifact."""
        process, standing = self._colours[colour], self._colours[colour].standing
        same = standing is not None and standing.artifact.digest == artifact.digest
        if not same:
            self._refuse_while_used(colour, f"{artifact.digest} cannot be deployed to {colour}")
        self._restart_router()
        seen = process.observe() if same and process.alive() else None
        if standing is None or seen is None or not seen.ready:
            restarts = standing.restarts + 1 if same and standing is not None else 0
            self._replace(colour, artifact, restarts)
            standing = process.standing
        if standing is not None:
            self._fence()
            self._envoy.set_endpoint(colour, standing.port)
            self._tell_scraper()
        deployed = process.observe()
        if deployed is None or not deployed.ready:
            raise Failed(
                f"{colour} was ready and then no longer",
                facts={"detail": deployed.detail if deployed else "it is gone", "log": process.process.log},
            )
        return deployed

    def route(self, plan: TrafficPlan, *, prove_within: float = 0.0) -> Moved:
        """Writes the plan, waits for the router's confirmation and, if asked to, for the proof."""
        self._refuse_nowhere(plan)
        self._envoy.require_port()
        before = self._counts_or_nothing()
        self._fence()
        written = self._clock.monotonic()
        self._envoy.apply(plan)
        applied = self._clock.monotonic() - written
        self._tell_scraper()
        if prove_within <= 0:
            return proof.moved(before, self.counts(), plan, applied)
        return proof.stands_still(
            self.counts, before, plan, written=written, applied=applied, within=prove_within, clock=self._clock
        )

    def probe(self, colour: Colour, request: bytes = b"") -> tuple[int, bytes]:
        """``/invocations`` with the request, or ``/ready`` without."""
        process = self._colours[colour]
        if process.standing is None:
            raise EnvironmentFault(f"nothing is deployed to {colour}", tries=("mlpipeline deploy",))
        try:
            return process.ask("/invocations", request, PROBE_SECONDS) if request else process.ask("/ready")
        except OSError as error:
            raise Failed(
                f"{colour} did not answer a probe: {error}",
                facts={"alive": process.alive(), "log": process.process.log, "last lines": process.process.last_words(4)},
            ) from error

    def counts(self) -> Mapping[Colour, RouterCounts]:
        """Envoy's counters since it started; mirrored copies count only as active."""
        try:
            return self._envoy.counts()
        except OSError as error:
            raise EnvironmentFault(
                "the router does not answer",
                facts={"found": error, "log": self._envoy.process.log},
                likely="it was ended from outside",
                tries=("mlpipeline deploy", "mlpipeline rollback"),
            ) from error

    def retire(self, colour: Colour) -> None:
        """Waits until nothing is in flight (at most the drain time-out), then ends the process."""
        process = self._colours[colour]
        if process.standing is None:
            return
        self._refuse_while_used(colour, f"{colour} cannot be retired")
        self._end(colour)
        process.forget()
        self._tell_scraper()

    def monitoring(self) -> str:
        """URL of the service's own Prometheus; started, or found again."""
        self._tell_scraper()
        return self._scraper.ensure()

    def processes(self) -> dict[str, ManagedProcess]:
        """Every process of this service by name: ``router``, ``blue``, ``green``, ``prometheus``."""
        colours = {str(colour): process.process for colour, process in self._colours.items()}
        return {"router": self._envoy.process, **colours, "prometheus": self._scraper.process}

    def shutdown(self) -> None:
        """Ends everything of this service, by its records; requests in flight are lost. Files stay."""
        for process in self.processes().values():
            process.stop(SHUTDOWN_SECONDS)

    def _replace(self, colour: Colour, artifact: Artifact, restarts: int) -> None:
        if self._colours[colour].standing is not None:
            self._end(colour)
        self._fence()
        self._colours[colour].start(artifact, restarts)

    def _end(self, colour: Colour) -> None:
        """Drains, ends, and takes the colour's address from the router, where a stranger may listen soon."""
        self._wait_idle(colour)
        self._fence()
        self._colours[colour].stop()
        self._envoy.set_endpoint(colour, None)

    def _wait_idle(self, colour: Colour) -> None:
        deadline = self._clock.monotonic() + self._settings.drain_timeout
        while self._colours[colour].alive() and self._clock.monotonic() < deadline:
            if not self._counts_or_nothing()[colour].active:
                return
            self._clock.sleep(POLL_SECONDS)

    def _restart_router(self) -> None:
        """Brings back a router that had been routing; before the first release only looks whether its port is free."""
        if self._envoy.ordered() is None:
            self._envoy.require_port()
        else:
            self._fence()
            self._envoy.ensure()

    def _refuse_while_used(self, colour: Colour, refusal: str) -> None:
        plan = self._envoy.applied() or self._envoy.ordered()
        if plan is not None and (plan.live is colour or plan.percent(colour)):
            raise EnvironmentFault(
                f"{refusal}: users are routed to it",
                facts={"plan": f"live {plan.live}, {plan.share} % to {plan.live.other}"},
                tries=("mlpipeline rollback", "deploy to the other colour"),
            )

    def _refuse_nowhere(self, plan: TrafficPlan) -> None:
        """No user is sent to a colour that cannot answer, unless nothing can answer anyway."""
        wanted = [colour for colour in Colour if plan.percent(colour)]
        missing = [colour for colour in wanted if self._colours[colour].standing is None]
        dead = [colour for colour in wanted if not self._colours[colour].alive()]
        if missing or (dead and any(process.alive() for process in self._colours.values())):
            raise EnvironmentFault(
                f"users cannot be routed to {', '.join(missing or dead)}: no process runs there",
                facts={colour: self._colours[colour].process.last_words(2) or "never deployed" for colour in missing or dead},
                tries=("mlpipeline deploy",),
            )

    def _counts_or_nothing(self) -> Mapping[Colour, RouterCounts]:
        """Zeros while the router is down: it counts from zero when it comes back."""
        try:
            return self._envoy.counts()
        except OSError:
            return dict.fromkeys(Colour, RouterCounts(completed=0, failed=0, active=0))

    def _tell_scraper(self) -> None:
        ports = {colour: standing.port for colour, process in self._colours.items() if (standing := process.standing)}
        self._scraper.tell(ports, self._envoy.admin_port())
