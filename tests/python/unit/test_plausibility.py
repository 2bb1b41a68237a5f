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
        ({"false_alarm": 0.0}, "false_alarm is 0.0"),
        ({"false_alarm": nan}, "false_alarm is nan"),
        ({"false_alarm": 1.5}, "false_alarm is 1.5"),
        ({"metrics": (ERRORS, ERRORS)}, "several metrics are called 'errors'"),
        ({"conditions": (ConditionPlan("c", "q", success="result < 1"),) * 2}, "several conditions are called 'c'"),
        ({"metrics": (msgspec.structs.replace(ERRORS, margin=1.0),)}, "margin of errors is 1.0"),
        ({"metrics": (msgspec.structs.replace(ERRORS, margin=nan),)}, "margin of errors is nan"),
        ({"metrics": (msgspec.structs.replace(ERRORS, effect=0.5),)}, "effect of errors is 0.5"),
        ({"metrics": (msgspec.structs.replace(ERRORS, tolerate=-0.1),)}, "tolerates a rate of -0.1"),
    ],
)
def test_a_plan_by_which_nothing_can_be_judged(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Judge(msgspec.structs.replace(PLAN, **change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seconds": nan}, "lasted nan s"),
        ({"seconds": -2.0}, "lasted -2.0 s"),
        ({"at": inf}, "look at inf"),
        ({"counts": {"erors": (1, 0, 1, 0)}}, "'erors', which the plan does not know: it names errors"),
        ({"conditions": {"drift": Measurement(("1",))}}, "'drift', which the plan does not know: it names none"),
        ({"counts": {"errors": (100, 1, 500, 700)}}, "events are at least 0 and at most the requests"),
        ({"counts": {"errors": (100, -1, 100, 1)}}, "events are at least 0"),
        ({"counts": {"errors": (100, nan, 100, 1)}}, "events are at least 0"),
        ({"counts": {"errors": (inf, 1, 100, 1)}}, "events are at least 0"),
        ({"counts": {"errors": (10**20, 1, 10**20, 1)}}, "at most the requests"),
        ({"compared": (3, nan)}, "compared 3 answers, of which nan"),
        ({"compared": (3, 4.0)}, "compared 3 answers, of which 4.0"),
    ],
)
def test_a_look_that_cannot_have_been_is_refused_whole(change: dict[str, object], said: str) -> None:
    judge = Judge(PLAN)
    judge.add(LOOK)
    before = judge.judgement()
    with pytest.raises(ValueError, match=said):
        judge.add(msgspec.structs.replace(LOOK, **change))
    assert judge.judgement() == before
