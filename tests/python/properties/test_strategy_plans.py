"""Laws of every plan that a strategy makes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipeline.core.release import Resume, Seen, Stage, State, decide
from mlpipeline.core.strategy import USES, Rules, Strategy, compares, faults, planned
from mlpipeline.core.traffic import Cohort, Colour

SECONDS = st.floats(0, 1e6).map(lambda seconds: 0.0 if seconds < 0.001 else seconds)
RULES = st.builds(
    Rules,
    strategy=st.sampled_from(Strategy),
    mirror=SECONDS,
    steps=st.lists(st.integers(1, 99), max_size=6).map(tuple),
    increment=st.integers(1, 50),
    step=SECONDS,
    bake=SECONDS,
    control=st.integers(0, 50),
    waits=SECONDS,
    timeout=SECONDS,
)


@settings(max_examples=400, deadline=None)
@given(RULES)
def test_a_plan_without_faults_rises_fits_and_keeps_its_control(rules: Rules) -> None:
    stages = planned(rules)
    assert all(stage.seconds > 0 and 0 <= stage.share <= 100 for stage in stages)
    assert all(stage.share == 0 for stage in stages if stage.mirror)
    if list(faults(rules)):
        return
    assert len({stage.name for stage in stages}) == len(stages)
    shares = [stage.share for stage in stages]
    assert all(before <= after for before, after in pairwise(shares))
    assert shares[:-1] == sorted(set(shares[:-1])), "only the bake may repeat the weight of the last step"
    assert not rules.timeout or sum(stage.seconds for stage in stages) <= rules.timeout
    if rules.bake:
        assert stages[-1] == Stage("bake", 100 - rules.control, False, rules.bake)
    if rules.strategy is Strategy.LINEAR and rules.step:
        steps = [stage.share for stage in stages if stage.name.startswith("step-")]
        assert {after - before for before, after in pairwise([0, *steps])} <= {rules.increment}
    if rules.strategy is Strategy.SHADOW_THEN_SWITCH:
        assert stages[0].mirror


@settings(max_examples=200, deadline=None)
@given(RULES)
def test_every_stage_is_looked_at_where_both_answer(rules: Rules) -> None:
    for stage in planned(rules):
        assert stage.traffic == ("mirror" if stage.mirror else "live")
        plan = stage.plan(Colour.BLUE)
        assert stage.compares == (plan.mirror or all(plan.percent(colour) for colour in Colour))
    assert compares(rules) == any(stage.compares for stage in planned(rules))


@settings(max_examples=200, deadline=None)
@given(RULES, st.integers(0, 9))
def test_the_machine_carries_out_every_plan(rules: Rules, stage: int) -> None:
    from mlpipeline.core.release import Phase, Release, Version

    one, two = Version("sha256:1", "/1"), Version("sha256:2", "/2")
    shifting = State(release=Release("r", two, Colour.GREEN, Phase.SHIFTING, champion=one, stage=stage))
    seen = Seen(ready={Colour.BLUE: one.digest, Colour.GREEN: two.digest})
    cohorts = (Cohort("beta", "b", "candidate", header="x"),)
    step = decide(shifting, seen, planned(rules), Resume(), cohorts)
    assert step.effects and not step.refused


@pytest.mark.parametrize("strategy", Strategy)
def test_a_key_of_another_strategy_is_told(strategy: Strategy) -> None:
    rules = Rules(strategy=strategy, mirror=30, steps=(10, 50), step=30, bake=60, control=10)
    assert not list(faults(rules, USES[strategy] | {"bake", "control", "strategy"}))
    for other in {"mirror", "steps", "step", "increment"} - USES[strategy]:
        assert [fault.key for fault in faults(rules, frozenset({other}))] == [other]
