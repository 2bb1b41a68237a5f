"""Releases on a real target, with verdicts of the test's own choice, and workers that die, sleep or race.

Target, router, journal, leases and ledger are real; Prometheus and the registry are not asked. A kind of target joins by one line
in ``target_world.WORLDS``, and by the functions that change it in ``EFFECTS`` here.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from constant_load import ConstantLoad
from fakes import FakeConsole, FakeMetrics, FakeRegistry
from mlpipeline.clock import SystemClock, iso
from mlpipeline.config.model import Config, Rollout, Train, Verify
from mlpipeline.config.sections.target import Target as TargetSection
from mlpipeline.config.values import Duration
from mlpipeline.core.release import Phase, State
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting import proof
from mlpipeline.ports import Observed, Target
from mlpipeline.record.journal import Journal
from mlpipeline.record.places import Places
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import deploy, resume, rollback, settle, switch, verify
from mlpipeline.verbs.context import Context, World
from mlpipeline.verbs.holding import still_held
from target_world import WORLDS, TargetWorld
from tiny_service import Behaviour

PATIENCE = 120.0
"""Seconds after which what did not happen will not; a starved machine is slow, not wrong."""
EFFECTS = {
    "local": (
        "mlpipeline.hosting.router:Router._write",
        "mlpipeline.hosting.processes:ManagedProcess.start",
        "mlpipeline.hosting.processes:ManagedProcess.stop",
        "mlpipeline.adapters.local.colours:ColourProcess.forget",
    ),
    "docker": (
        "mlpipeline.hosting.router:Router._write",
        "mlpipeline.adapters.docker.colours:ColourContainer._create",
        "mlpipeline.adapters.docker.colours:ColourContainer.start",
        "mlpipeline.adapters.docker.engine:Engine.stop",
        "mlpipeline.adapters.docker.engine:Engine.remove",
    ),
    "kubernetes": (
        "mlpipeline.adapters.kubernetes.lease:ServiceLease.acquire",
        "mlpipeline.adapters.kubernetes.lease:ServiceLease.release",
        "mlpipeline.adapters.kubernetes.objects:Owned.apply",
        "mlpipeline.adapters.kubernetes.colours:ColourDeployment._apply",
        "mlpipeline.adapters.kubernetes.router:EnvoyDeployment._write",
        "mlpipeline.adapters.kubernetes.api:Cluster.patch",
        "mlpipeline.adapters.kubernetes.api:Cluster.delete",
    ),
}
"""What a worker does to a target of this kind: it dies right after the n-th of these. What it writes down besides is in
``unit/test_resume.py``, where a worker dies after each of those too."""


class FaultWorld:
    """One service on one kind of target.

    Args:
        kind: Of target.
        folder: Of this test alone.
        settings: Of the target, besides those that its world chooses.
    """

    def __init__(self, kind: str, folder: Path, **settings: object) -> None:
        self.kind = kind
        self.world: TargetWorld = WORLDS[kind](folder)
        self._set(**settings)
        self.places: Places = self.world.places  # type: ignore[attr-defined]
        self.verdicts: dict[str, Verdict] = {}
        self.during: Callable[[str], None] = lambda _stage: None
        self.console = FakeConsole()
        self._made = 0
        rollout = Rollout(mirror=1, steps=(50,), step=1, bake=1, control=20, settle_switch=60)  # type: ignore[arg-type]
        where = TargetSection(kind=kind)  # type: ignore[arg-type]
        named = Verify(prometheus="http://nobody.asks" if kind == "kubernetes" else "")
        self.config = Config(
            service=self.places.service, train=Train(command="true"), rollout=rollout, target=where, verify=named
        )

    @property
    def address(self) -> str:
        return self.world.address

    def context(self, places: Places | None = None) -> Context:
        """As a worker that was just started makes it."""
        at = places or self.places

        @functools.cache
        def target() -> Target:
            return self.world.target(lambda: still_held(at.lease))

        registry = FakeRegistry()
        world = World(target=target, registry=lambda: registry, metrics=lambda _url: FakeMetrics())
        return Context(config=self.config, places=at, clock=SystemClock(), console=self.console, world=world, actor="tester")

    def packaged(self, behaviour: Behaviour | None = None, *, of: Result | None = None) -> Run:
        """A run up to ``register``.

        Args:
            of: What ``package`` really made; by default a tiny service.
        """
        self._made += 1
        context = self.context()
        run = Run(id=f"run-{self._made:03}", service=self.places.service, commit="c" * 40, created=iso(context.clock.now()))
        context.runs.create(run)
        package = dict(of.evidence) if of is not None else self._tiny(behaviour or Behaviour(f"version {self._made}"))
        evidence = {"package": package, "register": {"name": "contract", "version": str(self._made)}}
        for verb, found in evidence.items():
            passed = Result(
                verb=verb, service=run.service, run=run.id, verdict=Verdict.PASS, summary="prepared", evidence=dict(found)
            )
            context.runs.write(passed)
        return run

    def _tiny(self, behaviour: Behaviour) -> dict[str, object]:
        """What ``package`` would say of it."""
        artifact = self.world.artifact(behaviour)
        made = artifact.image
        package: dict[str, object] = {"digest": artifact.digest, "path": artifact.path}
        if made is None:
            return package
        return {**package, "image": {"digest": made.digest, "id": made.id, "layout": made.source, "reference": made.reference}}

    def release(self, run: Run) -> Result:
        """From ``deploy`` to ``settle``, or to the first that does not pass."""
        context = self.context()
        for verb in (deploy, switch, settle):
            with self.judging():
                result = verb.run(context, run)
            if result.verdict is not Verdict.PASS:
                break
        return result

    def released(self, behaviour: Behaviour | None = None) -> Run:
        run = self.packaged(behaviour)
        result = self.release(run)
        assert result.verdict is Verdict.PASS, result.summary
        return run

    def judging(self) -> Any:
        """Verdicts are those of ``verdicts`` while this lasts."""
        return patch.object(verify, "Watch", self._watch())

    def _watch(self) -> type:
        world = self

        class Chosen:
            def __init__(self, *_arguments: object, **_named: object) -> None:
                pass

            def check(self) -> None:
                pass

            def watch(self, stage: str, seconds: float, *, traffic: str, last: bool = False) -> verify.StageOutcome:
                world.during(stage)
                verdict = world.verdicts.get(stage, Verdict.PASS)
                reasons = (Reason("metric.errors", verdict, f"errors in {stage}: {verdict}"),)
                return verify.StageOutcome(verdict, f"errors: {verdict}", reasons, seconds, 3)

            def conclude(self) -> verify.JudgedRelease:
                reasons = (Reason("metric.errors", Verdict.PASS, "over all stages"),)
                return verify.JudgedRelease(Verdict.PASS, "over all stages", reasons, {})

        return Chosen

    def dies_after(self, effects: int, act: Callable[[], object]) -> bool:
        """Runs it in a process of its own that is killed with SIGKILL right after so many side effects; false when it came to its
        end before."""
        worker = os.fork()
        if worker == 0:
            code = 1
            try:
                die_after(effects, EFFECTS[self.kind])
                act()
                code = 0
            finally:
                os._exit(code)
        return ended(worker) == -signal.SIGKILL

    @property
    def state(self) -> State:
        return Journal(self.places.journal).read()

    @property
    def phase(self) -> Phase | None:
        return self.state.release.phase if self.state.release else None

    @property
    def champion(self) -> str:
        return self.state.champion.version.digest if self.state.champion else ""

    def observed(self) -> Observed:
        return self.world.target().observe()

    def live(self) -> Colour:
        plan = self.observed().plan
        assert plan is not None
        return plan.live

    def begin_anew(self) -> None:
        """A story that broke off half-way leaves nothing to the next one."""
        resume.run(self.context())
        if self.phase is not None:
            rollback.run(self.context(), reason="a story broke off")

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """What is not ready within two seconds is not waited for."""
        before = self._set(ready_timeout=Duration(2))
        try:
            yield
        finally:
            self._set(ready_timeout=before.ready_timeout)

    def _set(self, **changes: object) -> Any:
        """Changes settings of the target; returns what they were."""
        name = "settings" if hasattr(self.world, "settings") else "_settings"
        before = getattr(self.world, name)
        setattr(self.world, name, msgspec.structs.replace(before, **changes))
        return before

    def paused(self) -> int:
        """The process that has to answer for the target to change: Envoy, or the container engine."""
        if self.kind == "docker":
            return int(self.world.engine.daemon)  # type: ignore[attr-defined]
        record = self.world.target().processes()["router"].running()  # type: ignore[attr-defined]
        assert record is not None
        return int(record.pid)

    @contextmanager
    def lost_package(self) -> Iterator[None]:
        """What the version before the champion is started from is not there for a while."""
        previous = self.state.previous
        assert previous is not None
        if previous.image is not None:
            # An engine keeps what once ran; a registry and a layout may be gone, and the image was removed by hand.
            with patch("mlpipeline.adapters.docker.images.Images.ensure", side_effect=EnvironmentFault("not on this machine")):
                yield
            return
        place = Path(previous.path)
        place.rename(place.with_name("away"))
        try:
            yield
        finally:
            place.with_name("away").rename(place)

    @contextmanager
    def users(self, rate: float = 40.0, *, all_answered: bool = True) -> Iterator[ConstantLoad]:
        """Users on fresh and on kept connections, all the time; at the end every one must have been answered."""
        with ConstantLoad(self.address, rate=rate, keep_alive=2, fresh=2) as load:
            yield load
        assert load.sent, "no user asked"
        assert not all_answered or not load.failed, f"{load.failed} of {load.sent} requests failed: {load.failures}"

    def close(self) -> None:
        self.world.close()


@contextmanager
def released(kind: str, folder: Path) -> Iterator[FaultWorld]:
    """A world in which a first version has all users, and proofs are quick."""
    with closing(FaultWorld(kind, folder)) as made, quick_proof():
        made.released()
        yield made


def die_after(effects: int, places: tuple[str, ...]) -> None:
    """From now on this process ends, as ``kill -9`` would end it, right after so many calls of these functions returned."""
    left = [effects]
    for place in places:
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, name, _counted(getattr(owner, name), left))


def _counted(original: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def called(*arguments: Any, **named: Any) -> Any:
        answer = original(*arguments, **named)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return called


def ended(worker: int) -> int:
    """Exit code of a child, negative for a signal; one that does not end is killed, and that is a failure."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pid, status = os.waitpid(worker, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    raise AssertionError(f"the worker did not end within {PATIENCE:g} s")


def quick_proof() -> Any:
    """The proof waits half a second for late answers of the router's threads; a test with dozens of releases need not."""
    return patch.object(proof, "QUIET_SECONDS", 0.05)
