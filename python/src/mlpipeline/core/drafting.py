"""A first suite for data, from what a good file of it looks like: wide enough that the next good file passes. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from mlpipeline.core.expectations import Kind

MOST_CATEGORIES = 20
_UNIQUE_FROM, _CATEGORIES_FROM = 100, 50
"""Rows from which it is no accident that all values differ, or that so few do."""


class Column(msgspec.Struct, frozen=True):
    """What is known of one column.

    Args:
        present: Rows with a value.
        distinct: Different values.
        low: The least finite number, or the shortest length of a text; and the greatest.
        mean: Of finite numbers, with their standard deviation.
        values: The different values, when there are at most ``MOST_CATEGORIES``.
    """

    name: str
    kind: Kind
    present: int
    distinct: int
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    values: tuple[str | int | float | bool, ...] = ()


def suite(name: str, rows: int, columns: Sequence[Column], source: str) -> dict[str, object]:
    """The suite in Great Expectations' own JSON: at least half the rows, every column, and for each what it looks like.

    Args:
        source: What it was drafted from, for the reader.
    """
    made = [_entry("table_row_count_to_be_between", {"min_value": max(1, rows // 2)})]
    for column in columns:
        made.append(_entry("column_to_exist", {"column": column.name}))
        made.extend(_of_column(column, rows))
    return {
        "name": name,
        "expectations": made,
        "meta": {"drafted_from": source},
        "notes": f"Drafted from {rows:,} rows of {source}. Read it, make it narrower where you know better, and commit it.",
    }


def _entry(kind: str, kwargs: Mapping[str, object]) -> dict[str, object]:
    return {"type": f"expect_{kind}", "kwargs": dict(kwargs), "meta": {}}


def _of_column(column: Column, rows: int) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    absent = 1 - column.present / rows if rows else 1.0
    at_least = 1.0 if absent == 0 else math.floor(100 * (1 - min(1.0, 2 * absent + 0.01))) / 100
    named: dict[str, object] = {"column": column.name}
    if at_least > 0:
        made.append(_entry("column_values_to_not_be_null", named if at_least == 1 else {**named, "mostly": at_least}))
    if not column.present:
        return made
    whole = column.kind in {"integer", "string"}
    if whole and column.distinct == column.present >= _UNIQUE_FROM:
        made.append(_entry("column_values_to_be_unique", named))
    elif column.values and column.kind != "number" and column.present >= _CATEGORIES_FROM:
        mostly = {} if column.kind == "boolean" else {"mostly": 0.99}
        made.append(_entry("column_values_to_be_in_set", {**named, "value_set": list(column.values), **mostly}))
    if column.kind in {"integer", "number", "float32"} and column.low is not None and column.high is not None:
        made.extend(_of_numbers(column, column.low, column.high, absolute=whole))
    elif column.kind == "string" and column.high is not None and not column.values:
        made.append(
            _entry("column_value_lengths_to_be_between", {**named, "min_value": 0, "max_value": int(2 * column.high + 10)})
        )
    return made


def _of_numbers(column: Column, low: float, high: float, *, absolute: bool) -> list[dict[str, object]]:
    """Half the range more on either side, without crossing zero; the mean within half a standard deviation."""
    named: dict[str, object] = {"column": column.name}
    room = (high - low) / 2 or max(abs(high), 1.0)
    bounds = [
        max(0.0, low - room) if low >= 0 else low - room,
        min(0.0, high + room) if high <= 0 else high + room,
    ]
    least, most = rounded(bounds[0], up=False), rounded(bounds[1], up=True)
    made = (
        []
        if column.distinct == column.present and absolute
        else [_entry("column_values_to_be_between", {**named, "min_value": least, "max_value": most, "mostly": 0.99})]
    )
    if column.mean is not None and column.deviation and not (absolute and column.distinct == column.present):
        ends = [column.mean - column.deviation / 2, column.mean + column.deviation / 2]
        limits = {"min_value": rounded(ends[0], up=False), "max_value": rounded(ends[1], up=True)}
        made.append(_entry("column_mean_to_be_between", {**named, **limits}))
    return made


def rounded(value: float, *, up: bool) -> float | int:
    """Three significant digits, away from the values: a bound that a person can read."""
    if value == 0 or not math.isfinite(value):
        return 0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    found = (math.ceil if up else math.floor)(value / step) * step
    return int(found) if float(found).is_integer() else float(f"{found:.6g}")
