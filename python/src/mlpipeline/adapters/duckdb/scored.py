"""What a file of answers holds, in one query: rows, what is missing or infinite, the range, the classes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mlpipeline.adapters.duckdb.files import Table, quoted

_CLASSES = 1000
"""Different values of a column that are told one by one."""


class Column(msgspec.Struct, frozen=True):
    """One column of answers.

    Args:
        missing: Null or NaN.
        low, high: Least and greatest finite number; absent for other kinds and without any.
        classes: The different values as text, where the column holds no fractions and they are few.
    """

    missing: int
    infinite: int = 0
    low: float | None = None
    high: float | None = None
    classes: tuple[str, ...] | None = None


def measured(table: Table, columns: Sequence[str]) -> tuple[int, dict[str, Column]]:
    """Rows, and each column. Raises Failed when the file cannot be read."""
    numbers = [name for name in columns if table.types[name] in {"DOUBLE", "FLOAT"}]
    asked = ["count(*)"]
    for name in columns:
        cell = quoted(name)
        finite = f"CASE WHEN isfinite({cell}) THEN {cell} END" if name in numbers else cell
        limits = (f"min({finite})", f"max({finite})") if table.kinds[name] in _ORDERED else ("NULL", "NULL")
        infinite = f"count(*) FILTER (isinf({cell}))" if name in numbers else "0"
        asked += [f"count(*) - count({cell})", infinite, *limits]
    (row,) = table.rows(f"SELECT {', '.join(asked)} FROM {table.relation}")  # noqa: S608
    found = {}
    for place, name in enumerate(columns):
        missing, infinite, low, high = row[1 + 4 * place : 5 + 4 * place]
        classes = None if name in numbers else _classes(table, name)
        least, greatest = (None if end is None else float(end) for end in (low, high))
        found[name] = Column(int(missing), int(infinite), least, greatest, classes)
    return int(row[0]), found


_ORDERED = frozenset({"integer", "number", "float32"})


def _classes(table: Table, name: str) -> tuple[str, ...] | None:
    cell = quoted(name)
    query = f"SELECT DISTINCT CAST({cell} AS VARCHAR) FROM {table.relation} WHERE {cell} IS NOT NULL LIMIT {_CLASSES + 1}"  # noqa: S608
    listed = sorted(str(value) for (value,) in table.rows(query))
    return tuple(listed) if len(listed) <= _CLASSES else None
