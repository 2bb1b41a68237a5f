"""What the columns of a table look like, in one query and a small one for each column of few values."""

from __future__ import annotations

from mlpipeline.adapters.duckdb.files import Table, quoted
from mlpipeline.core.drafting import MOST_CATEGORIES, Column

_NUMBERS = frozenset({"integer", "number", "float32"})


def portrait(table: Table) -> tuple[int, list[Column]]:
    """The number of rows, and every column. Raises Failed when the data cannot be read."""
    expressions = ["count(*)"]
    for name, kind in table.kinds.items():
        column = quoted(name)
        finite = f"FILTER (WHERE isfinite(CAST({column} AS DOUBLE)))"
        measured = ["NULL"] * 4
        if kind in _NUMBERS:
            double = f"CAST({column} AS DOUBLE)"
            measured = [f"{function}({double}) {finite}" for function in ("min", "max", "avg", "stddev_samp")]
        elif kind == "string":
            measured[:2] = [f"min(length({column}))", f"max(length({column}))"]
        different = f"count(DISTINCT {column})" if kind != "other" else "0"
        expressions += [f"count({column})", different, *measured]
    row = table.rows(f"SELECT {', '.join(expressions)} FROM {table.relation}")[0]  # noqa: S608
    columns = []
    for place, (name, kind) in enumerate(table.kinds.items()):
        present, distinct, *measured = row[1 + 6 * place : 7 + 6 * place]
        few = 0 < distinct <= MOST_CATEGORIES and kind in {"integer", "string", "boolean"}
        low, high, mean, deviation = (None if value is None else float(value) for value in measured)
        values = _values(table, name) if few else ()
        columns.append(Column(name, kind, int(present), int(distinct), low, high, mean, deviation, values))
    return int(row[0]), columns


def _values(table: Table, name: str) -> tuple[str | int | float | bool, ...]:
    column = quoted(name)
    query = f"SELECT DISTINCT {column} FROM {table.relation} WHERE {column} IS NOT NULL ORDER BY 1"  # noqa: S608
    return tuple(row[0] for row in table.rows(query))
