"""Checks that only Python can decide as Great Expectations does (dates, JSON), asked once about each different value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from mlpipeline.adapters.duckdb.clauses import predicate_table
from mlpipeline.adapters.duckdb.files import Table, quoted
from mlpipeline.core.expectation_support import PREDICATES
from mlpipeline.core.expectations import Check

_AT_ONCE = 10_000


def prepare(table: Table, checks: Iterable[Check]) -> None:
    """Leaves the values that break each such check in a temporary table, where ``clauses.breaks`` looks for them."""
    wanted = {predicate_table(check): check for check in checks if check.type in PREDICATES}
    for name, check in wanted.items():
        _settle(table, name, check)


def _settle(table: Table, name: str, check: Check) -> None:
    column, holds = quoted(check.columns[0]), _predicate(check)
    table.rows(f"CREATE OR REPLACE TEMP TABLE {name} (value VARCHAR)")
    different = f"SELECT DISTINCT {column} FROM {table.relation} WHERE {column} IS NOT NULL"  # noqa: S608
    refused = [value for values in table.batches(different, _AT_ONCE) for value in values if not holds(value)]
    if refused:
        table.insert(name, refused)


def _predicate(check: Check) -> Callable[[str], bool]:
    if check.type == "expect_column_values_to_match_strftime_format":
        form = str(check.kwargs["strftime_format"])
        return lambda value: _succeeds(lambda: datetime.strptime(value, form), (ValueError,))
    if check.type == "expect_column_values_to_be_json_parseable":
        return lambda value: _succeeds(lambda: json.loads(value), (ValueError,))
    from importlib import import_module

    parse = import_module("dateutil.parser").parse

    return lambda value: _succeeds(lambda: parse(value), (ValueError, OverflowError))


def _succeeds(work: Callable[[], object], refusals: Sequence[type[Exception]]) -> bool:
    try:
        work()
    except tuple(refusals):
        return False
    return True
