"""Questions about whole rows and about two tables: duplicates, keys, leakage, labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from mlpipeline.adapters.duckdb.files import Table, quoted

_SHOWN = 20


def duplicates(table: Table) -> int:
    """Rows that repeat an earlier row, all columns alike; missing values are alike."""
    columns = ", ".join(quoted(name) for name in table.types)
    query = f"SELECT count(*), (SELECT count(*) FROM (SELECT DISTINCT {columns} FROM {table.relation})) FROM {table.relation}"  # noqa: S608
    rows, different = table.rows(query)[0]
    return int(rows - different)


def classes(table: Table, column: str) -> dict[str, int]:
    """Rows by label, the most frequent first; missing ones left out."""
    name = quoted(column)
    query = (
        f"SELECT CAST({name} AS VARCHAR), count(*) AS n FROM {table.relation} WHERE {name} IS NOT NULL "  # noqa: S608
        f"GROUP BY {name} ORDER BY n DESC, 1 LIMIT 10000"
    )
    return {str(value): int(times) for value, times in table.rows(query)}


def orphans(table: Table, columns: Sequence[str], other: Table, their: Sequence[str]) -> tuple[int, list[tuple[str, int]]]:
    """Rows whose key is not in the other table, which must be of the same connection; and the most frequent such keys."""
    same = " AND ".join(
        f"{_alike(table, one, other, two, 'mine')} = {_alike(other, two, table, one, 'yours')}"
        for one, two in zip(columns, their, strict=True)
    )
    present = " AND ".join(f"mine.{quoted(name)} IS NOT NULL" for name in columns)
    shown = ", ".join(f"CAST(mine.{quoted(name)} AS VARCHAR)" for name in columns)
    query = (
        f"SELECT concat_ws(', ', {shown}) AS key, count(*) AS n, sum(count(*)) OVER () FROM {table.relation} mine "  # noqa: S608
        f"ANTI JOIN {other.relation} yours ON {same} WHERE {present} GROUP BY ALL ORDER BY n DESC, key LIMIT {_SHOWN}"
    )
    found = table.rows(query)
    return (int(found[0][2]) if found else 0), [(str(key), int(times)) for key, times, _ in found]


def shared_rows(train: Table, test: Table) -> tuple[int, int]:
    """Rows of the test that are rows of the training too, in the columns both have; and rows of the test."""
    common = [name for name in test.types if name in train.types]
    return _shared(train, test, common, missing_is_alike=True)


def shared_entities(train: Table, test: Table, columns: Sequence[str]) -> tuple[int, int]:
    """Rows of the test whose entity the training knows; and rows of the test. Nobody is a missing name."""
    return _shared(train, test, columns, missing_is_alike=False)


def _shared(train: Table, test: Table, columns: Sequence[str], *, missing_is_alike: bool) -> tuple[int, int]:
    operator = "IS NOT DISTINCT FROM" if missing_is_alike else "="
    same = " AND ".join(
        f"{_alike(test, name, train, name, 'mine')} {operator} {_alike(train, name, test, name, 'yours')}" for name in columns
    )
    names = ", ".join(quoted(name) for name in columns)
    query = (
        f"SELECT (SELECT count(*) FROM {test.relation} mine SEMI JOIN (SELECT DISTINCT {names} FROM {train.relation}) yours "  # noqa: S608
        f"ON {same}), (SELECT count(*) FROM {test.relation})"
    )
    found, rows = test.rows(query)[0]
    return (int(found) if columns else 0), int(rows)


def _alike(table: Table, name: str, other: Table, their: str, alias: str) -> str:
    """A column as it is compared with one of the other table: as text where the two hold different kinds of values."""
    numbers = {"integer", "number", "float32"}
    one, two = table.kinds[name], other.kinds[their]
    plain = one == two or {one, two} <= numbers
    return f"{alias}.{quoted(name)}" if plain else f"CAST({alias}.{quoted(name)} AS VARCHAR)"


def span(table: Table, column: str) -> tuple[str, str]:
    """The first and the last time of a column, ISO in UTC; empty without any."""
    name = quoted(column)
    value = name if table.kinds[column] == "timestamp" else f"TRY_CAST(CAST({name} AS VARCHAR) AS TIMESTAMP)"
    ends = table.rows(f"SELECT epoch(min({value})), epoch(max({value})) FROM {table.relation}")[0]  # noqa: S608
    first, last = ("" if end is None else datetime.fromtimestamp(end, UTC).isoformat() for end in ends)
    return first, last
