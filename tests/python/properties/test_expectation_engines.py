"""The one-query engine and Great Expectations decide alike, on random dirty data and random checks."""

from __future__ import annotations

import math
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mlpipeline.core.expectation_support import answerable
from mlpipeline.core.expectations import Check, Outcome, check

pytestmark = pytest.mark.real

INTEGERS = ("i", "j")
NUMBERS = ("x", "y")
TEXTS = ("s",)
EVERY = (*INTEGERS, *NUMBERS, *TEXTS, "d", "b")

_small = st.integers(-4, 4)
_quarters = st.integers(-16, 16).map(lambda number: number / 4)
_days = st.sampled_from(
    ["2026-01-01", "2026-1-2", "2026-02-30", "01/02/2026", "12:30", "soon", "2026-01-01T10:00:00Z", "{}", "7"]
)
_moments = st.integers(-3, 3).map(lambda days: datetime(2026, 1, 1) + timedelta(days=days, microseconds=days))
_words = st.sampled_from(["", "a", "ab", "A1", "b 2", "it's", "été", "aa\nb", '"q"', "%_"])


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Up to 25 rows with missing values, NaN and infinities."""
    rows = draw(st.integers(0, 25))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        filled = values if draw(st.booleans()) else st.one_of(st.none(), values)
        return draw(st.lists(filled, min_size=rows, max_size=rows))

    dirty = st.one_of(_quarters, _quarters, st.sampled_from([float("nan"), 0.1, 1e12]))
    return {
        **{name: column(_small) for name in INTEGERS},
        "k": draw(st.lists(_small, min_size=rows, max_size=rows)),
        **{name: column(dirty) for name in NUMBERS},
        "s": column(_words),
        "d": column(_days),
        "b": column(st.booleans()),
        "t": column(_moments),
        "f": column(_quarters),
    }


def _bounds(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    low, high = sorted((draw(values), draw(values)))
    chosen = draw(st.sampled_from([("min_value",), ("max_value",), ("min_value", "max_value")]))
    strict = {f"strict_{name[:3]}": True for name in chosen if draw(st.booleans())}
    return {**{name: {"min_value": low, "max_value": high}[name] for name in chosen}, **strict}


_MOSTLY = st.sampled_from([1.0, 1.0, 0.9, 0.5, 0.25, 0.0])


@st.composite
def row_checks(draw: st.DrawFn) -> Check:
    numeric = draw(st.sampled_from(INTEGERS + NUMBERS))
    kind, arguments = draw(
        st.sampled_from(
            [
                ("values_to_not_be_null", {"column": draw(st.sampled_from(EVERY))}),
                ("values_to_be_null", {"column": draw(st.sampled_from(EVERY))}),
                ("values_to_be_unique", {"column": draw(st.sampled_from(EVERY))}),
                ("values_to_be_between", {"column": numeric, **_bounds(draw, st.one_of(_small, _quarters))}),
                ("values_to_be_in_set", {"column": "i", "value_set": draw(st.lists(_small, max_size=5))}),
                ("values_to_not_be_in_set", {"column": "x", "value_set": draw(st.lists(_quarters, min_size=1, max_size=5))}),
                ("values_to_be_in_set", {"column": "s", "value_set": draw(st.lists(_words, max_size=5))}),
                ("values_to_match_regex", {"column": "s", "regex": draw(_regexes)}),
                ("values_to_not_match_regex", {"column": "s", "regex": draw(_regexes)}),
                ("value_lengths_to_be_between", {"column": "s", **_bounds(draw, st.integers(0, 4))}),
                ("value_lengths_to_equal", {"column": "s", "value": draw(st.integers(0, 4))}),
                ("values_to_be_between", {"column": "f", **_bounds(draw, st.one_of(_small, _quarters))}),
                ("values_to_be_between", {"column": "t", **_bounds(draw, _moments.map(lambda at: at.isoformat()))}),
                ("values_to_match_regex_list", {"column": "s", **_patterns(draw), "match_on": draw(_any_or_all)}),
                ("values_to_not_match_regex_list", {"column": "s", **_patterns(draw)}),
                ("values_to_match_strftime_format", {"column": "d", "strftime_format": draw(_forms)}),
                ("values_to_be_dateutil_parseable", {"column": "d"}),
                ("values_to_be_json_parseable", {"column": "d"}),
            ]
        )
    )
    return check(f"expect_column_{kind}", {**arguments, "mostly": draw(_MOSTLY)}, source="test")


def _patterns(draw: st.DrawFn) -> dict[str, Any]:
    return {"regex_list": draw(st.lists(_regexes, min_size=1, max_size=3))}


_any_or_all = st.sampled_from(["any", "all"])
_forms = st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%H:%M", "%Y-%m-%dT%H:%M:%SZ"])
_regexes = st.sampled_from(["^a", "b$", r"\d", "^[aA].?$", "a|b", r"^\w+$", r"\s", r"\.", "", "^.{2,3}$", "(?:ab)+", "'"])


@st.composite
def column_group_checks(draw: st.DrawFn) -> Check:
    columns = draw(st.permutations(INTEGERS + NUMBERS))[:2]
    if draw(st.booleans()):
        rule = draw(st.sampled_from(["all_values_are_missing", "any_value_is_missing", "never"]))
        kind = draw(st.sampled_from(list(_GROUPS)))
        listed = draw(st.permutations(_GROUPS[kind]))[: draw(st.integers(2, 3))]
        arguments: dict[str, Any] = {"column_list": list(listed), "ignore_row_if": rule, "mostly": draw(_MOSTLY)}
        if kind == "expect_multicolumn_sum_to_equal":
            arguments["sum_total"] = draw(_small)
        return check(kind, arguments, source="test")
    kind = draw(st.sampled_from(["a_to_be_greater_than_b", "to_be_equal", "to_be_in_set"]))
    rule = draw(st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"]))
    arguments = {"column_A": columns[0], "column_B": columns[1], "ignore_row_if": rule, "mostly": draw(_MOSTLY)}
    if kind.startswith("a_"):
        arguments["or_equal"] = draw(st.booleans())
    if kind == "to_be_in_set":
        arguments |= {"column_A": "i", "column_B": "s"}
        arguments["value_pairs_set"] = draw(st.lists(st.tuples(_small, _words), min_size=1, max_size=3))
    return check(f"expect_column_pair_values_{kind}", arguments, source="test")


_GROUPS = {
    "expect_compound_columns_to_be_unique": EVERY,
    "expect_multicolumn_sum_to_equal": (*INTEGERS, "k"),
    "expect_multicolumn_values_to_be_equal": INTEGERS + NUMBERS,
    "expect_select_column_values_to_be_unique_within_record": INTEGERS + NUMBERS,
}


@st.composite
def set_checks(draw: st.DrawFn) -> Check:
    """Checks of all the values that occur."""
    column = draw(st.sampled_from(("i", "s")))
    values = draw(st.lists({"i": _small, "s": _words}[column], min_size=1, max_size=5, unique=True))
    kind = draw(st.sampled_from(["to_be_in_set", "to_equal_set", "to_contain_set", "mode", "quantile"]))
    if kind == "mode":
        arguments: dict[str, Any] = {"column": column, "value_set": values, "ties_okay": draw(st.booleans())}
        return check("expect_column_most_common_value_to_be_in_set", arguments, source="test")
    if kind == "quantile":
        shares = draw(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 1.0]), min_size=1, max_size=3))
        bounds = [sorted((draw(_quarters) + 0.123, draw(_quarters) + 0.123)) for _ in shares]
        ranges = {
            "quantiles": shares,
            "value_ranges": [[None, high] if draw(st.booleans()) else [low, high] for low, high in bounds],
        }
        arguments = {"column": draw(st.sampled_from(INTEGERS + NUMBERS)), "quantile_ranges": ranges}
        return check("expect_column_quantile_values_to_be_between", arguments, source="test")
    return check(f"expect_column_distinct_values_{kind}", {"column": column, "value_set": values}, source="test")


@st.composite
def number_checks(draw: st.DrawFn) -> Check:
    aggregate = draw(st.sampled_from(["mean", "median", "stdev", "sum", "min", "max"]))
    counted = draw(st.sampled_from(["unique_value_count", "proportion_of_unique_values", "proportion_of_non_null_values"]))
    eighths = st.integers(0, 8).map(lambda number: number / 8)
    # bounds off the grid of possible values, so that the order of summing cannot decide
    off_grid = st.integers(-20, 20).map(lambda number: number + 0.123)
    kind, arguments = draw(
        st.sampled_from(
            [
                (f"column_{aggregate}", {"column": draw(st.sampled_from(INTEGERS + NUMBERS)), **_bounds(draw, off_grid)}),
                (f"column_{counted}", {"column": draw(st.sampled_from(EVERY)), **_bounds(draw, eighths)}),
                ("table_row_count", _bounds(draw, st.integers(0, 25))),
                ("table_column_count", {"max_value": draw(st.integers(0, 8))}),
            ]
        )
    )
    return check(f"expect_{kind}_to_be_between", arguments, source="test")


_type_checks = st.builds(
    lambda column, kind: check("expect_column_values_to_be_of_type", {"column": column, "type_": kind}, source="test"),
    st.sampled_from(INTEGERS + NUMBERS),
    st.sampled_from(["int64", "float64", "int32"]),
)
_type_lists = st.builds(
    lambda column, kinds: check("expect_column_values_to_be_in_type_list", {"column": column, "type_list": kinds}, source="test"),
    st.sampled_from((*INTEGERS, *NUMBERS, "f")),
    st.lists(st.sampled_from(["int64", "float64", "float32", "int", "float"]), min_size=1, max_size=3),
)
_table_checks = st.builds(
    lambda names, exact: check("expect_table_columns_to_match_set", {"column_set": names, "exact_match": exact}, source="test"),
    st.lists(st.sampled_from([*EVERY, "k", "t", "f", "z"]), max_size=10, unique=True),
    st.booleans(),
)
_exist_checks = st.sampled_from(["x", "z"]).map(lambda name: check("expect_column_to_exist", {"column": name}, source="test"))
suites = st.lists(
    st.one_of(
        row_checks(),
        row_checks(),
        column_group_checks(),
        number_checks(),
        set_checks(),
        _type_checks,
        _type_lists,
        _exist_checks,
        _table_checks,
    ),
    min_size=10,
    max_size=20,
)


def both(columns: dict[str, list[Any]], checks: list[Check]) -> tuple[list[Outcome], list[Outcome]]:
    import pyarrow
    import pyarrow.parquet

    from mlpipeline.adapters.duckdb.engine import answer
    from mlpipeline.adapters.duckdb.files import open_table
    from mlpipeline.adapters.great_expectations.engine import run

    kinds = {
        **dict.fromkeys((*INTEGERS, "k"), "int64"),
        **dict.fromkeys(NUMBERS, "float64"),
        "s": "string",
        "d": "string",
        "b": "bool",
    }
    kinds |= {"t": "timestamp[us]", "f": "float32"}
    fields = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in kinds.items()])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns, schema=fields), file)
        table = open_table([file], "data.parquet")
        try:
            assert all(answerable(one, table.kinds) for one in checks)
            return answer(table, checks, 5), run(table.arrow(), checks, 5)
        finally:
            table.close()


def same(one: object, other: object) -> bool:
    """Alike as JSON, but for the last digits of sums and the order of sets."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or str(one) == str(other)
    return one == other


def comparable(result: dict[str, object]) -> dict[str, object]:
    """What both engines must say alike: GX lists what is missing from a column in the order of a Python set, and counts each
    missing value among failing ones as a value of its own."""
    missing, counted = result.get("partial_missing_list"), result.get("partial_unexpected_counts")
    if isinstance(missing, list):
        return {**result, "partial_missing_list": sorted(missing, key=str)}
    if "partial_unexpected_list" in result and "None" in str(result["partial_unexpected_list"]) + str(counted or ""):
        return {name: value for name, value in result.items() if name != "partial_unexpected_counts"}
    return result


def decided(outcome: Outcome) -> tuple[object, ...]:
    counts = outcome.counts
    return outcome.success, counts.elements, counts.missing, counts.unexpected


@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(tables(), suites)
def test_the_one_query_engine_decides_as_great_expectations_does(columns: dict[str, list[Any]], checks: list[Check]) -> None:
    for fast, slow in zip(*both(columns, checks), strict=True):
        assert decided(fast) == decided(slow), (fast, slow, columns)
        assert same(comparable(fast.result), comparable(slow.result)), (fast, slow, columns)
