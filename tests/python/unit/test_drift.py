"""How far two distributions are apart, and when several looks call for a retraining."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipeline.core.drift import Look, Outcome, apart, drifted, due, stability_index

DRIFTED, STEADY, UNKNOWN = Outcome.DRIFTED, Outcome.STEADY, Outcome.UNKNOWN
DAY = 24 * 3600.0


def nights(*outcomes: Outcome) -> list[Look]:
    return [Look(DAY * place, {"data": outcome}) for place, outcome in enumerate(outcomes)]


counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=12).filter(any)


@settings(deadline=None, max_examples=60)
@given(counts)
def test_the_same_shares_have_no_distance_whatever_the_size(before: list[int]) -> None:
    assert stability_index(before, before) == 0
    assert stability_index([value * 1000 for value in before], [value * 2000 for value in before]) < 0.01


@settings(deadline=None, max_examples=60)
@given(counts, counts)
def test_the_distance_is_never_negative_and_the_same_both_ways(one: list[int], other: list[int]) -> None:
    size = min(len(one), len(other))
    one, other = [*one[:size], 1], [*other[:size], 1]
    assert stability_index(one, other) == pytest.approx(stability_index(other, one))
    assert stability_index(one, other) >= 0


def test_the_index_is_the_textbooks_where_no_bin_is_empty() -> None:
    # 60/40 against 40/60: (0.4 - 0.6) ln(0.4/0.6) + (0.6 - 0.4) ln(0.6/0.4)
    assert stability_index([60_000, 40_000], [40_000, 60_000]) == pytest.approx(0.162186, abs=1e-4)


@pytest.mark.parametrize(("bins", "before", "now"), [(2, 500, 500), (11, 500, 3500), (60, 500, 500), (60, 2000, 2000)])
def test_chance_alone_is_hardly_ever_drift(bins: int, before: int, now: int) -> None:
    chance = random.Random(7)
    shares = [1 / (place + 1) for place in range(bins)]

    def drawn(size: int) -> list[int]:
        counts = [0] * bins
        for place in chance.choices(range(bins), shares, k=size):
            counts[place] += 1
        return counts

    alarms = sum(drifted(drawn(before), drawn(now), limit=0.0) for _ in range(300))
    # One in a thousand is meant; at three in a thousand, more than 5 of 300 has a probability below 0.001.
    assert alarms <= 5


def test_a_large_shift_is_seen_in_many_bins_too() -> None:
    before = [20] * 30 + [1] * 30
    assert drifted(before, before[::-1], limit=0.25)
    assert not drifted([600, 400], [590, 410], limit=0.25)


def test_an_empty_side_and_other_bins_are_no_distance() -> None:
    with pytest.raises(ValueError, match="empty"):
        stability_index([0, 0], [1, 2])
    with pytest.raises(ValueError, match="bins"):
        stability_index([1, 2, 3], [1, 2])


@pytest.mark.parametrize(
    ("outcomes", "found"),
    [
        ([DRIFTED], {}),
        ([DRIFTED, DRIFTED], {"data": (2, 2)}),
        ([DRIFTED, STEADY, DRIFTED], {"data": (2, 3)}),
        ([DRIFTED, STEADY, STEADY, DRIFTED], {}),
        ([DRIFTED, DRIFTED, STEADY], {}),
        ([DRIFTED, DRIFTED, UNKNOWN], {}),
        ([DRIFTED, UNKNOWN, DRIFTED], {"data": (2, 2)}),
        ([STEADY, STEADY, STEADY], {}),
        ([], {}),
    ],
)
def test_enough_of_the_last_looks_and_the_newest_of_them(outcomes: list[Outcome], found: dict[str, tuple[int, int]]) -> None:
    assert due(nights(*outcomes), at_least=2, of=3) == found


def test_kinds_do_not_add_up_with_one_another() -> None:
    looks = [Look(0, {"data": DRIFTED, "live": STEADY}), Look(DAY, {"data": STEADY, "live": DRIFTED})]
    assert due(looks, at_least=2, of=3) == {}


def test_a_build_that_is_run_again_is_no_second_night() -> None:
    twice = [Look(0, {"data": DRIFTED}), Look(600, {"data": DRIFTED})]
    assert apart(twice, 12 * 3600) == twice[1:]
    assert due(apart(twice, 12 * 3600), at_least=2, of=3) == {}
    assert apart(nights(DRIFTED, STEADY, DRIFTED), 12 * 3600) == nights(DRIFTED, STEADY, DRIFTED)
