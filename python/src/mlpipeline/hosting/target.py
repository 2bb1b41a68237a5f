"""A target on one host: the order in which colours and the router change, whatever runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import msgspec

from mlpipeline.core.envoy_files import Address
from mlpipeline.core.inventory import Part
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault, Failed
from mlpipeline.hosting import proof
from mlpipeline.hosting.loopback import ask
from mlpipeline.ports import Artifact, Clock, Deployed, Moved, Observed, RouterCounts
from mlpipeline.record.lease import TRAFFIC, Holder, Right

POLL_SECONDS = 0.02
PROBE_SECONDS = 60.0
ANSWERS_SECONDS = 10.0
"""Some megabytes at most, perhaps through an API server."""


class Standing(msgspec.Struct, frozen=True):
    """What was last started in a colour: kept until it is retired, also when it has died.

    Args:
        port: On loopback of this machine.
    """

    artifact: Artifact
    port: int
    restarts: int = 0


class ColourService(Protocol):
    """What serves in one colour."""

    @property
    def standing(self) -> Standing | None:
        """What stands here; None when nothing does."""

    def alive(self) -> bool:
        """Whether it runs, answering or not."""

    def address(self) -> Address | None:
        """Where the router finds it."""

    def observe(self) -> Deployed | None:
        """Asks it; None when nothing was deployed here."""

    def start(self, artifact: Artifact, restarts: int) -> None:
        """Starts the artifact and waits until it is stably ready. What ran before has ended.

        Raises Failed when it ended or was not ready in time, EnvironmentFault when the machine is to blame."""

    def stop(self) -> None:
        """Lets it drain, and kills it when it has not ended a little after its drain time-out."""

    def forget(self) -> None:
        """Nothing stands here any more."""

    def ask(self, path: str, body: bytes | None = None, timeout: float = 2.0) -> tuple[int, bytes]:
        """One request straight to it. Raises OSError when it does not answer."""

    def answers(self) -> Sequence[tuple[int, bytes]]:
        """What each of its processes that answers says of what it answered: status and body. Raises OSError when none does."""

    def words(self, lines: int) -> Mapping[str, object]:
        """Where its log is and how it ends, for messages."""

    def part(self) -> Part:
        """How it runs now, for what stands here."""


class RouterService(Protocol):
    """What sends users to a colour."""

    def known(self) -> bool:
        """Whether it was ever started."""

    def inventory(self, addresses: Mapping[Colour, Address | None]) -> Part:
        """How it runs now and what it follows, against where each colour listens."""

    def bound_log(self) -> None:
        """Keeps its log small while it goes on writing."""

    def running(self) -> bool:
        """Whether it runs and answers."""

    def ordered(self) -> TrafficPlan | None:
        """What it was told last; None before the first release."""

    def applied(self) -> TrafficPlan | None:
        """What it says itself that it does; None while it is down or was told nothing."""

    def require_port(self) -> None:
        """Raises EnvironmentFault when somebody else is in its place."""

    def ensure(self) -> None:
        """Starts it with what it was told last, unless it runs."""

    def set_endpoint(self, colour: Colour, address: Address | None) -> None:
        """Tells where a colour listens, and waits until a running router knows."""

    def knows(self, colour: Colour, address: Address | None) -> bool:
        """Whether that is what it was told last of where the colour listens."""

    def apply(self, plan: TrafficPlan, *, warm: bool = False) -> None:
        """Tells the plan, makes sure that it runs, and waits until it confirms. Raises EnvironmentFault.

        Args:
            warm: The colour without users is the version before: it answers what the live one does not, where the router can.
        """

    def leave_out(self, colour: Colour) -> None:
        """Something else is about to stand in this colour: it answers nothing any more that the live one does not."""

    def counts(self) -> Mapping[Colour, RouterCounts]:
        """What it counted itself, without delay. Raises OSError while it is down."""

    def admin_port(self) -> int | None:
        """Where a Prometheus of this machine reads its counters; None: nowhere."""

    def words(self, lines: int) -> Mapping[str, object]:
        """Where its log is and how it ends, for messages."""


class Monitoring(Protocol):
    """The Prometheus that a target brings along, or the one that it was given."""

    def bound_log(self) -> None:
        """Keeps its log small while it goes on writing."""

    def tell(self, colours: Mapping[Colour, int], admin_port: int | None) -> None:
        """Who is to be scraped from now on: ports of the colours and of the router's admin."""

    def ensure(self) -> str:
        """Its URL; started when it is ours and does not run."""


