"""Summaries of columns: merged in any order they are that of all rows, and they survive being written down."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipeline.core import sketch
from mlpipeline.core.sketch import CategoryTally, decode, encode, grid, merged, of_categories, of_numbers

_values = st.lists(st.one_of(st.floats(allow_nan=True, allow_infinity=True, width=32), st.sampled_from([0.0, 1.0])), max_size=40)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(_values, min_size=1, max_size=5))
def test_merged_pieces_are_the_whole_in_any_order(pieces: list[list[float]]) -> None:
    everything = np.array(list(itertools.chain(*pieces)), dtype=np.float64)
    edges = grid(everything)
    whole = of_numbers(everything, edges)
    for order in (pieces, pieces[::-1]):
        parts = [of_numbers(np.array(piece, dtype=np.float64), edges) for piece in order]
        assert functools.reduce(merged, parts) == whole
    assert sum(whole.counts) + whole.missing == whole.rows == everything.size


def test_few_different_values_have_a_bin_each_and_many_have_quantiles() -> None:
    assert grid(np.array([3.0, 1.0, 1.0, np.nan, np.inf])) == (1.0, 3.0)
    edges = grid(np.random.default_rng(0).normal(size=50_000))
    assert 1500 < len(edges) <= sketch.EDGES
    assert list(edges) == sorted(set(edges))


def test_too_many_categories_are_counted_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "MOST_VALUES", 3)
    tally = CategoryTally()
    tally.add({"a": 2, "b": 1}, missing=4)
    tally.add({"c": 1, "d": 1, "a": 1})
    found = tally.sketch()
    assert (found.whole, found.values, sum(found.groups), found.missing) == (False, {}, 6, 4)
    assert merged(of_categories({"a": 1}), of_categories({"b": 1})).values == {"a": 1, "b": 1}


def test_summaries_are_written_and_read_and_damage_is_told(tmp_path: Path) -> None:
    known = {"x": of_numbers(np.arange(10.0), (1.0, 5.0)), "c": of_categories({"é": 2}, 1)}
    assert decode(encode(known)) == known
    assert encode(known) == encode(known), "the same bytes each time, so that digests can be compared"
    for damaged in (b"", b"{}", encode(known)[:-9]):
        with pytest.raises(ValueError, match="no summaries"):
            decode(damaged)


def test_summaries_over_different_grids_are_not_merged() -> None:
    with pytest.raises(ValueError, match="different grids"):
        merged(of_numbers(np.arange(3.0), (1.0,)), of_numbers(np.arange(3.0), (2.0,)))
