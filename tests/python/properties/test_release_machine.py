"""Releases under random orders, verdicts, outages and crashes: the invariants of the state machine hold throughout."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fakes import Crash
from machine_strategies import EVENTS, SEEN, STATES
from mlpipeline.core import release as machine
from mlpipeline.core.release import Phase, Seen, State, decide
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import MlpipelineError
from mlpipeline.record.journal import Journal
from mlpipeline.record.run import Run
from mlpipeline.verbs import deploy, rollback, settle, switch, verify
from release_story import Story

STAGES = machine.stages_of(mirror=1, steps=(10,), step=1, bake=1, control=10)


@settings(max_examples=400, deadline=None)
@given(STATES, SEEN, EVENTS)
def test_machine_is_total_and_gives_users_only_to_what_may_have_them(state: State, seen: Seen, event: machine.Event) -> None:
    step = decide(state, seen, STAGES, event)
    assert not step.refused or (step.state == state and not step.effects)
    release = step.state.release
    for effect in step.effects:
        if isinstance(effect, machine.Route) and release is not None and effect.plan.percent(release.colour):
            allowed = {Phase.SHIFTING, Phase.SWITCHING, Phase.SWITCHED, Phase.SETTLING}
            assert release.phase in allowed
        if isinstance(effect, machine.Retire) and release is not None and effect.colour is not release.colour:
            assert release.phase is Phase.SETTLING, "only settle retires the champion"


@settings(max_examples=200, deadline=None)
@given(STATES, SEEN)
def test_after_a_crash_the_same_journal_gives_the_same_effects(state: State, seen: Seen) -> None:
    step = decide(state, seen, STAGES, machine.TakeBack("x"))
    if not step.refused and step.state.release is not None and step.state.release.phase is Phase.RETURNING:
        assert decide(step.state, seen, STAGES, machine.Resume()).effects == step.effects
        assert decide(step.state, seen, STAGES, machine.TakeBack("y")).effects == step.effects


class Releases(RuleBasedStateMachine):
    """A service over its life. Each verb may be killed after any side effect, and is then simply run again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.story = Story(Path(self.folder.name))
        self.patch = patch.object(verify, "Watch", self.story.watch_class())
        self.patch.start()
        self.run: Run | None = None

    def teardown(self) -> None:
        self.patch.stop()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self.story.released()

    def attempt(self, call, crash: int) -> None:
        """The verb, killed after ``crash`` side effects, then once more."""
        self.story.world.fuse.left = crash or -1
        try:
            with suppress(MlpipelineError, Crash):
                call()
        finally:
            self.story.world.fuse.left = -1
        if crash:
            with suppress(MlpipelineError):
                call()

    @rule(crash=st.integers(0, 2))
    def deploy(self, crash: int) -> None:
        release = Journal(self.story.context.places.journal).read().release
        run = self.run = self.story.packaged() if release is None or self.run is None else self.run
        self.attempt(lambda: deploy.run(self.story.context, run), crash)

    @precondition(lambda self: self.run is not None)
    @rule(crash=st.integers(0, 6), bad=st.sampled_from(["", "mirror", "step-10", "bake"]), verdict=st.sampled_from(Verdict))
    def switch(self, crash: int, bad: str, verdict: Verdict) -> None:
        self.story.verdicts = {bad: verdict}
        run = self.run
        self.attempt(lambda: switch.run(self.story.context, run), crash)

    @precondition(lambda self: self.run is not None)
    @rule(crash=st.integers(0, 4), registry_down=st.booleans())
    def settle(self, crash: int, registry_down: bool) -> None:
        self.story.world.registry.unreachable = registry_down
        run = self.run
        self.attempt(lambda: settle.run(self.story.context, run), crash)
        self.story.world.registry.unreachable = False

    @rule(crash=st.integers(0, 5), outage=st.booleans())
    def rollback(self, crash: int, outage: bool) -> None:
        self.story.world.registry.unreachable = self.story.world.metrics.unreachable = outage
        before = Journal(self.story.context.places.journal).read().release
        self.attempt(lambda: rollback.run(self.story.context, self.run, reason="random"), crash)
        self.story.world.registry.unreachable = self.story.world.metrics.unreachable = False
        assert self.story.world.target.plan.share == 0
        if before is not None and before.champion is not None:
            assert Journal(self.story.context.places.journal).read().release is None

    @invariant()
    def one_ready_colour_is_live(self) -> None:
        target = self.story.world.target
        assert target.plan is not None or not target.colours
        if target.plan is not None:
            used = [colour for colour in Colour if target.plan.percent(colour)]
            assert all(target.colours[colour].ready for colour in used)

    @invariant()
    def stages_never_run_backwards_into_users(self) -> None:
        """After a plan with users on a candidate comes another stage, all of it, or all users back."""
        plans = self.story.world.target.plans
        for before, after in pairwise(plans):
            if after.share and before.share and after.live is before.live:
                assert after.share > before.share
            assert not (after.share and before.live is not after.live)

    @invariant()
    def ledger_names_who_is_live_when_no_verb_was_just_killed(self) -> None:
        entries = [entry for entry in self.story.context.ledger.read() if entry.event == "live"]
        plan = self.story.world.target.plan
        if plan is not None and plan.share == 0:
            assert entries[-1].facts["colour"] == str(plan.live)


Releases.TestCase.settings = settings(
    max_examples=15, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
TestReleases = Releases.TestCase
