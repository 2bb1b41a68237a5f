"""Cohorts in the state machine: pinned only while candidate and champion both have users, and never left behind."""

from __future__ import annotations

from hypothesis import given, settings

from machine_strategies import COHORTS, COLOURS, EVENTS, PLANS, SEEN, STATES, VERSIONS
from mlpipeline.core import release as machine
from mlpipeline.core.envoy_files import plan_of, routes
from mlpipeline.core.release import Phase, Release, Route, Seen, State, Version, decide
from mlpipeline.core.strategy import Rules, planned
from mlpipeline.core.traffic import Cohort, Colour, TrafficPlan, pinned

STAGES = planned(Rules(mirror=1, steps=(10,), step=1, bake=1, control=10))


@settings(max_examples=200, deadline=None)
@given(STATES, SEEN, EVENTS, COHORTS)
def test_nobody_is_pinned_but_while_both_have_users(
    state: State, seen: Seen, event: machine.Event, cohorts: tuple[Cohort, ...]
) -> None:
    step = decide(state, seen, STAGES, event, cohorts)
    release = step.state.release
    for effect in step.effects:
        if not isinstance(effect, Route) or not effect.plan.cohorts:
            continue
        assert release is not None and release.champion is not None
        assert release.phase in (Phase.SHIFTING, Phase.SWITCHING)
        champion = release.colour.other
        if effect.plan.live is release.colour:
            assert set(effect.plan.cohorts) == {one for one in pinned(cohorts, champion) if one.colour is champion}
        else:
            assert effect.plan.cohorts == pinned(cohorts, champion)


@settings(max_examples=200, deadline=None)
@given(STATES, SEEN, EVENTS, COHORTS)
def test_no_colour_is_retired_under_a_cohort(state: State, seen: Seen, event: machine.Event, cohorts: tuple[Cohort, ...]) -> None:
    """Where users are when a colour is retired: what was seen, or the last route before it."""
    step = decide(state, seen, STAGES, event, cohorts)
    plan = seen.plan
    for effect in step.effects:
        if isinstance(effect, Route):
            plan = effect.plan
        if isinstance(effect, machine.Retire) and plan is not None and isinstance(event, machine.Settle | machine.Abandon):
            assert not plan.pinned(effect.colour)


@settings(max_examples=200, deadline=None)
@given(VERSIONS, COHORTS, COLOURS)
def test_settle_gathers_those_who_stayed_before_it_retires(version: Version, cohorts: tuple[Cohort, ...], colour: Colour) -> None:
    release = Release("r", version, colour, Phase.SWITCHED, champion=Version("sha256:0", "/0"))
    seen = Seen(plan=machine.moved_plan(release, cohorts), ready={colour: version.digest})
    step = decide(State(release=release), seen, STAGES, machine.Settle(), cohorts)
    everybody = TrafficPlan.all_to(colour)
    if seen.plan == everybody:
        assert step.state.release is not None and step.state.release.phase is Phase.SETTLING
        return
    assert step.effects == (Route(everybody, prove=True),) and step.state.release == release
    after = decide(step.state, Seen(plan=everybody, ready=seen.ready), STAGES, machine.Settle(), cohorts)
    assert after.state.release is not None and after.state.release.phase is Phase.SETTLING


@settings(max_examples=100, deadline=None)
@given(PLANS)
def test_a_plan_is_read_back_from_its_route_file_whatever_its_cohorts_say(plan: TrafficPlan) -> None:
    assert plan_of(routes(plan, "1")["resources"][0]) == plan  # type: ignore[index]
