"""Evidence that learns how much the colours wander against each other: formulas, laws, promises by seeded simulation."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from mlpipeline.core import paired
from mlpipeline.core.paired import PairedBank
from mlpipeline.core.sequential import Calibration, RestartedBank, Tick


def wandering(
    seed: int, runs: int, ticks: int, *, memory: float, deviation: float, ratio: float = 1.0, rate: float = 0.01
) -> np.ndarray:
    """Looks ``(runs, ticks, 4)`` at 500 requests a tick, each colour's rate with an AR(1) of its own."""
    rng = np.random.default_rng(seed)
    columns = []
    for factor in (ratio, 1.0):
        own = rng.normal(0, deviation, (runs, ticks))
        for tick in range(1, ticks):
            own[:, tick] = memory * own[:, tick - 1] + sqrt(1 - memory**2) * own[:, tick]
        requests = np.full((runs, ticks), 500)
        columns += [requests, rng.binomial(requests, np.minimum(1, factor * rate * np.exp(own)))]
    return np.stack(columns, axis=-1)


def found(looks: np.ndarray, error: float, effect: float = 1.0) -> np.ndarray:
    """At which tick each run reached the threshold; beyond the last where it never did."""
    bank = PairedBank([effect] * len(looks))
    first = np.full(len(looks), looks.shape[1])
    for tick in range(looks.shape[1]):
        bank.add(looks[:, tick])
        first = np.where((bank.log_e >= -log(error)) & (first == looks.shape[1]), tick, first)
    return first


@pytest.mark.parametrize("requests", [(100, 100), (10, 90), (90, 10)])
@pytest.mark.parametrize("rate", [0.005, 0.3])
def test_a_healthy_candidate_seldom_alarms_at_any_look(requests: tuple[int, int], rate: float) -> None:
    """200 releases of 60 looks; at 5 % error Ville allows 10, and more than 21 has a probability below 0.1 %."""
    rng = np.random.default_rng(5)
    looks = np.stack(
        [
            np.full((200, 60), requests[0]),
            rng.binomial(requests[0], rate, (200, 60)),
            np.full((200, 60), requests[1]),
            rng.binomial(requests[1], rate, (200, 60)),
        ],
        axis=-1,
    )
    assert (found(looks, 0.05) < 60).sum() <= 21


@pytest.mark.parametrize(("memory", "deviation"), [(0.0, 0.4), (0.6, 0.3), (0.9, 0.3)])
def test_colours_that_wander_by_themselves_seldom_alarm(memory: float, deviation: float) -> None:
    """At 1 % error more than 9 of 300 have a probability below 0.1 %."""
    assert (found(wandering(7, 300, 90, memory=memory, deviation=deviation), 0.01, 1.1) < 90).sum() <= 9


def test_wander_is_learned_where_a_fixed_rule_is_fooled() -> None:
    looks = wandering(11, 200, 180, memory=0.9, deviation=0.35, rate=0.05)
    smooth = RestartedBank([1.1] * 200, [Calibration(overdispersion=0.05, dependence=1.75)] * 200)
    fooled = np.zeros(200, bool)
    for tick in range(180):
        smooth.add(looks[:, tick])
        fooled |= smooth.log_e >= log(100)
    assert (found(looks, 0.01, 1.1) < 180).sum() < fooled.sum() / 3


def test_harm_is_found_and_sooner_when_it_is_greater_or_steadier() -> None:
    def median(ratio: float, deviation: float) -> float:
        return float(np.median(found(wandering(3, 60, 150, memory=0.9, deviation=deviation, ratio=ratio), 0.01, 1.1)))

    assert median(20, 0.1) <= median(5, 0.1) < median(2, 0.1) < median(2, 0.4)
    assert median(20, 0.1) <= 5


FIRST = Tick(110, 8, 100, 5)
_P = 1.1 * 110 / (1.1 * 110 + 100)
SURPLUS = (8 - 13 * _P) / (13 * _P * (1 - _P))


def roughnesses() -> list[tuple[float, float]]:
    """Weight, and variance of the surplus of the first tick, under each."""
    weighed = min(13, 0.5 + paired.RULES_5.usual * 13)
    noises = [clumping / (weighed * _P * (1 - _P)) for clumping in paired._CLUMPING]
    return [(weight, deviation**2 + noise) for deviation, _, weight in paired.RULES_5.wander for noise in noises]


def test_one_tick_is_as_the_formula_says() -> None:
    """Of a first tick: Gaussian likelihoods of the surplus, with and without a shift; nothing is cut here."""
    over = under = 0.0
    for weight, variance in roughnesses():
        null = weight * exp(-(SURPLUS**2) / variance / 2) / sqrt(variance)
        under += null
        over += null * sum(part * exp((SURPLUS * shift - shift**2 / 2) / variance) for shift, part in paired.RULES_5.shifts)
    expected = over / under
    bank = PairedBank([1.1])
    bank.add([FIRST])
    whole = paired.RULES_5.whole
    assert exp(bank.log_e[0]) == pytest.approx((whole + (1 - whole) / 2) * expected + (1 - whole) / 2)


def test_weights_are_of_one_whole() -> None:
    for weights in (paired.RULES_3, paired.RULES_4, paired.RULES_5, paired.EXCLUSION, paired.BLATANT):
        assert sum(weight for _, weight in weights.shifts) == pytest.approx(1)
    assert PairedBank([1.1]).log_e == pytest.approx([0.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 300), st.integers(0, 30)), max_size=40))
