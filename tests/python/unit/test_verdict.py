"""Outcomes: the worst wins, and silence never passes."""

from __future__ import annotations

from itertools import permutations

import pytest

from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict, worst


def test_silence_never_passes() -> None:
    assert worst([]) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([Verdict.PASS, Verdict.PASS], Verdict.PASS),
        ([Verdict.PASS, Verdict.INCONCLUSIVE], Verdict.INCONCLUSIVE),
        ([Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR], Verdict.ERROR),
        ([Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.FAIL], Verdict.FAIL),
    ],
)
def test_the_worst_wins_in_any_order(verdicts: list[Verdict], expected: Verdict) -> None:
    assert {worst(order) for order in permutations(verdicts)} == {expected}


@pytest.mark.parametrize("share", [0, 1, 50, 99, 100])
def test_every_user_request_has_exactly_one_colour(share: int) -> None:
    plan = TrafficPlan(live=Colour.GREEN, share=share)
    assert plan.percent(Colour.BLUE) + plan.percent(Colour.GREEN) == 100
    assert plan.percent(Colour.BLUE) == share


@pytest.mark.parametrize("fields", [{"share": -1}, {"share": 101}, {"share": 10, "mirror": True}])
def test_impossible_plans_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="share"):
        TrafficPlan(live=Colour.BLUE, **fields)


def test_colours_are_each_others_other() -> None:
    assert [colour.other.other for colour in Colour] == list(Colour)
    assert Colour.BLUE.other is Colour.GREEN
