"""All supported checks of one table in one query; small ones afterwards only where rows break them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from mlpipeline.adapters.duckdb import clauses, predicates
from mlpipeline.adapters.duckdb.clauses import DISTINCT, breaks, considered, in_set, listed, literal
from mlpipeline.adapters.duckdb.files import Table, quoted
from mlpipeline.core.expectation_results import body
from mlpipeline.core.expectation_support import PYTHON_TYPES, moment
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
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_BITS_PER_ROW, _MOST_BITS = 64, 1 << 30
_MOST_DISTINCT = 20
"""Values that the library lists of those that are in one set and not in the other."""
_MOST_MODES = 1000

_Row = Sequence[Any]
_Reader = Callable[[_Row], Counts]


class _Known(msgspec.Struct, frozen=True):
    """What is cheap to know beforehand; Parquet's statistics hold most of it.

    Args:
        rows: Of the table.
        ranges: Least and greatest value of a column of numbers, where both are known.
    """

    rows: int
    ranges: dict[str, tuple[float, float]]


class _Query:
    """Collects expressions, each once, and knows where their values will stand."""

    def __init__(self, table: Table, known: _Known) -> None:
        self.table, self.known = table, known
        self.expressions: dict[str, int] = {}
        self.want("count(*)")

    def want(self, expression: str) -> int:
        return self.expressions.setdefault(expression, len(self.expressions))

    def present(self, condition: str) -> int:
        return self.want("count(*)" if condition == "true" else f"coalesce(count_if({condition}), 0)")

    def considered(self, check: Check) -> int:
        """Rows that a check looks at."""
        if check.type not in NULLNESS and len(check.columns) == 1:
            return self.want(f"count({quoted(check.columns[0])})")
        return self.present(considered(check))

    def distinct(self, check: Check) -> int:
        """Different values among the rows that a check looks at: of whole numbers close together, one bit for each."""
        span = self.known.ranges.get(check.columns[0]) if len(check.columns) == 1 else None
        kind = self.table.types[check.columns[0]]
        if span and kind in _NUMPY and kind not in _FLOATS and "ignore_row_if" not in check.kwargs:
            low, high = int(span[0]), int(span[1])
            if high - low < min(_MOST_BITS, _BITS_PER_ROW * self.known.rows):
                name = quoted(check.columns[0])
                bits = f"bitstring_agg({name}, CAST({low} AS {kind}), CAST({high} AS {kind}))"
                return self.want(f"coalesce(bit_count({bits}), 0)")
        if len(check.columns) == 1:
            return self.want(f"count(DISTINCT {quoted(check.columns[0])})")
        return self.want(f"count(DISTINCT {clauses.key(check)}) FILTER (WHERE {considered(check)})")


def answer(table: Table, checks: Sequence[Check], sample_rows: int) -> list[Outcome]:
    """The outcome of each check, in their order. Every check must be ``answerable`` for ``table.kinds``.

    Args:
        sample_rows: How many different failing values an outcome carries at most.
    """
    table = table.with_nan_in(_with_nan(table, checks))
    predicates.prepare(table, checks)
    query = _Query(table, _known(table, checks))
    readers = [_plan(check, table, query) for check in checks]
    row = table.rows(f"SELECT {', '.join(query.expressions)} FROM {table.relation}")[0]  # noqa: S608
    return [_outcome(check, reader(row), table, sample_rows) for check, reader in zip(checks, readers, strict=True)]


def _with_nan(table: Table, checks: Iterable[Check]) -> set[str]:
    """The columns of floating-point numbers, among those that are read, that hold NaN."""
    floats = list(dict.fromkeys(name for check in checks for name in check.columns if table.raw[name] in _FLOATS))
    if not floats:
        return set()
    asked = ", ".join(f"bool_or(isnan({quoted(name)}))" for name in floats)
    found = table.rows(f"SELECT {asked} FROM {table.source}")[0]  # noqa: S608
    return {name for name, holds in zip(floats, found, strict=True) if holds}


_RANGED = frozenset(
    {
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_unique",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
    }
)


def _known(table: Table, checks: Iterable[Check]) -> _Known:
    named = [check.columns[0] for check in checks if check.type in _RANGED and table.raw[check.columns[0]] in _NUMPY]
    names = list(dict.fromkeys(named))
    asked = "".join(f", min({quoted(name)}), max({quoted(name)})" for name in names)
    rows, *ends = table.rows(f"SELECT count(*){asked} FROM {table.source}")[0]  # noqa: S608
    pairs = zip(names, ends[::2], ends[1::2], strict=True)
    return _Known(int(rows), {name: (low, high) for name, low, high in pairs if low is not None and high is not None})


def _plan(check: Check, table: Table, query: _Query) -> _Reader:
    for kinds, plan in _PLANS:
        if check.type in kinds:
            return plan(check, table, query)
    return lambda row: _of_table(check, list(table.types), row[0])


def _of_table(check: Check, columns: list[str], rows: int) -> Counts:
    if check.type == "expect_table_row_count_to_equal":
        return Counts(rows, observed=rows)
    if check.type == "expect_table_column_count_to_equal":
        return Counts(rows, observed=len(columns))
    if check.type == "expect_column_to_exist":
        return Counts(rows, observed=_exists(check, columns), success=_exists(check, columns))
    if check.type == "expect_table_columns_to_match_ordered_list":
        return _ordered(columns, [str(name) for name in listed(check.kwargs["column_list"])], rows)
    wanted = {str(name) for name in listed(check.kwargs["column_set"])}
    apart = {"unexpected": sorted(set(columns) - wanted), "missing": sorted(wanted - set(columns))}
    mismatched = {name: found for name, found in apart.items() if found}
    exact = check.kwargs.get("exact_match", True)
    success = not mismatched if exact else not apart["missing"]
    return Counts(rows, observed=sorted(columns), success=success, details=_details({"mismatched": mismatched}, mismatched))


def _exists(check: Check, columns: Sequence[str]) -> bool:
    name, place = str(check.kwargs["column"]), check.kwargs.get("column_index")
    return name in columns and (place is None or columns.index(name) == place)


def _ordered(columns: list[str], wanted: list[str], rows: int) -> Counts:
    width = max(len(columns), len(wanted))
    sides = [[*names, *[None] * (width - len(names))] for names in (wanted, columns)]
    mismatched = [
        {"Expected Column Position": place, "Expected": one, "Found": other}
        for place, (one, other) in enumerate(zip(*sides, strict=True))
        if one != other
    ]
    return Counts(rows, observed=columns, success=not mismatched, details=_details({"mismatched": mismatched}, mismatched))


def _details(details: dict[str, object], wanted: object) -> dict[str, object]:
    return {"details": details} if wanted else {}


_TYPES = frozenset({"expect_column_values_to_be_of_type", "expect_column_type_to_be", "expect_column_values_to_be_in_type_list"})


def _plan_type(check: Check, table: Table, query: _Query) -> _Reader:
    """Whole numbers with missing values among them are floating-point ones to pandas."""
    column = check.columns[0]
    present, kind = query.want(f"count({quoted(column)})"), _NUMPY[table.types[column]]
    widened = kind if kind.startswith("float") else "float64"
    names = [str(name) for name in listed(check.kwargs.get("type_list", [check.kwargs.get("type_")]))]
    allowed = {PYTHON_TYPES.get(name, name) for name in names}

    def read(row: _Row) -> Counts:
        found = kind if row[present] == row[0] else widened
        return Counts(row[0], observed=found, success=found in allowed)

    return read


def _plan_rows(check: Check, _: Table, query: _Query) -> _Reader:
    looked_at = query.considered(check)
    if check.type in DISTINCT:
        distinct = query.distinct(check)
        # rows in groups of duplicates are counted afterwards, only when there are any
        return lambda row: Counts(row[0], row[0] - row[looked_at], row[looked_at] - row[distinct])
    if check.type in NULLNESS:
        present = query.want(f"count({quoted(check.columns[0])})")
        if check.type.endswith("_not_be_null"):
            return lambda row: Counts(row[0], None, row[0] - row[present])
        return lambda row: Counts(row[0], None, row[present])
    if _inside_range(check, query.known):
        return lambda row: Counts(row[0], row[0] - row[looked_at], 0)
    unexpected = query.want(f"coalesce(count_if({breaks(check, query.table)}), 0)")
    return lambda row: Counts(row[0], row[0] - row[looked_at], row[unexpected])


def _inside_range(check: Check, known: _Known) -> bool:
    """Whether least and greatest value already prove that no row breaks it."""
    if check.type != "expect_column_values_to_be_between" or check.columns[0] not in known.ranges:
        return False
    low, high = known.ranges[check.columns[0]]
    least, most = check.kwargs.get("min_value"), check.kwargs.get("max_value")
    above = least is None or (low > least if check.kwargs.get("strict_min") else low >= least)  # type: ignore[operator]
    return above and (most is None or (high < most if check.kwargs.get("strict_max") else high <= most))  # type: ignore[operator]


def _plan_aggregate(check: Check, table: Table, query: _Query) -> _Reader:
    aggregate = AGGREGATES[check.type]
    if aggregate in {"rows", "columns"}:
        return lambda row: Counts(row[0], observed=row[0] if aggregate == "rows" else len(table.types))
    name = check.columns[0]
    if aggregate in {"distinct", "distinct_share", "present_share"}:
        return _plan_counted(aggregate, check, query)
    value = query.want(_AGGREGATE_SQL[aggregate].format(column=quoted(name)))
    if table.kinds[name] == "timestamp":
        return lambda row: _time(check, row[0], row[value])
    return lambda row: Counts(row[0], observed=None if row[value] is None else float(row[value]))


def _plan_counted(aggregate: str, check: Check, query: _Query) -> _Reader:
    present = query.want(f"count({quoted(check.columns[0])})")
    if aggregate == "present_share":
        return lambda row: Counts(row[0], observed=row[present] / row[0] if row[0] else 0)
    distinct = query.distinct(check)
    if aggregate == "distinct":
        return lambda row: Counts(row[0], observed=row[distinct])
    return lambda row: Counts(row[0], observed=row[distinct] / row[present] if row[present] else 0)


def _time(check: Check, rows: int, found: Any) -> Counts:
    if found is None:
        return Counts(rows, success=False)
    at = found if isinstance(found, datetime) else datetime(found.year, found.month, found.day)
    low, high = (_utc(check.kwargs.get(name)) for name in ("min_value", "max_value"))
    above = low is None or (at > low if check.kwargs.get("strict_min") else at >= low)
    below = high is None or (at < high if check.kwargs.get("strict_max") else at <= high)
    return Counts(rows, observed=found.isoformat(), success=above and below)


def _utc(bound: object) -> datetime | None:
    """The moment in UTC that a bound stands for; without a zone it is UTC already."""
    given = moment(bound)
    return given.astimezone(UTC).replace(tzinfo=None) if given and given.tzinfo else given


_AGGREGATE_SQL: Mapping[str, str] = {
    "mean": "avg({column})",
    "median": "median({column})",
    # DuckDB refuses infinities here, where pandas answers NaN
    "stdev": (
        "CASE WHEN count_if(isinf(CAST({column} AS DOUBLE))) = 0 "
        "THEN stddev_samp({column}) FILTER (WHERE isfinite(CAST({column} AS DOUBLE))) END"
    ),
    "sum": "coalesce(sum({column}), 0)",
    "min": "min({column})",
    "max": "max({column})",
}


def _plan_members(check: Check, table: Table, query: _Query) -> _Reader:
    """Different values against a set: those beyond it, and those of it that do not occur."""
    column, values = quoted(check.columns[0]), list(dict.fromkeys(listed(check.kwargs["value_set"])))
    contains, equals = "_to_contain_set" in check.type, "_to_equal_set" in check.type
    beyond = query.want(f"count(DISTINCT {column}) FILTER (WHERE {in_set(column, values, wanted=True)})")
    inside = query.want(f"list(DISTINCT {column}) FILTER (WHERE {in_set(column, values, wanted=False)})")

    def read(row: _Row) -> Counts:
        absent = [value for value in values if value not in set(row[inside] or ())]
        found: dict[str, object] = {"observed_value": None}
        if not contains:
            found["unexpected_count"] = row[beyond]
        if contains or equals:
            found["missing_count"] = len(absent)
        if not contains:
            found["partial_unexpected_list"] = _beyond(table, column, values) if row[beyond] else []
        if contains or equals:
            found["partial_missing_list"] = absent[:_MOST_DISTINCT]
        success = (contains or not row[beyond]) and (not absent or not (contains or equals))
        return Counts(row[0], success=success, details=found)

    return read


def _beyond(table: Table, column: str, values: Sequence[object]) -> list[object]:
    outside = in_set(column, values, wanted=True)
    query = f"SELECT DISTINCT {column} AS value FROM {table.relation} WHERE {outside} ORDER BY value LIMIT {_MOST_DISTINCT}"  # noqa: S608
    return [row[0] for row in table.rows(query)]


def _modes(check: Check, table: Table, rows: int) -> Counts:
    column, values = quoted(check.columns[0]), listed(check.kwargs["value_set"])
    members = f"value IN ({', '.join(literal(value) for value in values)})" if values else "false"
    found = table.rows(
        f"WITH counted AS (SELECT {column} AS value, count(*) AS times FROM {table.relation} WHERE {column} IS NOT NULL "  # noqa: S608
        "GROUP BY 1), modes AS (SELECT value FROM counted WHERE times = (SELECT max(times) FROM counted)) "
        f"SELECT (SELECT count(*) FROM modes), (SELECT count(*) FROM modes WHERE {members}), "
        f"(SELECT list(value ORDER BY value) FROM (SELECT value FROM modes ORDER BY value LIMIT {_MOST_MODES}))"
    )[0]
    modes, wanted, shown = int(found[0]), int(found[1]), found[2] or []
    success = wanted > 0 if check.kwargs.get("ties_okay") else (modes, wanted) == (1, 1)
    return Counts(rows, observed=shown, success=success)


def _plan_modes(check: Check, table: Table, _: _Query) -> _Reader:
    return lambda row: _modes(check, table, row[0])


def _plan_quantiles(check: Check, table: Table, query: _Query) -> _Reader:
    present = query.want(f"count({quoted(check.columns[0])})")
    return lambda row: _quantiles(check, table, row[0], row[present])


def _quantiles(check: Check, table: Table, rows: int, present: int) -> Counts:
    """The value at the nearest place, halves to the even one: what pandas does with ``interpolation="nearest"``."""
    ranges: Any = check.kwargs["quantile_ranges"]
    shares = [float(share) for share in ranges["quantiles"]]
    values: list[Any] = [None] * len(shares)
    if present:
        places = [round(share * (present - 1)) for share in shares]
        exact = ", ".join(repr((place + 0.5) / present) for place in places)
        values = table.rows(f"SELECT quantile_disc({quoted(check.columns[0])}, [{exact}]) FROM {table.relation}")[0][0]  # noqa: S608
    held = [_near(value, *pair) for value, pair in zip(values, ranges["value_ranges"], strict=True)]
    return Counts(
        rows,
        observed={"quantiles": list(ranges["quantiles"]), "values": list(values)},
        success=all(held),
        details={"details": {"success_details": held}},
    )


def _near(value: float | None, low: float | None, high: float | None) -> bool:
    """Within the bounds, or within a ten-thousandth of one: the library's own tolerance."""
    if value is None:
        return False
    close = any(bound is not None and abs(value - bound) <= 1e-8 + 1e-4 * abs(bound) for bound in (low, high))
    return close or ((low is None or low <= value) and (high is None or value <= high))


