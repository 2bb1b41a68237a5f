"""What cannot be is refused before anything is taken in."""

from __future__ import annotations

from math import inf, nan

import msgspec
import pytest

from mlpipeline.core.conditions import ConditionPlan, Measurement
from mlpipeline.core.judge import RULES, Judge, Look, MetricPlan, Plan

ERRORS = MetricPlan("errors", "bad", "simulation", 0.001, 2.0)
PLAN = Plan("s", "r", "green", "blue", 0.01, 2.0, 50, (ERRORS,), rules=RULES)
LOOK = Look(100.0, "bake", "live", 2.0, {"errors": (100, 1, 100, 1)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"false_alarm": 0.0}, "false_alarm 0 is not"),
        ({"false_alarm": nan}, "false_alarm nan is not"),
        ({"false_alarm": 1.5}, "false_alarm 1.5 is not"),
        ({"metrics": (ERRORS, ERRORS)}, "two metrics named 'errors'"),
        ({"conditions": (ConditionPlan("c", "q", success="result < 1"),) * 2}, "two conditions named 'c'"),
        ({"metrics": (msgspec.structs.replace(ERRORS, margin=1.0),)}, "a margin of 1 is no harm"),
        ({"metrics": (msgspec.structs.replace(ERRORS, margin=nan),)}, "a margin of nan is no harm"),
        ({"metrics": (msgspec.structs.replace(ERRORS, effect=0.5),)}, "an effect of 0.5 is below 1"),
        ({"metrics": (msgspec.structs.replace(ERRORS, tolerate=-0.1),)}, "tolerate -0.1 is not"),
    ],
)
def test_a_plan_by_which_nothing_can_be_judged(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Judge(msgspec.structs.replace(PLAN, **change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seconds": nan}, "nan seconds"),
        ({"seconds": -2.0}, "-2 seconds"),
        ({"at": inf}, "up to inf"),
        ({"counts": {"erors": (1, 0, 1, 0)}}, "no metric named 'erors', only errors"),
        ({"conditions": {"drift": Measurement(("1",))}}, "no condition named 'drift', none at all"),
        ({"counts": {"errors": (100, 1, 500, 700)}}, "700 events of 500 requests in 'errors'"),
        ({"counts": {"errors": (100, -1, 100, 1)}}, "-1 events of 100"),
        ({"counts": {"errors": (100, nan, 100, 1)}}, "nan events of 100"),
        ({"counts": {"errors": (inf, 1, 100, 1)}}, "1 events of inf"),
        ({"counts": {"errors": (10**20, 1, 10**20, 1)}}, "1 events of 100000000000000000000"),
        ({"compared": (3, nan)}, "nan of 3 compared"),
        ({"compared": (3, 4.0)}, "4 of 3 compared"),
    ],
)
def test_a_look_that_cannot_have_been_is_refused_whole(change: dict[str, object], said: str) -> None:
    judge = Judge(PLAN)
    judge.add(LOOK)
    before = judge.judgement()
    with pytest.raises(ValueError, match=said):
        judge.add(msgspec.structs.replace(LOOK, **change))
    assert judge.judgement() == before
