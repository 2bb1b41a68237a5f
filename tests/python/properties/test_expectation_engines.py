"""The one-query engine and Great Expectations decide alike, on random dirty data and random checks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mlpipeline.core.expectations import Check, Outcome, answerable, check

pytestmark = pytest.mark.real

INTEGERS = ("i", "j")
NUMBERS = ("x", "y")
TEXTS = ("s",)
EVERY = (*INTEGERS, *NUMBERS, *TEXTS, "b")

_small = st.integers(-4, 4)
_quarters = st.integers(-16, 16).map(lambda number: number / 4)
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
        **{name: column(dirty) for name in NUMBERS},
        "s": column(_words),
        "b": column(st.booleans()),
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
            ]
        )
    )
    return check(f"expect_column_{kind}", {**arguments, "mostly": draw(_MOSTLY)}, source="test")


_regexes = st.sampled_from(["^a", "b$", r"\d", "^[aA].?$", "a|b", r"^\w+$", r"\s", r"\.", "", "^.{2,3}$", "(?:ab)+", "'"])


@st.composite
def column_group_checks(draw: st.DrawFn) -> Check:
    columns = draw(st.permutations(INTEGERS + NUMBERS))[:2]
    if draw(st.booleans()):
        rule = draw(st.sampled_from(["all_values_are_missing", "any_value_is_missing", "never"]))
        listed = draw(st.permutations(EVERY))[: draw(st.integers(2, 3))]
        arguments: dict[str, Any] = {"column_list": list(listed), "ignore_row_if": rule}
        return check("expect_compound_columns_to_be_unique", {**arguments, "mostly": draw(_MOSTLY)}, source="test")
    kind = draw(st.sampled_from(["a_to_be_greater_than_b", "to_be_equal"]))
    rule = draw(st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"]))
    arguments = {"column_A": columns[0], "column_B": columns[1], "ignore_row_if": rule, "mostly": draw(_MOSTLY)}
    if kind.startswith("a_"):
        arguments["or_equal"] = draw(st.booleans())
    return check(f"expect_column_pair_values_{kind}", arguments, source="test")


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
_exist_checks = st.sampled_from(["x", "z"]).map(lambda name: check("expect_column_to_exist", {"column": name}, source="test"))
suites = st.lists(
    st.one_of(row_checks(), row_checks(), column_group_checks(), number_checks(), _type_checks, _exist_checks),
    min_size=10,
    max_size=20,
)


def both(columns: dict[str, list[Any]], checks: list[Check]) -> tuple[list[Outcome], list[Outcome]]:
    import pyarrow
    import pyarrow.parquet

    from mlpipeline.adapters.duckdb.engine import answer
    from mlpipeline.adapters.duckdb.files import open_table
    from mlpipeline.adapters.great_expectations.engine import run

    kinds = {**dict.fromkeys(INTEGERS, "int64"), **dict.fromkeys(NUMBERS, "float64"), "s": "string", "b": "bool"}
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