def _outcome(check: Check, counts: Counts, table: Table, sample_rows: int) -> Outcome:
    values: list[object] = []
    frequencies: list[tuple[object, int]] = []
    if counts.unexpected and check.type in DISTINCT:
        total, values, frequencies = _duplicates(check, table, sample_rows)
        counts = Counts(counts.elements, counts.missing, total)
    elif counts.unexpected and check.type == "expect_column_values_to_not_be_null":
        values, frequencies = [None] * min(counts.unexpected, sample_rows), [(None, counts.unexpected)]
    elif counts.unexpected:
        values, frequencies = _failing_values(check, table, sample_rows)
    sample = tuple((_shown(value), times) for value, times in frequencies)
    success = decide(check, counts)
    return Outcome(check, success, ENGINE, counts, sample, result=body(check, counts, values, frequencies))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_shown(one) for one in value)})"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _tuples(check: Check, rows: Sequence[_Row]) -> list[tuple[Any, ...]]:
    width = len(check.columns)
    return [tuple(row[:width]) for row in rows]


def _listed(check: Check, rows: Sequence[_Row]) -> list[object]:
    """Values as the library lists them: alone, in pairs, or by the names of many columns."""
    found = _tuples(check, rows)
    if "column_list" in check.kwargs:
        return [dict(zip(check.columns, values, strict=True)) for values in found]
    return [values[0] if len(values) == 1 else values for values in found]


