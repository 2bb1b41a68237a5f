"""E-processes: their formulas against scipy, and their statistical promises by seeded simulation."""

from __future__ import annotations

import itertools
from math import exp, inf, log

import numpy as np
import pytest
from scipy import stats

from mlpipeline.core.sequential import (
    EXCLUSION_CAUTION,
    Calibration,
    HarmBank,
    HarmTest,
    LevelBank,
    LevelTest,
    RatioInterval,
    RestartedBank,
    RestartedHarmTest,
    Tick,
    binomial_log_likelihood,
    calibrate,
    closed_culprits,
    effective_events,
    log_mean_exp,
    log_weighted_sum,
    share,
)

PLAIN = Calibration(overdispersion=0.0, dependence=1.0)


def ticks(seed: int, number: int, candidate: float, champion: float, *, requests: tuple[int, int] = (100, 100)) -> list[Tick]:
    rng = np.random.default_rng(seed)
    hits = rng.binomial(requests[0], candidate, number)
    others = rng.binomial(requests[1], champion, number)
    return [Tick(requests[0], int(hit), requests[1], int(other)) for hit, other in zip(hits, others, strict=True)]


def test_the_likelihood_ratio_is_the_binomials() -> None:
    ours = binomial_log_likelihood(10, 7, 0.6, 0.0) - binomial_log_likelihood(10, 7, 0.5, 0.0)
    assert ours == pytest.approx(stats.binom.logpmf(7, 10, 0.6) - stats.binom.logpmf(7, 10, 0.5))


def test_tempering_divides_by_the_variance_of_the_beta_binomial_over_the_binomials() -> None:
    rho, events, p = 0.2, 10, 0.3
    mass = (1 - rho) / rho
    inflation = stats.betabinom.var(events, p * mass, (1 - p) * mass) / stats.binom.var(events, p)
    assert binomial_log_likelihood(events, 4, p, 0.0) / binomial_log_likelihood(events, 4, p, rho) == pytest.approx(inflation)


