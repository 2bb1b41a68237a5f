"""Drift of columns: the statistics beside scipy, the false-alarm budget by Monte Carlo, and effects that rows do not inflate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mlpipeline.core.drift import Shift, chi_square_tail, drifting, holm, ks_tail, shifts
from mlpipeline.core.sketch import Sketch, grid, of_categories, of_numbers


def _numbers(before: Any, now: Any) -> Shift:
    edges = grid(before)
    return shifts({"x": of_numbers(before, edges)}, {"x": of_numbers(now, edges)})[0]


def _categories(before: dict[str, int], now: dict[str, int]) -> Shift:
    return shifts({"c": of_categories(before)}, {"c": of_categories(now)})[0]


@pytest.mark.parametrize(("x", "freedom"), [(0.01, 1), (3.84, 1), (30.0, 12), (200.0, 12), (95.0, 100), (1500.0, 1023)])
def test_the_tail_of_chi_square_is_that_of_scipy(x: float, freedom: int) -> None:
    assert chi_square_tail(x, freedom) == pytest.approx(stats.chi2.sf(x, freedom), rel=1e-9)


@pytest.mark.parametrize("distance", [0.01, 0.05, 0.1, 0.3])
def test_the_tail_of_kolmogorov_is_that_of_scipy(distance: float) -> None:
    n, m = 400, 300
    assert ks_tail(distance, n, m) == pytest.approx(stats.kstwobign.sf(distance * math.sqrt(n * m / (n + m))), abs=1e-9)


def test_distances_of_numbers_are_those_of_scipy_and_of_the_textbook() -> None:
    random = np.random.default_rng(1)
    before, now = random.normal(0, 1, 1500), random.normal(0.3, 1.2, 1700)
    found = _numbers(before, now)
    assert found.distances["ks"] == pytest.approx(stats.ks_2samp(before, now).statistic, abs=1 / 1500)
    quarters = np.quantile(before, [0.25, 0.75])
    expected = stats.wasserstein_distance(before, now) / (quarters[1] - quarters[0])
    assert found.distances["wasserstein"] == pytest.approx(expected, rel=0.02)
    assert 0.05 < found.distances["psi"] < 0.3
    assert 0 < found.distances["js"] < 0.1


def test_chi_square_of_categories_is_that_of_scipy() -> None:
    before, now = {"a": 50, "b": 30, "c": 20}, {"a": 40, "b": 40, "c": 20}
    expected = stats.chi2_contingency([[50, 30, 20], [40, 40, 20]], correction=False)
    found = _categories(before, now)
    assert found.distances["chi_square"] == pytest.approx(expected.statistic)
    assert found.effect == pytest.approx(0.1)


def test_new_and_vanished_categories_are_named() -> None:
    found = _categories({"a": 900, "b": 100}, {"a": 900, "z": 100})
    assert (found.new, found.vanished) == (("z",), ("b",))
    assert found.distances["new_share"] == pytest.approx(0.1)
    assert drifting([found], false_alarms=0.01, effect=0.05)


def test_more_missing_values_are_drift_of_their_own() -> None:
    values = np.random.default_rng(2).normal(size=2000)
    fewer = values.copy()
    fewer[:400] = np.nan
    found = _numbers(values, fewer)
    assert found.effect == pytest.approx(0.2)
    assert drifting([found], false_alarms=0.01, effect=0.1)


def test_the_effect_does_not_grow_with_rows_but_the_evidence_does() -> None:
    random = np.random.default_rng(3)
    few = _numbers(random.normal(0, 1, 2_000), random.normal(0.02, 1, 2_000))
    many = _numbers(random.normal(0, 1, 400_000), random.normal(0.02, 1, 400_000))
    assert few.p > 0.01 > many.p
    assert many.effect < 0.02
    assert not drifting([many], false_alarms=0.01, effect=0.1), "a shift too small to matter, however many rows show it"


def test_one_side_without_values_or_rows_is_judged_by_what_is_missing() -> None:
    everything = of_numbers(np.arange(50.0), tuple(np.arange(50.0)))
    nothing = of_numbers(np.full(50, np.nan), everything.edges)
    empty = of_numbers(np.array([]), everything.edges)
    gone = shifts({"x": everything}, {"x": nothing})[0]
    assert (gone.effect, gone.adjusted < 1e-6) == (1.0, True)
    assert shifts({"x": everything}, {"x": empty})[0].p == 1.0


def test_infinite_values_and_constants_are_compared() -> None:
    before, now = np.array([1.0, 2.0, np.inf, -np.inf] * 50), np.array([1.0, 2.0, 3.0, -np.inf] * 50)
    assert _numbers(before, now).distances["ks"] <= 0.25
    constant = _numbers(np.ones(300), np.full(300, 2.0))
    assert constant.effect == 1.0
    assert _numbers(np.ones(300), np.ones(300)).effect == 0.0


def test_holm_is_that_of_statsmodels_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def _undrifted(random: Any, rows: int) -> tuple[dict[str, Sketch], dict[str, Sketch]]:
    """Two windows of one distribution: continuous, rounded, skewed and categorical columns, some with missing values."""
    sides: list[dict[str, Any]] = [
        {
            "normal": random.normal(size=rows),
            "rounded": np.round(random.normal(size=rows), 1),
            "skewed": np.where(random.random(rows) < 0.1, np.nan, random.exponential(size=rows)),
            "few": dict(zip(*np.unique(random.choice(list("abc"), rows, p=[0.7, 0.2, 0.1]), return_counts=True), strict=True)),
            "many": dict(zip(*np.unique(random.zipf(1.5, rows) % 300, return_counts=True), strict=True)),
        }
        for _ in range(2)
    ]
    edges = {name: grid(values) for name, values in sides[0].items() if not isinstance(values, dict)}
    before, now = (
        {
            name: of_categories({str(value): int(times) for value, times in values.items()})
            if isinstance(values, dict)
            else of_numbers(values, edges[name])
            for name, values in side.items()
        }
        for side in sides
    )
    return before, now


@pytest.mark.parametrize("rows", [60, 400])
def test_false_alarms_over_all_columns_stay_within_the_budget(rows: int) -> None:
    """With a budget of 10 % at most so many of 200 seeded windows may alarm that an exact binomial bound (99.9 %) allows it."""
    random = np.random.default_rng(rows)
    alarms = sum(bool(drifting(shifts(*_undrifted(random, rows)), false_alarms=0.1, effect=0.0)) for _ in range(200))
    assert alarms <= stats.binom.ppf(0.999, 200, 0.1)


def test_a_real_shift_is_found_in_most_windows() -> None:
    random = np.random.default_rng(9)
    found = 0
    for _ in range(50):
        before, now = _undrifted(random, 400)
        moved = of_numbers(random.normal(0.5, 1, 400), before["normal"].edges)
        found += "normal" in {
            one.column for one in drifting(shifts(before, {**now, "normal": moved}), false_alarms=0.05, effect=0.1)
        }
    assert found >= 45