class HostTarget:
    """Implements :class:`mlpipeline.ports.Target` over a router, colours and a Prometheus.

    Remembers nothing itself: two workers after each other see the same.

    Args:
        drain_timeout: Seconds that requests in flight get before a colour is ended.
        fence: Called right before each write; raises Held when this worker no longer may change the service.
    """

    def __init__(
        self,
        users: Address,
        router: RouterService,
        colours: Mapping[Colour, ColourService],
        scraper: Monitoring,
        clock: Clock,
        *,
        drain_timeout: float,
        fence: Callable[[], object] | None = None,
    ) -> None:
        self._users, self._router, self._colours, self._scraper, self._clock = users, router, colours, scraper, clock
        self._drain_timeout = drain_timeout
        self._fence: Callable[[], object] = fence or (lambda: None)

    @property
    def address(self) -> str:
        """Where users reach the service."""
        return f"http://{self._users[0]}:{self._users[1]}"

    def observe(self) -> Observed:
        """Asks the router and both processes."""
        self._router.bound_log()
        self._scraper.bound_log()
        standing = {colour: deployed for colour, process in self._colours.items() if (deployed := process.observe())}
        up = self._router.running()
        return Observed(colours=standing, plan=self._router.applied() if up else None, router="up" if up else "down")

    def deploy(self, colour: Colour, artifact: Artifact) -> Deployed:
        """Starts the artifact in the colour; restarts a dead or unready process of the same artifact."""
        process, standing = self._colours[colour], self._colours[colour].standing
        same = standing is not None and standing.artifact.digest == artifact.digest
        # Where nothing stands, although users are routed there, somebody removed it: whatever comes is better than nothing.
        if standing is not None and not same:
            self._refuse_while_used(colour, f"{artifact.digest} cannot be deployed to {colour}")
        self._restart_router()
        if not same:
            self._fence()
            self._router.leave_out(colour)
        seen = process.observe() if same and process.alive() else None
        if standing is None or seen is None or not seen.ready:
            restarts = standing.restarts + 1 if same and standing is not None else 0
            self._replace(colour, artifact, restarts)
            standing = process.standing
        if standing is not None:
            self._fence()
            self._router.set_endpoint(colour, process.address())
            self._tell_scraper()
        deployed = process.observe()
        if deployed is None or not deployed.ready:
            raise Failed(
                f"{colour} was ready and then no longer",
                facts={**process.words(4), "detail": deployed.detail if deployed else "it is gone"},
            )
        return deployed

    def route(self, plan: TrafficPlan, *, prove_within: float = 0.0, warm: bool = False) -> Moved:
        """Writes the plan, waits for the router's confirmation and, if asked to, for the proof."""
        self._refuse_nowhere(plan)
        self._router.require_port()
        before = self._counts_or_nothing()
        self._fence()
        self._introduce(plan)
        written = self._clock.monotonic()
        self._router.apply(plan, warm=warm)
        applied = self._clock.monotonic() - written
        self._tell_scraper()
        if prove_within <= 0:
            return proof.moved(before, self.counts(), plan, applied)
        return proof.stands_still(
            self.counts, before, plan, written=written, applied=applied, within=prove_within, clock=self._clock
        )

    def _introduce(self, plan: TrafficPlan) -> None:
        """A worker may have been killed after a colour was ready, and before the router was told where it listens."""
        for colour, process in self._colours.items():
            if (plan.percent(colour) or plan.mirror) and process.standing is not None:
                address = process.address()
                if not self._router.knows(colour, address):
                    self._router.set_endpoint(colour, address)

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
                facts={"alive": process.alive(), **process.words(4)},
            ) from error

    def ask_as_user(self, request: bytes) -> tuple[int, bytes]:
        """``/invocations`` at the address that users reach."""
        host, port = self._users
        try:
            reachable = host if host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104 - asked, not listened on
            return ask(reachable, port, "/invocations", body=request, timeout=PROBE_SECONDS)
        except OSError as error:
            raise EnvironmentFault(f"nobody answers at {self.address}: {error}", facts=self._router.words(4)) from error

    def recorded(self, colour: Colour) -> Sequence[bytes]:
        """None: where a sample lies is known to those who start the colours."""
        del colour
        return ()

    def answers(self, colour: Colour) -> Mapping[str, str]:
        """What its processes tell of themselves at ``/answers``, which users cannot ask; nothing where they keep none. An id that
        two of them answered differently names no single request."""
        found: dict[str, str] = {}
        twice: set[str] = set()
        try:
            told = [
                msgspec.json.decode(body, type=dict[str, str])
                for status, body in self._colours[colour].answers()
                if status == 200
            ]
        except (OSError, msgspec.DecodeError) as error:
            raise EnvironmentFault(f"{colour} does not tell its answers: {error}") from error
        for one in told:
            twice |= {request for request in found.keys() & one.keys() if found[request] != one[request]}
            found |= one
        return {request: answer for request, answer in found.items() if request not in twice}

    def counts(self) -> Mapping[Colour, RouterCounts]:
        """Envoy's counters since it started; mirrored copies count only as active."""
        try:
            return self._router.counts()
        except OSError as error:
            raise EnvironmentFault(
                "the router does not answer",
                facts={**self._router.words(4), "found": error},
                likely="it was ended from outside",
                tries=("mlpipeline deploy", "mlpipeline rollback"),
            ) from error

    def hold(self, holder: Holder, right: Right = TRAFFIC) -> AbstractContextManager[None]:
        """Workers of one host share a folder of leases."""
        del holder, right
        return nullcontext()

    def holder(self, right: Right = TRAFFIC) -> Holder | None:
        """The folder of leases says."""
        del right
        return None

    def remember(self, note: str) -> None:
        """Where workers share one folder of state, that is where it is."""
        del note

    def remembered(self) -> str:
        return ""

    def retire(self, colour: Colour) -> None:
        """Waits until nothing is in flight (at most the drain time-out), then ends it."""
        process = self._colours[colour]
        if process.standing is None:
            return
        self._refuse_while_used(colour, f"{colour} cannot be retired")
        self._end(colour)
        process.forget()
        self._tell_scraper()

    def inventory(self) -> Mapping[str, Part]:
        """Colours that stand and the router, each as it runs now."""
        standing = {colour: process.standing for colour, process in self._colours.items()}
        parts = {str(colour): self._colours[colour].part() for colour, known in standing.items() if known is not None}
        if self._router.known():
            addresses = {colour: process.address() for colour, process in self._colours.items()}
            parts["router"] = self._router.inventory(addresses)
        return parts

    def monitoring(self) -> str:
        """URL of the service's own Prometheus; started, or found again."""
        self._tell_scraper()
        return self._scraper.ensure()

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
        self._router.set_endpoint(colour, None)

    def _wait_idle(self, colour: Colour) -> None:
        deadline = self._clock.monotonic() + self._drain_timeout
        while self._colours[colour].alive() and self._clock.monotonic() < deadline:
            if not self._counts_or_nothing()[colour].active:
                return
            self._clock.sleep(POLL_SECONDS)

    def _restart_router(self) -> None:
        """Brings back a router that had been routing; before the first release only looks whether its port is free."""
        if self._router.ordered() is None:
            self._router.require_port()
        else:
            self._fence()
            self._router.ensure()

    def _refuse_while_used(self, colour: Colour, refusal: str) -> None:
        plan = self._router.applied() or self._router.ordered()
        if plan is not None and (plan.live is colour or plan.serves(colour)):
            raise EnvironmentFault(
                f"{refusal}: users are routed to it",
                facts={"plan": f"live {plan.live}, {plan.share} % to {plan.live.other}"},
                tries=("mlpipeline rollback", "deploy to the other colour"),
            )

    def _refuse_nowhere(self, plan: TrafficPlan) -> None:
        """No user is sent to a colour that cannot answer, unless nothing can answer anyway."""
        wanted = [colour for colour in Colour if plan.serves(colour)]
        missing = [colour for colour in wanted if self._colours[colour].standing is None]
        dead = [colour for colour in wanted if not self._colours[colour].alive()]
        if missing or (dead and any(process.alive() for process in self._colours.values())):
            raise EnvironmentFault(
                f"users cannot be routed to {', '.join(missing or dead)}: no process runs there",
                facts={
                    colour: self._colours[colour].words(2).get("last lines") or "never deployed" for colour in missing or dead
                },
                tries=("mlpipeline deploy",),
            )

    def _counts_or_nothing(self) -> Mapping[Colour, RouterCounts]:
        """Zeros while the router is down: it counts from zero when it comes back."""
        try:
            return self._router.counts()
        except OSError:
            return dict.fromkeys(Colour, RouterCounts(completed=0, failed=0, active=0))

    def _tell_scraper(self) -> None:
        ports = {colour: standing.port for colour, process in self._colours.items() if (standing := process.standing)}
        self._scraper.tell(ports, self._router.admin_port())
