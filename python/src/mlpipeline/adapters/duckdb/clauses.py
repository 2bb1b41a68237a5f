"""Row-wise checks as conditions in SQL: which rows a check looks at, and which of them break it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC

from mlpipeline.adapters.duckdb.files import Table, quoted, text
from mlpipeline.core.expectation_support import PREDICATES, moment
from mlpipeline.core.expectations import NULLNESS, Check

DISTINCT = frozenset({"expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique"})
"""Answered by counting different values, not by a condition on one row."""

WHOLE = frozenset({f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")})
_OPERATORS = {"expect_column_pair_values_to_be_equal": "=", "expect_column_pair_values_a_to_be_greater_than_b": ">"}


def considered(check: Check) -> str:
    """The rows that a check looks at: those that are not left out because a value is missing."""
    if check.type in NULLNESS:
        return "true"
    absent = [f"{quoted(name)} IS NULL" for name in check.columns]
    rule = str(check.kwargs.get("ignore_row_if", "all"))
    if rule in {"either_value_is_missing", "any_value_is_missing"}:
        return f"NOT ({' OR '.join(absent)})"
    return "true" if rule in {"neither", "never"} else f"NOT ({' AND '.join(absent)})"


def key(check: Check) -> str:
    """What must differ from row to row."""
    names = [quoted(name) for name in check.columns]
    return names[0] if len(names) == 1 else f"row({', '.join(names)})"


def breaks(check: Check, table: Table) -> str:
    """The condition under which a row breaks a check. It may be null where a value is missing."""
    column = quoted(check.columns[0])
    kind = check.type
    if kind in NULLNESS:
        return f"{column} IS {'' if kind.endswith('_not_be_null') else 'NOT '}NULL"
    if kind in PREDICATES:
        return f"{column} IN (SELECT value FROM {predicate_table(check)})"  # noqa: S608
    if len(check.columns) > 1 or kind.startswith(("expect_multicolumn", "expect_select", "expect_column_pair")):
        return f"({considered(check)}) AND NOT coalesce({_row_holds(check)}, false)"
    return _value_breaks(check, column, table)


def _value_breaks(check: Check, column: str, table: Table) -> str:
    kind = check.type
    if kind.endswith(("_regex", "_regex_list")):
        return _regexes(column, check)
    if kind.endswith("_in_set"):
        return in_set(column, listed(check.kwargs["value_set"]), wanted="_not_be_in_" not in kind)
    if "_lengths_" in kind:
        value = check.kwargs.get("value")
        exact = {"min_value": value, "max_value": value}
        return _outside(f"length({column})", check.kwargs if value is None else exact, "BIGINT")
    return _outside(compared(check.columns[0], table), check.kwargs, table.types[check.columns[0]])


def compared(name: str, table: Table) -> str:
    """A column as it is compared with bounds: float32 as doubles, which is how pandas compares them."""
    return f"CAST({quoted(name)} AS DOUBLE)" if table.kinds[name] == "float32" else quoted(name)


def in_set(column: str, values: Sequence[object], *, wanted: bool) -> str:
    inside = f"{column} IN ({', '.join(literal(value) for value in values)})" if values else "false"
    return f"{column} IS NOT NULL AND {f'NOT ({inside})' if wanted else inside}"


def literal(value: object, kind: str = "") -> str:
    """A value in SQL; a text beside a column of times is a moment, without a zone in UTC."""
    found = moment(value) if kind == "DATE" or kind.startswith("TIMESTAMP") else None
    if found is not None:
        at = found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
        return f"CAST({text(at.isoformat(sep=' '))} AS TIMESTAMP)"
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and kind in WHOLE:
        return str(int(value))  # beside a double, whole numbers beyond 2^53 would be compared as doubles
    return f"CAST('{value!r}' AS DOUBLE)" if isinstance(value, float) else str(value)


def listed(value: object) -> Sequence[object]:
    return tuple(value) if isinstance(value, list | tuple | set) else ()


def predicate_table(check: Check) -> str:
    """The temporary table of values that Python says break the check."""
    from hashlib import sha256

    told = f"{check.type}\0{check.columns[0]}\0{check.kwargs.get('strftime_format', '')}"
    return f"refused_{sha256(told.encode()).hexdigest()[:16]}"


def _regexes(column: str, check: Check) -> str:
    patterns = [str(one) for one in listed(check.kwargs.get("regex_list", [check.kwargs.get("regex")]))]
    matches = [f"regexp_matches({column}, {text(pattern)})" for pattern in patterns]
    joined = f"({(' AND ' if check.kwargs.get('match_on') == 'all' else ' OR ').join(matches)})"
    return joined if "_not_match_" in check.type else f"NOT {joined}"


def _row_holds(check: Check) -> str:
    names = [quoted(name) for name in check.columns]
    if check.type == "expect_multicolumn_sum_to_equal":
        return f"{' + '.join(f'CAST({name} AS HUGEINT)' for name in names)} = {literal(check.kwargs['sum_total'])}"
    if check.type == "expect_multicolumn_values_to_be_equal":
        return " AND ".join(f"{name} IS NOT DISTINCT FROM {names[0]}" for name in names[1:])
    if check.type == "expect_select_column_values_to_be_unique_within_record":
        return " AND ".join(f"{one} IS DISTINCT FROM {other}" for place, one in enumerate(names) for other in names[place + 1 :])
    if check.type == "expect_column_pair_values_to_be_in_set":
        pairs = [tuple(listed(pair)) for pair in listed(check.kwargs["value_pairs_set"])]
        return " OR ".join(f"({names[0]} = {literal(one)} AND {names[1]} = {literal(other)})" for one, other in pairs) or "false"
    operator = ">=" if check.kwargs.get("or_equal") else _OPERATORS[check.type]
    return f"{names[0]} {operator} {names[1]}"


def _outside(value: str, arguments: Mapping[str, object], kind: str) -> str:
    broken = []
    if "min_value" in arguments:
        broken.append(f"{value} {'<=' if arguments.get('strict_min') else '<'} {literal(arguments['min_value'], kind)}")
    if "max_value" in arguments:
        broken.append(f"{value} {'>=' if arguments.get('strict_max') else '>'} {literal(arguments['max_value'], kind)}")
    return " OR ".join(broken)
