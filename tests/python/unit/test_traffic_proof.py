"""The proof that traffic moved: standing still, no users, and hanging are three things."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fakes import FakeClock
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.hosting.proof import stands_still
from mlpipeline.ports import Moved, RouterCounts

BLUE, GREEN = Colour.BLUE, Colour.GREEN
BEFORE = {BLUE: RouterCounts(100, 0, 0), GREEN: RouterCounts(0, 0, 0)}
WITHIN = 10.0


def proof(green: Callable[[float], RouterCounts]) -> Moved:
    """All users move to green, whose counters are a function of the seconds since."""
    clock = FakeClock()
    return stands_still(
        lambda: {BLUE: BEFORE[BLUE], GREEN: green(clock.passed)},
        BEFORE,
        TrafficPlan.all_to(GREEN),
        written=0.0,
        applied=0.0,
        within=WITHIN,
        clock=clock,
    )


def test_a_colour_that_answers_is_proven() -> None:
    moved = proof(lambda _passed: RouterCounts(5, 0, 2))
    assert (moved.new_completed, moved.new_in_flight, moved.old_in_flight) == (5, 0, 0)


def test_no_users_is_not_hanging() -> None:
    moved = proof(lambda _passed: RouterCounts(0, 0, 0))
    assert (moved.new_completed, moved.new_in_flight) == (0, 0)


def test_a_colour_that_takes_requests_and_answers_none_hangs() -> None:
    moved = proof(lambda _passed: RouterCounts(0, 0, 4))
    assert (moved.new_completed, moved.new_in_flight) == (0, 4)


@pytest.mark.parametrize("came", [0.1, WITHIN - 0.1])
def test_a_late_request_is_no_sign_of_hanging(came: float) -> None:
    """It came after the quiet half second, or just before the end of the wait for it."""
    moved = proof(lambda passed: RouterCounts(0, 0, 1 if came <= passed < came + 0.2 or passed > WITHIN - 0.05 else 0))
    assert moved.new_in_flight == 0