def test_the_expected_share_follows_the_split() -> None:
    assert share(1.0, Tick(10, 0, 90, 0)) == pytest.approx(0.1)
    assert share(2.0, Tick(50, 0, 50, 0)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("requests", [(100, 100), (10, 90)])
@pytest.mark.parametrize("rate", [0.005, 0.3])
def test_a_healthy_candidate_seldom_alarms_at_any_look(requests: tuple[int, int], rate: float) -> None:
    """200 releases of 60 looks; at 5 % error Ville allows 10, and more than 21 has a probability below 0.1 %."""
    alarms = 0
    rng = np.random.default_rng(5)
    for _ in range(200):
        test = HarmTest(1.0, PLAIN)
        hits, others = rng.binomial(requests[0], rate, 60), rng.binomial(requests[1], rate, 60)
        for hit, other in zip(hits, others, strict=True):
            test.add(Tick(requests[0], int(hit), requests[1], int(other)))
            if test.log_e >= log(20):
                alarms += 1
                break
    assert alarms <= 21


def test_the_expectation_under_the_null_is_at_most_one() -> None:
    """Exactly, by summing over all outcomes of one tick; the ratio at the edge of the null."""
    for requests in ((10, 10), (3, 27)):
        for events in (1, 2, 5, 20):
            probability = share(1.1, Tick(requests[0], 0, requests[1], 0))
            expectation = 0.0
            for hits in range(events + 1):
                test = HarmTest(1.1, PLAIN)
                test.add(Tick(requests[0], hits, requests[1], events - hits))
                expectation += stats.binom.pmf(hits, events, probability) * exp(test.log_e)
            assert 0.75 < expectation <= 1 + 1e-12


def test_the_expectation_over_several_ticks_and_stages_is_at_most_one() -> None:
    """Exactly, over all outcomes of four ticks in two stages."""
    expectation = 0.0
    for outcome in itertools.product(range(4), repeat=4):
        test, probability = RestartedHarmTest(1.0, PLAIN), 1.0
        for number, hits in enumerate(outcome):
            if number == 2:
                test.next_stage()
            test.add(Tick(10, hits, 10, 3 - hits))
            probability *= float(stats.binom.pmf(hits, 3, 0.5))
        expectation += probability * exp(test.log_e)
    assert 0.8 < expectation <= 1 + 1e-12


def test_ticks_with_more_events_weigh_more_but_not_in_proportion() -> None:
    assert [effective_events(events) for events in (1, 2, 8)] == pytest.approx([1.0, 2 / 1.3, 8 / 3.1])


def test_harm_is_found_and_sooner_when_it_is_greater() -> None:
    def looks(rate: float) -> int:
        test = HarmTest(1.1, Calibration())
        for number, tick in enumerate(ticks(1, 400, rate, 0.01), start=1):
            test.add(tick)
            if test.log_e >= log(100):
                return number
        raise AssertionError("never found")

    found = [looks(rate) for rate in (0.03, 0.1, 1.0)]
    assert found == sorted(found, reverse=True)
    assert found[-1] <= 5


def test_no_single_tick_decides() -> None:
    test = HarmTest(1.1, Calibration())
    test.add(Tick(1000, 1000, 1000, 0))
    assert exp(test.log_e) <= 4


@pytest.mark.parametrize("tick", [Tick(0, 0, 100, 5), Tick(100, 5, 0, 0), Tick(100, 0, 100, 0), Tick(0, 0, 0, 0)])
def test_ticks_that_say_nothing_about_a_ratio_change_nothing(tick: Tick) -> None:
    for test in (HarmTest(1.1, Calibration()), RestartedHarmTest(1.1, Calibration())):
        for _ in range(50):
            test.add(tick)
        assert test.log_e == pytest.approx(0.0, abs=1e-12)


def test_a_late_break_is_found_much_sooner_with_the_restart() -> None:
    whole, restarted = HarmTest(1.1, Calibration()), RestartedHarmTest(1.1, Calibration())
    for tick in ticks(2, 300, 0.01, 0.01):
        whole.add(tick)
        restarted.add(tick)
    restarted.next_stage()

    def looks(test: HarmTest | RestartedHarmTest) -> int:
        for number in range(1, 200):
            test.add(Tick(100, 30, 100, 1))
            if test.log_e >= log(100):
                return number
        return 200

    assert looks(restarted) <= 8 < looks(whole)


def test_a_new_restarted_test_stands_at_one_whatever_the_number_of_stages() -> None:
    test = RestartedHarmTest(1.1, Calibration())
    for _ in range(5):
        assert test.log_e == pytest.approx(0.0)
        test.next_stage()


def test_non_inferiority_is_the_swapped_test() -> None:
    healthy, harmful = HarmTest(1 / 2.0, PLAIN), HarmTest(1 / 2.0, PLAIN)
    for good, bad in zip(ticks(3, 400, 0.02, 0.02), ticks(3, 400, 0.04, 0.02), strict=True):
        healthy.add(good.swapped)
        harmful.add(bad.swapped)
    assert healthy.log_e > log(20) > harmful.log_e


def test_a_negligible_rate_is_proven_by_enough_requests_only() -> None:
    test = LevelTest(0.01)
    test.add(100, 0)
    assert test.log_e < log(20)
    test.add(1000, 0)
    assert test.log_e > log(20)
    test.add(1000, 50)
    assert test.log_e < 0


def test_the_interval_covers_at_all_looks_together() -> None:
    """60 releases of 60 looks, all looks checked; 95 % promised, fewer than 51 has a probability below 0.1 %."""
    covered = 0
    for seed in range(60):
        interval = RatioInterval(0.95, PLAIN)
        inside = True
        for tick in ticks(seed, 60, 0.06, 0.03, requests=(30, 30)):
            interval.add(tick)
            inside = inside and interval.interval.low <= 2.0 <= interval.interval.high
        covered += inside
    assert covered >= 51


def test_the_interval_narrows_and_starts_open() -> None:
    interval = RatioInterval(0.95, PLAIN)
    assert (interval.interval.low, interval.interval.high) == (0.0, inf)
    for tick in ticks(4, 400, 0.02, 0.02):
        interval.add(tick)
    assert 0.6 < interval.interval.low < 1 < interval.interval.high < 1.6


def test_calibration_sees_roughness_and_leaves_smoothness_alone() -> None:
    rng = np.random.default_rng(6)
    smooth = [(500, int(rng.binomial(500, 0.02))) for _ in range(100)]
    rough = [(500, int(rng.binomial(500, min(1, 0.02 * exp(rng.normal(0, 0.8)))))) for _ in range(100)]
    assert calibrate(smooth).overdispersion < 0.1 < calibrate(rough).overdispersion


@pytest.mark.parametrize("history", [[], [(0, 0)] * 100, [(100, 0)] * 100, [(100, 1)] * 10])
def test_too_little_history_leaves_the_defaults(history: list[tuple[int, int]]) -> None:
    assert calibrate(history) == Calibration()


def test_calibration_sees_ticks_that_resemble_each_other() -> None:
    rng = np.random.default_rng(9)
    level, wandering = 0.0, []
    for noise in rng.normal(size=300):
        level = 0.95 * level + 0.3 * float(noise)
        wandering.append((2000, int(rng.binomial(2000, min(1, 0.02 * exp(level))))))
    alone = [(2000, int(rng.binomial(2000, 0.02))) for _ in range(300)]
    assert calibrate(alone).dependence == 1.75 < calibrate(wandering).dependence


def test_exclusion_is_more_careful_than_a_rollback() -> None:
    bold, careful = HarmTest(0.5, PLAIN), HarmTest(0.5, PLAIN, EXCLUSION_CAUTION)
    for tick in ticks(3, 100, 0.02, 0.02):
        bold.add(tick.swapped)
        careful.add(tick.swapped)
    assert 0 < careful.log_e < bold.log_e


def test_culprits_are_named_only_when_every_set_with_them_is_rejected() -> None:
    assert closed_culprits([log(1000), 0.0], 0.01) == (0,)
    assert closed_culprits([log(150), log(0.1)], 0.01) == ()
    assert closed_culprits([log(1000), log(900), -5.0], 0.01) == (0, 1)
    assert closed_culprits([], 0.01) == ()


def test_sums_of_logarithms() -> None:
    assert log_mean_exp([log(1), log(3)]) == pytest.approx(log(2))
    assert log_mean_exp([-inf, -inf]) == -inf
    assert log_mean_exp([5000.0, 5000.0]) == pytest.approx(5000.0)
    assert log_weighted_sum([(0.25, log(4)), (0.5, log(2)), (0.0, 99.0)]) == pytest.approx(log(2))


def test_many_tests_side_by_side_are_the_single_ones() -> None:
    calibrations = [PLAIN, Calibration(), Calibration(0.3, 4.0), Calibration()]
    effects = [1.1, 1.1, 0.5, 2.0]
    bank, restarted = HarmBank(effects, calibrations, EXCLUSION_CAUTION), RestartedBank(effects, calibrations)
    single = [HarmTest(effect, each, EXCLUSION_CAUTION) for effect, each in zip(effects, calibrations, strict=True)]
    again = [RestartedHarmTest(effect, each) for effect, each in zip(effects, calibrations, strict=True)]
    silent = [Tick(0, 0, 9, 1), Tick(9, 1, 0, 0), Tick(9, 0, 9, 0)]
    columns = [ticks(seed, 40, 0.1, 0.05, requests=(40, 90)) for seed in range(3)] + [silent * 13 + silent[:1]]
    for number, row in enumerate(zip(*columns, strict=True)):
        if number in (10, 25):
            for test in (restarted, *again):
                test.next_stage()
        for tests in (single, again):
            for test, tick in zip(tests, row, strict=True):
                test.add(tick)
        bank.add(row)
        restarted.add(row)
        assert bank.log_e == pytest.approx([test.log_e for test in single], abs=1e-9)
        assert restarted.log_e == pytest.approx([test.log_e for test in again], abs=1e-9)
    assert HarmBank([], []).log_e.shape == (0,)


def test_an_interval_after_each_tick_is_the_same_however_many_are_computed_at_once() -> None:
    looked, at_once = RatioInterval(0.95, Calibration()), RatioInterval(0.95, Calibration())
    found = []
    for tick in [Tick(0, 0, 5, 1), *ticks(7, 30, 0.1, 0.05)]:
        looked.add(tick)
        at_once.add(tick)
        found.append(looked.interval)
    assert at_once.intervals() == found
    assert at_once.intervals() == []
    assert at_once.interval == found[-1]


def test_many_levels_side_by_side_are_the_single_ones() -> None:
    levels = [0.001, 0.2, 0.9]
    bank, single = LevelBank(levels), [LevelTest(level) for level in levels]
    for requests, events in (([10, 0, 7], [1, 0, 7]), ([300, 40, 2], [0, 3, 1])):
        bank.add(requests, events)
        for test, n, k in zip(single, requests, events, strict=True):
            test.add(n, k)
        assert bank.log_e == pytest.approx([test.log_e for test in single], abs=1e-9)
    assert LevelBank([]).log_e.shape == (0,)
