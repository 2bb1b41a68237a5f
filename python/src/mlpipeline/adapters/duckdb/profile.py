"""Counts of two data files over the same bins, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlpipeline.adapters.duckdb.files import Table, find, open_table, quoted, text
from mlpipeline.errors import ConfigurationError

_NUMBERS = frozenset({"integer", "number", "float32"})
_BINS = 10
_MOST_CATEGORIES = 20


class Profile(msgspec.Struct, frozen=True):
    """Two files side by side.

    Args:
        columns: By column, its counts in the older file and in the newer one over the same bins; the last bin is missing values.
        only_before: Columns that the newer file has not got.
        rows: Of the older file and the newer one.
    """

    columns: dict[str, tuple[list[int], list[int]]]
    only_before: tuple[str, ...]
    rows: tuple[int, int]


def compare(before: Path, now: Path, columns: Sequence[str] = ()) -> Profile:
    """Bins come from the older file: its deciles for numbers with many values, its most frequent values otherwise.

    Times are left out unless asked for: they always move on.

    Raises ConfigurationError when a file or a named column does not exist, Failed when a file cannot be read.
    """
    old = _opened(before)
    try:
        new = _opened(now)
        try:
            return _compared(old, new, columns)
        finally:
            new.close()
    finally:
        old.close()


def agreement(file: Path, truth: str, prediction: str, metric: str) -> tuple[float, int]:
    """``accuracy`` or ``mae`` over the rows that have both columns, and how many these are; NaN without any.

    Raises ConfigurationError when the file or a column does not exist, Failed when the file cannot be read.
    """
    table = _opened(file)
    try:
        _require(table, (truth, prediction))
        numbers = {table.kinds[truth], table.kinds[prediction]} <= _NUMBERS
        plain = metric == "accuracy" and not numbers
        one, other = (f"CAST({quoted(name)} AS VARCHAR)" if plain else quoted(name) for name in (truth, prediction))
        measured = f"avg(CAST({one} = {other} AS DOUBLE))" if metric == "accuracy" else f"avg(abs({one} - {other}))"
        if metric == "mae" and not numbers:
            raise ConfigurationError(
                "the mean error of columns that are no numbers cannot be computed",
                facts={"file": file, truth: table.types[truth], prediction: table.types[prediction]},
                tries=("nightly.accuracy.metric: accuracy",),
            )
        query = f"SELECT {measured}, count(*) FROM {table.relation} WHERE {one} IS NOT NULL AND {other} IS NOT NULL"  # noqa: S608
        value, rows = table.rows(query)[0]
        return float("nan") if value is None else float(value), int(rows)
    finally:
        table.close()


def _opened(file: Path) -> Table:
    files = find(file.parent, file.name)
    if not files:
        raise ConfigurationError("the data file does not exist", facts={"file": file}, tries=(f"ls -l {file.parent}",))
    return open_table(files, str(file))


def _require(table: Table, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in table.types]
    if missing:
        raise ConfigurationError(
            f"the data file has no column {missing[0]!r}", facts={"file": table.label, "columns": ", ".join(table.types)}
        )


def _compared(old: Table, new: Table, columns: Sequence[str]) -> Profile:
    _require(old, columns)
    chosen = columns or [name for name, kind in old.kinds.items() if kind not in {"timestamp", "other"}]
    found: dict[str, tuple[list[int], list[int]]] = {}
    for name in chosen:
        if name in new.types:
            bins = _bins(old, name, as_text=_mixed(old, new, name))
            found[name] = (_counts(old, bins), _counts(new, bins))
    rows = [int(table.rows(f"SELECT count(*) FROM {table.relation}")[0][0]) for table in (old, new)]  # noqa: S608
    return Profile(found, tuple(name for name in chosen if name not in new.types), (rows[0], rows[1]))


def _mixed(old: Table, new: Table, name: str) -> bool:
    """Whether one file holds numbers where the other holds something else."""
    return (old.kinds[name] in _NUMBERS) != (new.kinds[name] in _NUMBERS)


class _Bins(msgspec.Struct, frozen=True):
    """An SQL expression that gives each row the number of its bin; missing values are the last of ``count`` bins."""

    expression: str
    count: int


def _bins(table: Table, name: str, *, as_text: bool) -> _Bins:
    column = quoted(name)
    distinct = table.rows(f"SELECT approx_count_distinct({column}) FROM {table.relation}")[0][0]  # noqa: S608
    number = not as_text and table.kinds[name] in _NUMBERS
    if number and distinct > _MOST_CATEGORIES:
        return _ranges(table, column)
    # A column of whole numbers is one of doubles in a file where some are missing: 1 and 1.0 are one value.
    return _values(table, column, f"CAST(CAST({column} AS DOUBLE) AS VARCHAR)" if number else f"CAST({column} AS VARCHAR)")


def _ranges(table: Table, column: str) -> _Bins:
    shares = [place / _BINS for place in range(1, _BINS)]
    # Exact ones: the approximate depend on which thread was faster, and the same data must give the same verdict.
    asked = f"SELECT quantile_disc({column}, {shares}) FROM {table.relation}"  # noqa: S608
    edges = sorted({float(edge) for edge in table.rows(asked)[0][0]})
    above = " + ".join(f"CAST({column} > CAST({text(repr(edge))} AS DOUBLE) AS INTEGER)" for edge in edges)
    missing = len(edges) + 1
    return _Bins(f"CASE WHEN {column} IS NULL THEN {missing} ELSE {above} END", missing + 1)


def _values(table: Table, column: str, cast: str) -> _Bins:
    asked = (
        f"SELECT CAST(value AS VARCHAR) FROM (SELECT {cast} AS value, count(*) AS rows FROM {table.relation} "  # noqa: S608
        f"WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST_CATEGORIES})"
    )
    known = [text(str(row[0])) for row in table.rows(asked)]
    cases = " ".join(f"WHEN {value} THEN {place}" for place, value in enumerate(known))
    missing = len(known) + 1
    other = f"CASE {cast} {cases} ELSE {len(known)} END" if known else str(len(known))
    return _Bins(f"CASE WHEN {column} IS NULL THEN {missing} ELSE {other} END", missing + 1)


def _counts(table: Table, bins: _Bins) -> list[int]:
    found = dict(table.rows(f"SELECT {bins.expression}, count(*) FROM {table.relation} GROUP BY 1"))  # noqa: S608
    return [int(found.get(place, 0)) for place in range(bins.count)]
