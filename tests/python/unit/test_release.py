"""The release state machine, decision by decision."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mlpipeline.core.release import (
    Begin,
    Deploy,
    Hold,
    Judged,
    PayDebts,
    Phase,
    Release,
    Resume,
    Retire,
    Route,
    Seen,
    Settle,
    StagePassed,
    Standing,
    State,
    TakeBack,
    Version,
    WatchStage,
    decide,
    stages_of,
)
from mlpipeline.core.traffic import Colour, TrafficPlan

BLUE, GREEN = Colour.BLUE, Colour.GREEN
OLD, NEW = Version("sha256:old", "/old", "1", "run-1"), Version("sha256:new", "/new", "2", "run-2")
STAGES = stages_of(mirror=30, steps=(10, 50), step=30, bake=60, control=10)
BOTH = Seen(TrafficPlan.all_to(BLUE), {BLUE: OLD.digest, GREEN: NEW.digest}, {BLUE: OLD, GREEN: NEW})
RELEASE = Release(run="run-2", candidate=NEW, colour=GREEN, phase=Phase.SHIFTING, champion=OLD, stage=1)
STATE = State(release=RELEASE, champion=Standing(BLUE, OLD))


def in_phase(phase: Phase) -> State:
    return replace(STATE, release=replace(RELEASE, phase=phase))


def test_stages_without_length_are_left_out_and_control_stays_on_the_champion() -> None:
    stages = stages_of(mirror=0, steps=(25,), step=5, bake=9, control=20)
    assert [(stage.name, stage.share, stage.seconds) for stage in stages] == [("step-25", 25, 5), ("bake", 80, 9)]


def test_first_release_goes_to_blue_and_others_beside_the_live_one() -> None:
    assert decide(State(), Seen(), STAGES, Begin("run-1", OLD)).effects == (Deploy(BLUE, OLD),)
    live = Seen(TrafficPlan.all_to(GREEN), {GREEN: OLD.digest}, {GREEN: OLD})
    assert decide(State(), live, STAGES, Begin("run-2", NEW)).effects == (Deploy(BLUE, NEW),)


def test_killed_worker_goes_on_at_the_stage_it_had_reached() -> None:
    assert decide(STATE, BOTH, STAGES, Resume()).effects == (Route(TrafficPlan(BLUE, share=10)), WatchStage(1))
    step = decide(STATE, BOTH, STAGES, StagePassed())
    assert step.effects == (Route(TrafficPlan(BLUE, share=50)), WatchStage(2))
    assert step.state.intents == ("route users to blue, 50% to green", "watch stage 3")


def test_candidate_that_died_is_started_again_while_users_are_on_the_champion() -> None:
    seen = replace(BOTH, ready={BLUE: OLD.digest}, plan=TrafficPlan(BLUE, share=10))
    assert decide(STATE, seen, STAGES, Resume()).effects[:2] == (Route(TrafficPlan.all_to(BLUE)), Deploy(GREEN, NEW))


@pytest.mark.parametrize("stage", range(4))
def test_verdict_before_the_last_stage_is_refused(stage: int) -> None:
    assert decide(replace(STATE, release=replace(RELEASE, stage=stage)), BOTH, STAGES, Judged()).refused


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_with_a_champion_can_be_taken_back(phase: Phase) -> None:
    step = decide(in_phase(phase), BOTH, STAGES, TakeBack("slow"))
    assert step.effects == (Route(TrafficPlan.all_to(BLUE), prove=True), PayDebts(), Retire(GREEN))
    assert phase is Phase.RETURNING or step.state.quarantined["sha256:new"].reason == "slow"


def test_same_content_is_taken_back_without_barring_the_champion() -> None:
    same = replace(STATE, release=replace(RELEASE, candidate=replace(OLD, run="run-2")))
    assert decide(same, BOTH, STAGES, TakeBack("slow")).state.quarantined == {}


def test_hold_at_the_verdict_bakes_again() -> None:
    judged = replace(STATE, release=replace(RELEASE, stage=len(STAGES)))
    held = decide(judged, BOTH, STAGES, Hold("too few requests")).state.release
    assert held is not None
    assert held.stage == len(STAGES) - 1


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in (Phase.SWITCHED, Phase.SETTLING)])
def test_only_a_switched_release_settles(phase: Phase) -> None:
    assert decide(in_phase(phase), replace(BOTH, plan=TrafficPlan.all_to(GREEN)), STAGES, Settle()).refused


def test_settle_is_refused_while_users_are_elsewhere_or_it_does_not_answer() -> None:
    switched = in_phase(Phase.SWITCHED)
    assert decide(switched, BOTH, STAGES, Settle()).refused
    dead = Seen(TrafficPlan.all_to(GREEN), {}, {GREEN: NEW})
    assert decide(switched, dead, STAGES, Settle()).refused
    assert not decide(switched, replace(BOTH, plan=TrafficPlan.all_to(GREEN)), STAGES, Settle()).refused
