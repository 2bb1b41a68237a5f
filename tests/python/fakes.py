"""Stand-ins for the outside world: subclasses of the ports that note what was asked, and fail or crash on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from mlpipeline.config.model import Config
from mlpipeline.config.sections.training import Train
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault, Failed
from mlpipeline.ports import (
    Artifact,
    Clock,
    Console,
    Deployed,
    MetricSource,
    ModelVersion,
    Moved,
    Observed,
    Registry,
    RouterCounts,
    Sample,
    Target,
)
from mlpipeline.record.places import Places
from mlpipeline.verbs.context import Context, World

START = datetime(2026, 3, 1, 3, 0, 0, tzinfo=UTC)


class Crash(BaseException):
    """The worker was killed here. Not an Exception, so that no code under test handles it."""


class Fuse:
    """Counts side effects and kills the worker right after the chosen one.

    Args:
        left: How many more side effects happen; the crash comes after the last of them. Negative: never.
    """

    def __init__(self, left: int = -1) -> None:
        self.left = left
        self.burnt = 0

    def effect(self) -> None:
        """To be called right after each side effect."""
        self.burnt += 1
        if self.left > 0:
            self.left -= 1
            if self.left == 0:
                self.left = -1
                raise Crash


class FakeClock(Clock):
    """Time passes only in ``sleep``."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self.passed = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += max(seconds, 0.0)
        self.on_sleep()


class FakeConsole(Console):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, text: str, done: float, total: float) -> None:
        pass


class FakeTarget(Target):
    """Two colours and a router in memory.

    Attributes:
        plans: Every plan the router ever had, in order.
        calls: Every side effect asked for, such as ``deploy green`` or ``route blue+10``.
        broken: Digests that do not start.
        smoke: (status, body) that scoring requests get, by digest; (200, ...) unless named.
        owes: Requests that a colour which lost its traffic still has in flight after the wait.
        unreachable: Every call raises EnvironmentFault while set.
        refuses_routes: The router does not confirm while set.
        fuse: Burns with each side effect.
    """

    def __init__(self, fuse: Fuse | None = None) -> None:
        self.fuse = fuse or Fuse()
        self.colours: dict[Colour, Deployed] = {}
        self.plan: TrafficPlan | None = None
        self.plans: list[TrafficPlan] = []
        self.calls: list[str] = []
        self.broken: set[str] = set()
        self.smoke: dict[str, tuple[int, bytes]] = {}
        self.owes = 0
        self.unreachable = False
        self.refuses_routes = False
        self.router = "up"
        self.prometheus = "http://fake-prometheus:9090"
        self.answered = {Colour.BLUE: 0, Colour.GREEN: 0}

    def observe(self) -> Observed:
        self._reach()
        return Observed(colours=dict(self.colours), plan=self.plan if self.router == "up" else None, router=self.router)

    def deploy(self, colour: Colour, artifact: Artifact) -> Deployed:
        self._reach()
        standing = self.colours.get(colour)
        if self._percent(colour) and (standing is None or standing.artifact.digest != artifact.digest):
            raise EnvironmentFault(f"{colour} answers users and cannot be replaced")
        if artifact.digest in self.broken:
            raise Failed(f"{artifact.digest} does not start")
        if standing is None or not standing.ready or standing.artifact.digest != artifact.digest:
            self.colours[colour] = Deployed(colour=colour, artifact=artifact, ready=True)
            self._did(f"deploy {colour}")
        return self.colours[colour]

    def route(self, plan: TrafficPlan, *, prove_within: float = 0.0, warm: bool = False) -> Moved:
        self._reach()
        if self.refuses_routes:
            raise EnvironmentFault("the router did not confirm the plan")
        if plan.live not in self.colours:
            raise EnvironmentFault(f"there is nothing in {plan.live}")
        self.router = "up"
        if self.plan != plan:
            self.plan = plan
            self.plans.append(plan)
            self._did(f"route {plan.live}" + (f"+{plan.share}" if plan.share else "") + ("+mirror" if plan.mirror else ""))
        self.answered[plan.live] += 10
        owed = self.owes if prove_within else 0
        return Moved(
            applied_seconds=0.01,
            old_last_seconds=0.02,
            old_completed=self.answered[plan.live.other],
            new_completed=10,
            old_in_flight=owed,
        )

    def probe(self, colour: Colour, request: bytes = b"") -> tuple[int, bytes]:
        self._reach()
        standing = self.colours.get(colour)
        if standing is None or not standing.ready:
            return 503, b"nothing there"
        if not request:
            return 200, b"{}"
        return self.smoke.get(standing.artifact.digest, (200, b'{"predictions": [1]}'))

    def counts(self) -> Mapping[Colour, RouterCounts]:
        self._reach()
        return {colour: RouterCounts(completed=self.answered[colour], failed=0, active=0) for colour in self.colours}

    def retire(self, colour: Colour) -> None:
        self._reach()
        if self._percent(colour):
            raise EnvironmentFault(f"{colour} answers users and cannot be retired")
        if self.colours.pop(colour, None) is not None:
            self._did(f"retire {colour}")

    def monitoring(self) -> str:
        self._reach()
        return self.prometheus

    def shutdown(self) -> None:
        self._reach()
        self.calls.append("shutdown")
        self.colours, self.plan = {}, None

    def kill(self, colour: Colour) -> None:
        """The colour's process dies; what was deployed stays known."""
        self.colours[colour] = msgspec.structs.replace(self.colours[colour], ready=False, detail="no process")

    def kill_all(self) -> None:
        """The machine was restarted: no process, no router; its files are still there."""
        for colour in list(self.colours):
            self.kill(colour)
        self.router = "down"

    def _percent(self, colour: Colour) -> int:
        return self.plan.percent(colour) if self.plan else 0

    def _reach(self) -> None:
        if self.unreachable:
            raise EnvironmentFault("the target cannot be reached")

    def _did(self, call: str) -> None:
        self.calls.append(call)
        self.fuse.effect()


