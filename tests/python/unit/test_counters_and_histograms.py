"""Raw counters and buckets."""

from __future__ import annotations

from math import inf, nan

import pytest

from mlpipeline.core.counters import Counters, Labels, Point, newest_scrape
from mlpipeline.core.histogram import bound_of, nearest_bound, quantile, slower_than, spread_bounds

A: Labels = (("instance", "a"), ("job", "j"))
A_ERRORS: Labels = (("code", "5xx"), ("instance", "a"), ("job", "j"))
B: Labels = (("instance", "b"), ("job", "j"))


def points(*values: float, start: float = 0.0) -> list[Point]:
    return [Point(start + index, value) for index, value in enumerate(values)]


def test_the_first_look_only_sets_the_base_line() -> None:
    assert Counters().take({A: points(100, 120)}, 10) == {A: 20.0}
    assert Counters().take({A: points(120)}, 10) == {A: 0.0}


def test_increments_follow_from_look_to_look_whatever_overlaps() -> None:
    counters = Counters()
    counters.take({A: points(5)}, 0)
    assert counters.take({A: points(5, 7, 9)}, 2) == {A: 4.0}
    assert counters.take({A: points(5, 7, 9, 10)}, 3) == {A: 1.0}
    assert counters.take({A: points(5, 7, 9, 10)}, 3) == {A: 0.0}


def test_scrapes_later_than_the_common_time_wait_for_the_next_look() -> None:
    counters = Counters()
    counters.take({A: points(5)}, 0)
    assert counters.take({A: points(5, 7, 9)}, 1) == {A: 2.0}
    assert counters.take({A: points(5, 7, 9)}, 2) == {A: 2.0}


def test_a_restart_counts_from_zero() -> None:
    counters = Counters()
    counters.take({A: points(100)}, 0)
    assert counters.take({A: points(100, 110, 3, 5)}, 3) == {A: 15.0}


def test_a_series_that_appears_on_a_known_process_counts_in_full() -> None:
    """Envoy creates its 5xx counter with the first error; ``increase()`` would lose it."""
    counters = Counters()
    counters.take({A: points(100)}, 0)
    assert counters.take({A: points(100, 101), A_ERRORS: points(1, start=1)}, 1)[A_ERRORS] == 1.0


def test_what_an_unknown_process_did_before_does_not_count() -> None:
    counters = Counters()
    counters.take({A: points(100)}, 0)
    assert counters.take({B: points(5000, start=1)}, 1) == {B: 0.0}
    assert counters.take({B: points(5000, 5001, start=1)}, 2) == {B: 1.0}


@pytest.mark.parametrize("value", [nan, inf, -1.0])
def test_values_that_no_counter_has_are_passed_over(value: float) -> None:
    counters = Counters()
    counters.take({A: points(10)}, 0)
    assert counters.take({A: points(10, value, 12)}, 2) == {A: 2.0}


def test_a_gap_in_the_scrapes_loses_nothing() -> None:
    counters = Counters()
    counters.take({A: points(10)}, 0)
    assert counters.take({A: [Point(500, 70)]}, 500) == {A: 60.0}


def test_the_newest_scrape_needs_a_finite_value() -> None:
    assert newest_scrape({A: [Point(1, 5), Point(2, nan)]}) == 1
    assert newest_scrape({A: [Point(2, nan)]}) is None
    assert newest_scrape({}) is None


@pytest.mark.parametrize(("objective", "bound"), [(0.25, 0.25), (0.3, 0.25), (0.4, 0.5), (9.0, 2.5), (0.0001, 0.1)])
def test_the_nearest_bound_is_by_ratio(objective: float, bound: float) -> None:
    assert nearest_bound([0.1, 0.25, 0.5, 2.5, inf], objective) == bound


def test_no_finite_bound_no_objective() -> None:
    assert nearest_bound([inf], 0.25) is None
    assert nearest_bound([], 0.25) is None


def test_slow_is_what_is_above_the_bound() -> None:
    assert slower_than({0.25: 90.0, inf: 100.0}, 0.25) == (100, 10)
    assert slower_than({0.25: 0.0, inf: 0.0}, 0.25) == (0, 0)
    assert slower_than({0.25: 101.0, inf: 100.0}, 0.25) == (100, 0)
    assert slower_than({}, 0.25) == (0, 0)


def test_bounds_are_read_as_prometheus_writes_them() -> None:
    assert [bound_of(text) for text in ("+Inf", "0.25", "1e-3")] == [inf, 0.25, 0.001]


def test_quantiles_for_plots() -> None:
    buckets = {0.1: 50.0, 0.2: 100.0, inf: 100.0}
    assert quantile(buckets, 0.5) == pytest.approx(0.1)
    assert quantile(buckets, 0.75) == pytest.approx(0.15)
    assert quantile({0.1: 0.0, inf: 10.0}, 0.5) == 0.1
    assert quantile({0.1: 0.0, inf: 0.0}, 0.5) is None
    assert quantile({}, 0.5) is None


def test_bounds_spread_over_what_was_counted_leave_out_the_edges() -> None:
    counted = {0.0: 0.0, 0.1: 1.0, 0.2: 20.0, 0.3: 21.0, 0.4: 50.0, 0.5: 90.0, 0.6: 99.0, 1.0: 100.0, inf: 100.0}
    assert spread_bounds(counted, 3) == (0.2, 0.4, 0.5)
    assert spread_bounds(counted, 1) == (0.4,)
    assert spread_bounds({0.5: 3.0, inf: 3.0}, 8) == ()
    assert spread_bounds({}, 8) == ()
