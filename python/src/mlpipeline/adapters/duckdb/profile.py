"""Two data files side by side, column by column, and how often a prediction was right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mlpipeline.adapters.duckdb import sketches
from mlpipeline.adapters.duckdb.files import Table, find, open_table, quoted
from mlpipeline.core.sketch import Sketch
from mlpipeline.errors import ConfigurationError

_NUMBERS = frozenset({"integer", "number", "float32"})


class Profile(msgspec.Struct, frozen=True):
    """Two files side by side.

    Args:
        before: Summaries of the columns of the older file, and of the newer one over the same grids.
        only_before: Columns that the newer file has not got.
        rows: Of the older file and the newer one.
    """

    before: dict[str, Sketch]
    now: dict[str, Sketch]
    only_before: tuple[str, ...]
    rows: tuple[int, int]


def summed_up(file: Path, columns: Sequence[str] = ()) -> dict[str, Sketch]:
    """Summaries of these columns of a file, of all but times without any.

    Raises ConfigurationError when the file or a named column does not exist, Failed when the file cannot be read.
    """
    table = _opened(file)
    try:
        _require(table, columns)
        return sketches.sketch(table, list(columns) or sketches.comparable(table))
    finally:
        table.close()


def compare(before: Mapping[str, Sketch], now: Path) -> Profile:
    """The newer file's columns beside summaries of the older one's.

    Raises ConfigurationError when the file does not exist, Failed when it cannot be read.
    """
    table = _opened(now)
    try:
        both = [name for name in before if name in table.types]
        found = sketches.sketch(table, both, before)
        rows = int(table.rows(f"SELECT count(*) FROM {table.source}")[0][0])  # noqa: S608
    finally:
        table.close()
    old = max((one.rows for one in before.values()), default=0)
    return Profile(dict(before), found, tuple(name for name in before if name not in table.types), (old, rows))


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