class FakeRegistry(Registry):
    """Versions and aliases in memory; ``unreachable`` makes every call raise EnvironmentFault."""

    def __init__(self, fuse: Fuse | None = None) -> None:
        self.fuse = fuse or Fuse()
        self.unreachable = False
        self.tags: dict[tuple[str, str], dict[str, str]] = {}
        self.aliases: dict[tuple[str, str], str] = {}

    def register(
        self, name: str, model: Path, tags: Mapping[str, str], metrics: Mapping[str, float], params: Mapping[str, str]
    ) -> ModelVersion:
        self._reach()
        identity = (tags.get("mlpipeline.digest"), tags.get("mlpipeline.run"))
        for (known, version), held in self.tags.items():
            if known == name and (held.get("mlpipeline.digest"), held.get("mlpipeline.run")) == identity:
                return self._version(name, version)
        version = str(1 + sum(known == name for known, _ in self.tags))
        self.tags[name, version] = dict(tags)
        self.fuse.effect()
        return self._version(name, version)

    def version(self, name: str, alias_or_version: str) -> ModelVersion | None:
        self._reach()
        version = self.aliases.get((name, alias_or_version), alias_or_version)
        return self._version(name, version) if (name, version) in self.tags else None

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._reach()
        self.aliases[name, alias] = version
        self.fuse.effect()

    def delete_alias(self, name: str, alias: str) -> None:
        self._reach()
        self.aliases.pop((name, alias), None)
        self.fuse.effect()

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        self._reach()
        self.tags.setdefault((name, version), {}).update(tags)
        self.fuse.effect()

    def _version(self, name: str, version: str) -> ModelVersion:
        aliases = tuple(sorted(alias for (model, alias), target in self.aliases.items() if (model, target) == (name, version)))
        return ModelVersion(name=name, version=version, tags=dict(self.tags[name, version]), aliases=aliases)

    def _reach(self) -> None:
        if self.unreachable:
            raise EnvironmentFault("the registry cannot be reached")


class FakeMetrics(MetricSource):
    """Answers by exact query; a query nobody prepared has no series."""

    def __init__(self) -> None:
        self.unreachable = False
        self.instants: dict[str, Sequence[Sample]] = {}
        self.ranges: dict[str, Mapping[tuple[tuple[str, str], ...], Sequence[tuple[float, float]]]] = {}
        self.queries: list[str] = []

    def instant(self, query: str, at: float | None = None) -> Sequence[Sample]:
        self._reach(query)
        return self.instants.get(query, [])

    def series(
        self, query: str, start: float, end: float, step: float
    ) -> Mapping[tuple[tuple[str, str], ...], Sequence[tuple[float, float]]]:
        self._reach(query)
        return self.ranges.get(query, {})

    def _reach(self, query: str) -> None:
        self.queries.append(query)
        if self.unreachable:
            raise EnvironmentFault("Prometheus cannot be reached")


class FakeWorld:
    """All the fakes of one test, and the context a verb is given.

    Args:
        folder: Everything is written below it.
        config: Anything but the defaults, by section (``rollout=Rollout(...)``).
    """

    def __init__(self, folder: Path, service: str = "iris", **config: object) -> None:
        self.fuse = Fuse()
        self.clock = FakeClock()
        self.console = FakeConsole()
        self.target = FakeTarget(self.fuse)
        self.registry = FakeRegistry(self.fuse)
        self.metrics = FakeMetrics()
        self.places = Places(project=folder / "project", home=folder / "mlpipeline-home", service=service)
        self.config = Config(**{"service": service, "train": Train(command="true"), **config})  # type: ignore[arg-type]

    def context(self, **changes: object) -> Context:
        given = {
            "config": self.config,
            "places": self.places,
            "clock": self.clock,
            "console": self.console,
            "world": World(target=lambda: self.target, registry=lambda: self.registry, metrics=lambda _url: self.metrics),
            "actor": "tester",
        }
        return Context(**{**given, **changes})  # type: ignore[arg-type]
