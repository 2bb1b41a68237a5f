"""Futility: stopping early is inconclusive, is said with the numbers, and never makes a failure likelier."""

from __future__ import annotations

import pytest

from mlpipeline.core.conditions import UNTIL_THE_END, ConditionPlan, ConditionState, Measurement
from mlpipeline.core.futility import hopeless_condition, hopeless_requests, ripe
from mlpipeline.core.judge import Judge, Look, MetricPlan, Plan, StageEnd
from mlpipeline.core.verdict import Verdict

PLAN = Plan("s", "r", "green", "blue", 0.01, 2.0, 50, (MetricPlan("errors", "failed", "router", 0.001, 2.0),), rules=2)


@pytest.mark.parametrize(("measured", "seconds", "found"), [(59, 60, False), (60, 60, True), (100, 600, False), (150, 600, True)])
def test_nothing_is_foreseen_too_early(measured: float, seconds: float, found: bool) -> None:
    assert ripe(measured, seconds) is found


@pytest.mark.parametrize(
    ("have", "seen", "left", "who"),
    [
        ((10, 900), (10, 900), [(60.0, 1.0, 1.0)], "candidate"),
        ((10, 900), (10, 900), [(80.0, 1.0, 1.0)], ""),
        ((10, 900), (10, 900), [(10.0, 1.0, 1.0), (60.0, 5.0, 1.0)], ""),
        ((900, 10), (900, 10), [(10.0, 1.0, 1.0), (60.0, 1.0, 0.5)], "champion"),
        ((50, 50), (0, 0), [(0.0, 1.0, 1.0)], ""),
        ((0, 500), (0, 500), [(600.0, 1.0, 1.0)], "candidate"),
        ((0, 500), (0, 500), [(3000.0, 1.0, 1.0)], ""),
    ],
)
def test_requests_that_cannot_come(
    have: tuple[int, int], seen: tuple[int, int], left: list[tuple[float, float, float]], who: str
) -> None:
    found = hopeless_requests(have, seen, 60.0, left, 50)
    assert found.startswith(f"the {who} has answered" if who else "") and bool(found) is bool(who)


def condition(*measured: str, **fields: object) -> ConditionState:
    state = ConditionState(ConditionPlan("drift", "q", "result < 1", **fields))  # type: ignore[arg-type]
    state.start(0.0)
    for number, value in enumerate(measured):
        state.add(float(number), Measurement((value,) if value else ()))
    return state


@pytest.mark.parametrize(
    ("state", "left", "words"),
    [
        (condition("0", "", count=5), 1000.0, "more are inconclusive than the 0"),
        (condition("0", "", count=5, inconclusive_limit=1), 1000.0, ""),
        (condition("0", count=5, interval=10.0), 29.0, "4 more do not fit into the 29 s"),
        (condition("0", count=5, interval=10.0), 30.0, ""),
        (condition("0", count=5, interval=0.5), 5.0, "4 more do not fit into the 5 s"),
        (condition("0", count=5, interval=0.5), 6.0, ""),
        (condition("", count=5, dry_run=True), 0.0, ""),
        (condition("0", "0", count=2), 0.0, ""),
        (condition("2", count=9), 0.0, ""),
        (condition(count=UNTIL_THE_END, interval=10.0), 0.0, ""),
        (condition("0", "", count=UNTIL_THE_END), 1000.0, "more are inconclusive than the 0"),
    ],
)
def test_conditions_that_can_no_longer_pass(state: ConditionState, left: float, words: str) -> None:
    found = hopeless_condition([state], left, 2.0)
    assert words in found and bool(found) is bool(words)


def test_a_stage_that_ended_early_is_inconclusive_and_says_why() -> None:
    judge = Judge(PLAN)
    for number in range(40):
        judge.add(Look(2.0 * number, "bake", "live", 2.0, {"errors": (1, 0, 100, 0)}))
    judge.end(StageEnd("bake", judge.looks, watched=False, futile="too few"))
    judged = judge.judgement()
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "could not come in time: too few" in judged.problems[0]