def test_a_candidate_without_an_event_never_has_evidence_against_it(ticks: list[tuple[int, int, int, int]]) -> None:
    """In whatever way the split changes."""
    bank = PairedBank([1.1])
    for candidate, champion, events, seconds in ticks:
        bank.add([Tick(candidate, 0, champion, min(champion, events))], float(seconds))
        assert bank.log_e[0] <= 1e-9


@pytest.mark.parametrize("tick", [Tick(0, 0, 100, 5), Tick(100, 5, 0, 0), Tick(100, 0, 100, 0), Tick(0, 0, 0, 0)])
def test_ticks_that_say_nothing_about_a_ratio_change_nothing(tick: Tick) -> None:
    bank = PairedBank([1.1])
    bank.add([Tick(100, 9, 100, 4)])
    before = bank.log_e
    bank.add([tick])
    assert bank.log_e == pytest.approx(before)


def test_many_tests_side_by_side_are_the_single_ones() -> None:
    looks = wandering(13, 5, 30, memory=0.6, deviation=0.3, ratio=2.0)
    looks[2, ::3] = 0
    effects, many = [1.0, 1.1, 1.1, 1.25, 1.1], PairedBank([1.0, 1.1, 1.1, 1.25, 1.1])
    single = [PairedBank([effect]) for effect in effects]
    for tick in range(30):
        many.add(looks[:, tick], 2.0)
        for place, bank in enumerate(single):
            bank.add(looks[[place], tick], 2.0)
        if tick == 15:
            for bank in (many, *single):
                bank.next_stage()
    assert many.log_e == pytest.approx([float(bank.log_e[0]) for bank in single])


def test_a_late_break_is_found_much_sooner_with_the_restart() -> None:
    calm = wandering(17, 20, 150, memory=0.0, deviation=0.05)
    broken = wandering(18, 20, 60, memory=0.0, deviation=0.05, ratio=4.0)
    taken = []
    for restart in (True, False):
        bank = PairedBank([1.1] * 20)
        for tick in range(150):
            bank.add(calm[:, tick])
        if restart:
            bank.next_stage()
        first = np.full(20, 60)
        for tick in range(60):
            bank.add(broken[:, tick])
            first = np.where((bank.log_e >= log(100)) & (first == 60), tick, first)
        taken.append(float(np.median(first)))
    assert taken[0] < taken[1] / 2


def test_a_candidate_that_fails_every_request_is_found_within_a_few_looks() -> None:
    for requests in (5, 50, 400):
        bank = PairedBank([1.1])
        looks = 0
        while bank.log_e[0] < log(100) and looks < 60:
            bank.add([Tick(requests, requests, requests, 0)], 2.0)
            looks += 1
        assert looks <= 15


def test_short_looks_find_what_long_ones_find_in_about_the_same_time() -> None:
    """Wander is measured in seconds, not in looks."""
    looks = wandering(19, 60, 300, memory=0.98, deviation=0.2, ratio=2.0, rate=0.005)
    seconds = []
    for together in (1, 5):
        bank, first = PairedBank([1.1] * 60), np.full(60, 600.0)
        for start in range(0, 300, together):
            bank.add(looks[:, start : start + together].sum(axis=1), 2.0 * together)
            first = np.where((bank.log_e >= log(100)) & (first == 600.0), 2.0 * (start + together), first)
        seconds.append(float(np.median(first)))
    assert 1 / 3 < seconds[0] / seconds[1] < 2


def test_doubt_after_one_tick_is_as_the_formula_says() -> None:
    """Under each roughness a normal tail, weighed by the likelihood with the shift integrated out. Nothing is cut or skewed."""
    likely = sum(weight for weight, _ in roughnesses())
    above = sum(weight * norm.sf(SURPLUS / sqrt(variance)) for weight, variance in roughnesses())
    bank = PairedBank([1.1])
    bank.add([FIRST])
    assert bank.doubt[0] == pytest.approx(above / likely)


def test_without_events_there_is_nothing_but_doubt() -> None:
    bank = PairedBank([1.1, 1.1])
    bank.add([Tick(100, 0, 100, 0), Tick(100, 19, 100, 0)])
    assert bank.doubt[0] == 1
    assert bank.doubt[1] < 0.05


@pytest.mark.parametrize("requests", [(500, 500), (50, 950), (950, 50)])
def test_doubt_is_small_as_seldom_as_it_says_where_colours_are_steady(requests: tuple[int, int]) -> None:
    """1,000 releases without harm: at 1 % more than 21 have a probability below 0.1 %, at 10 % more than 130."""
    rng = np.random.default_rng(17)
    counts = [np.full((1000, 60), requests[0]), rng.binomial(requests[0], 0.01, (1000, 60))]
    counts += [np.full((1000, 60), requests[1]), rng.binomial(requests[1], 0.01, (1000, 60))]
    looks = np.stack(counts, axis=-1)
    bank = PairedBank([1.0] * 1000)
    for tick in range(60):
        bank.add(looks[:, tick])
    assert (bank.doubt <= 0.01).sum() <= 21
    assert (bank.doubt <= 0.1).sum() <= 130