def _frequent(check: Check, rows: Sequence[_Row]) -> list[tuple[object, int]]:
    width = len(check.columns)
    return [
        (values[0] if width == 1 else values, int(row[width])) for values, row in zip(_tuples(check, rows), rows, strict=True)
    ]


def _failing_values(check: Check, table: Table, limit: int) -> tuple[list[object], list[tuple[object, int]]]:
    names = ", ".join(quoted(name) for name in check.columns)
    broken = f"FROM {table.relation} WHERE {breaks(check, table)}"
    first = table.rows(f"SELECT {names} {broken} LIMIT {limit}")
    counted = table.rows(
        f"SELECT {names}, count(*) AS n, min(place) AS first FROM (SELECT {names}, row_number() OVER () AS place {broken}) "  # noqa: S608
        f"GROUP BY {names} ORDER BY n DESC, first LIMIT {limit}"
    )
    return _listed(check, first), _frequent(check, counted)


def _duplicates(check: Check, table: Table, limit: int) -> tuple[int, list[object], list[tuple[object, int]]]:
    """How many rows share their value with another, the first of these rows, and the most frequent values."""
    names = ", ".join(quoted(name) for name in check.columns)
    placed = f"(SELECT {names}, row_number() OVER () AS place FROM {table.relation} WHERE {considered(check)})"  # noqa: S608
    counted = table.rows(
        f"SELECT {names}, count(*) AS n, min(place) AS first, sum(count(*)) OVER () AS total FROM {placed} "  # noqa: S608
        f"GROUP BY {names} HAVING count(*) > 1 ORDER BY n DESC, first LIMIT {limit}"
    )
    if not counted:  # nulls that a count of different values leaves out
        return 0, [], []
    same = " AND ".join(f"one.{quoted(name)} IS NOT DISTINCT FROM other.{quoted(name)}" for name in check.columns)
    first = table.rows(
        f"SELECT {', '.join(f'one.{quoted(name)}' for name in check.columns)} FROM {placed} one SEMI JOIN "  # noqa: S608
        f"(SELECT {names} FROM {placed} GROUP BY {names} HAVING count(*) > 1) other ON {same} ORDER BY one.place LIMIT {limit}"
    )
    return int(counted[0][len(check.columns) + 2]), _listed(check, first), _frequent(check, counted)


_MEMBERS = frozenset(f"expect_column_distinct_values_to_{rule}_set" for rule in ("be_in", "equal", "contain"))
_PLANS: Sequence[tuple[Collection[str], Callable[[Check, Table, _Query], _Reader]]] = (
    (ROW_WISE, _plan_rows),
    (AGGREGATES, _plan_aggregate),
    (_TYPES, _plan_type),
    (_MEMBERS, _plan_members),
    ({"expect_column_most_common_value_to_be_in_set"}, _plan_modes),
    ({"expect_column_quantile_values_to_be_between"}, _plan_quantiles),
)
