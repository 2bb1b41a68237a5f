"""All supported checks of one table in one query; a second, small one per check only where rows break it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlpipeline.adapters.duckdb.files import Table, quoted, text
from mlpipeline.core.expectations import AGGREGATES, NULLNESS, ROW_WISE, Check, Counts, Outcome, decide

ENGINE = "duckdb"

_NUMPY: Mapping[str, str] = {
    "TINYINT": "int8",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "UTINYINT": "uint8",
    "USMALLINT": "uint16",
    "UINTEGER": "uint32",
    "UBIGINT": "uint64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}


class _Query:
    """Collects expressions, each once, and knows where their values will stand."""

    def __init__(self) -> None:
        self.expressions: dict[str, int] = {}

    def want(self, expression: str) -> int:
        return self.expressions.setdefault(expression, len(self.expressions))


_Row = Sequence[Any]
_Reader = Callable[[_Row], Counts]


def answer(table: Table, checks: Sequence[Check], sample_rows: int) -> list[Outcome]:
    """The outcome of each check, in their order. Every check must be ``answerable`` for ``table.kinds``.

    Args:
        sample_rows: How many different failing values an outcome carries at most.
    """
    query = _Query()
    query.want("count(*)")
    readers = [_plan(check, table, query) for check in checks]
    row = table.rows(f"SELECT {', '.join(query.expressions)} FROM {table.relation}")[0]  # noqa: S608
    return [_outcome(check, reader(row), table, sample_rows) for check, reader in zip(checks, readers, strict=True)]


def _plan(check: Check, table: Table, query: _Query) -> _Reader:
    if check.type in ROW_WISE:
        return _plan_rows(check, query)
    if check.type in AGGREGATES:
        return _plan_aggregate(check, table, query)
    if check.type == "expect_column_values_to_be_of_type":
        column = str(check.kwargs["column"])
        present, kind = query.want(f"count({quoted(column)})"), _NUMPY[table.types[column]]
        widened = kind if kind.startswith("float") else "float64"
        return lambda row: Counts(row[0], observed=kind if row[present] == row[0] else widened)
    if check.type == "expect_table_row_count_to_equal":
        return lambda row: Counts(row[0], observed=row[0])
    observed: object = list(table.types)
    if check.type == "expect_table_column_count_to_equal":
        observed = len(table.types)
    elif check.type == "expect_column_to_exist":
        observed = _exists(check, list(table.types))
    return lambda row: Counts(row[0], observed=observed)


def _exists(check: Check, columns: Sequence[str]) -> bool:
    return str(check.kwargs["column"]) in columns


def _plan_rows(check: Check, query: _Query) -> _Reader:
    considered = query.want(f"count(*) FILTER (WHERE {_considered(check)})")
    if check.type in _DISTINCT:
        distinct = query.want(f"count(DISTINCT {_key(check)}) FILTER (WHERE {_considered(check)})")
        # rows in groups of duplicates are counted afterwards, only when there are any
        return lambda row: Counts(row[0], row[0] - row[considered], row[considered] - row[distinct])
    unexpected = query.want(f"count(*) FILTER (WHERE {_breaks(check)})")
    if check.type in NULLNESS:
        return lambda row: Counts(row[0], None, row[unexpected])
    return lambda row: Counts(row[0], row[0] - row[considered], row[unexpected])


def _plan_aggregate(check: Check, table: Table, query: _Query) -> _Reader:
    aggregate = AGGREGATES[check.type]
    if aggregate == "rows":
        return lambda row: Counts(row[0], observed=row[0])
    if aggregate == "columns":
        return lambda row: Counts(row[0], observed=len(table.types))
    column = quoted(str(check.kwargs["column"]))
    present = query.want(f"count({column})")
    if aggregate == "present_share":
        return lambda row: Counts(row[0], observed=row[present] / row[0] if row[0] else 0)
    if aggregate in {"distinct", "distinct_share"}:
        distinct = query.want(f"count(DISTINCT {column})")
        if aggregate == "distinct":
            return lambda row: Counts(row[0], observed=row[distinct])
        return lambda row: Counts(row[0], observed=row[distinct] / row[present] if row[present] else 0)
    value = query.want(_AGGREGATE_SQL[aggregate].format(column=column))
    return lambda row: Counts(row[0], observed=None if row[value] is None else float(row[value]))


_AGGREGATE_SQL: Mapping[str, str] = {
    "mean": "avg({column})",
    "median": "median({column})",
    # DuckDB refuses infinities here, where pandas answers NaN
    "stdev": (
        "CASE WHEN count(*) FILTER (WHERE isinf(CAST({column} AS DOUBLE))) = 0 "
        "THEN stddev_samp({column}) FILTER (WHERE isfinite(CAST({column} AS DOUBLE))) END"
    ),
    "sum": "coalesce(sum({column}), 0)",
    "min": "min({column})",
    "max": "max({column})",
}

_DISTINCT = {"expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique"}
_OPERATORS = {"expect_column_pair_values_to_be_equal": "=", "expect_column_pair_values_a_to_be_greater_than_b": ">"}


def _key(check: Check) -> str:
    names = [quoted(name) for name in check.columns]
    return names[0] if len(names) == 1 else f"row({', '.join(names)})"


def _considered(check: Check) -> str:
    """The rows that a check looks at: those that are not left out because a value is missing."""
    if check.type in NULLNESS:
        return "true"
    names = [quoted(name) for name in check.columns]
    absent = [f"{name} IS NULL" for name in names]
    rule = str(check.kwargs.get("ignore_row_if", "all"))
    if rule in {"either_value_is_missing", "any_value_is_missing"}:
        return f"NOT ({' OR '.join(absent)})"
    return "true" if rule in {"neither", "never"} else f"NOT ({' AND '.join(absent)})"


def _breaks(check: Check) -> str:
    """The condition under which a row breaks a check."""
    column = quoted(check.columns[0])
    if check.type in NULLNESS:
        return f"{column} IS {'' if check.type.endswith('_not_be_null') else 'NOT '}NULL"
    if check.type in _OPERATORS:
        operator = ">=" if check.kwargs.get("or_equal") else _OPERATORS[check.type]
        return f"({_considered(check)}) AND NOT coalesce({column} {operator} {quoted(check.columns[1])}, false)"
    if check.type.endswith("_regex"):
        matches = f"regexp_matches({column}, {text(str(check.kwargs['regex']))})"
        return matches if "_not_match_" in check.type else f"NOT {matches}"
    if check.type.endswith("_in_set"):
        return _in_set(column, _list(check.kwargs["value_set"]), wanted="_not_be_in_" not in check.type)
    if "_lengths_" in check.type:
        value = check.kwargs.get("value")
        exact = {"min_value": value, "max_value": value}
        return _outside(f"length({column})", check.kwargs if value is None else exact)
    return _outside(column, check.kwargs)


def _in_set(column: str, values: Sequence[object], *, wanted: bool) -> str:
    inside = f"{column} IN ({', '.join(_literal(value) for value in values)})" if values else "false"
    return f"{column} IS NOT NULL AND {f'NOT ({inside})' if wanted else inside}"


def _outside(value: str, arguments: Mapping[str, object]) -> str:
    broken = []
    if "min_value" in arguments:
        broken.append(f"{value} {'<=' if arguments.get('strict_min') else '<'} {_literal(arguments['min_value'])}")
    if "max_value" in arguments:
        broken.append(f"{value} {'>=' if arguments.get('strict_max') else '>'} {_literal(arguments['max_value'])}")
    return " OR ".join(broken)


def _literal(value: object) -> str:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"CAST('{value!r}' AS DOUBLE)" if isinstance(value, float) else str(value)


def _list(value: object) -> Sequence[object]:
    return tuple(value) if isinstance(value, list | tuple | set) else ()


def _outcome(check: Check, counts: Counts, table: Table, sample_rows: int) -> Outcome:
    sample: tuple[tuple[str, int], ...] = ()
    if counts.unexpected and check.type in _DISTINCT:
        unexpected, sample = _duplicates(check, table, sample_rows)
        counts = Counts(counts.elements, counts.missing, unexpected)
    elif counts.unexpected and check.type == "expect_column_values_to_not_be_null":
        sample = (("null", counts.unexpected),)
    elif counts.unexpected:
        sample = _failing_values(check, table, sample_rows)
    return Outcome(check, decide(check, counts), ENGINE, counts, sample)


def _shown(check: Check) -> str:
    names = [f"coalesce(CAST({quoted(name)} AS VARCHAR), 'null')" for name in check.columns]
    return names[0] if len(names) == 1 else f"concat('(', concat_ws(', ', {', '.join(names)}), ')')"


def _failing_values(check: Check, table: Table, sample_rows: int) -> tuple[tuple[str, int], ...]:
    rows = table.rows(
        f"SELECT {_shown(check)} AS shown, count(*) AS n FROM {table.relation} WHERE {_breaks(check)} "  # noqa: S608
        f"GROUP BY ALL ORDER BY n DESC, shown LIMIT {sample_rows}"
    )
    return tuple((str(shown), int(number)) for shown, number in rows)


def _duplicates(check: Check, table: Table, sample_rows: int) -> tuple[int, tuple[tuple[str, int], ...]]:
    """How many rows share their value with another, and the most frequent of these values."""
    keys = ", ".join(quoted(name) for name in check.columns)
    rows = table.rows(
        f"SELECT any_value({_shown(check)}) AS shown, count(*) AS n, sum(count(*)) OVER () AS total FROM {table.relation} "  # noqa: S608
        f"WHERE {_considered(check)} GROUP BY {keys} HAVING count(*) > 1 ORDER BY n DESC, shown LIMIT {sample_rows}"
    )
    return int(rows[0][2]), tuple((str(shown), int(number)) for shown, number, _ in rows)
