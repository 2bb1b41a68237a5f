"""Which series a query reads."""

from __future__ import annotations

import pytest

from mlpipeline.core.promql import LOOK_BACK, newest_scrape_query, reach, selectors


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("up", ["up"]),
        ('sum(rate(errors_total{code=~"5..", a="}"}[30s])) / sum(rate(all_total[30s] offset 5m))', None),
        ('sum by (colour, up) (x) and on (le) group_left (y) z{a="b"}', ['x', 'z{a="b"}']),
        ("histogram_quantile(0.99, sum by(le)(rate(seconds_bucket[5m:10s]))) > 1e3", ["seconds_bucket"]),
        ('{__name__="dotted", a="b"}', ['{__name__="dotted", a="b"}']),
        ("vector(1) + time() * -Inf or NaN", []),
        ("x # sum(y)\n + z", ["x", "z"]),
        ("x @ end() unless x", ["x"]),
        ("sum(rate(", []),
        ("sum(x{", ["x{"]),
    ],
)  # fmt: skip
def test_selectors(query: str, found: list[str] | None) -> None:
    wanted = ['errors_total{code=~"5..", a="}"}', "all_total"] if found is None else found
    assert [selector.text for selector in selectors(query)] == wanted


@pytest.mark.parametrize(
    ("query", "name"),
    [("a:b{x='y'}", "a:b"), ('{__name__="n"}', "n"), ('{x="y", __name__="n"}', "n"), ('{"n"}', "n"), ('{__name__=~"n.*"}', "")],
)
def test_the_metric_that_is_named(query: str, name: str) -> None:
    assert [selector.name for selector in selectors(query)] == [name]


def test_the_newest_scrape_is_asked_for_also_when_the_series_is_gone() -> None:
    (selector,) = selectors('rate(x{a="b"}[5m])')
    assert newest_scrape_query(selector) == 'max(timestamp(x{a="b"}) or max_over_time(timestamp(x{a="b"})[300s:10s]))'


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("up", 0),
        ("sum(rate(gone_total[15m]))", 900),
        ("max_over_time(rate(x[90s])[1h:30s]) offset 1d", 3690 + 86400),
        ("rate(x[1h30m]) / rate(y[300])", 5700),
        ('x{a="[5m]"} offset -5m', 0),
    ],
)
def test_how_long_a_series_that_is_gone_still_counts(query: str, seconds: float) -> None:
    assert reach(query) == LOOK_BACK + seconds


def test_a_long_range_is_not_asked_in_steps_that_miss_what_is_gone() -> None:
    (selector,) = selectors("x")
    assert newest_scrape_query(selector, 90_000) == "max(timestamp(x) or max_over_time(timestamp(x)[90000s:150s]))"
