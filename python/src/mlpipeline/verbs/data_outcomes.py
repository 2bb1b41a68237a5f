"""The expectations of one data file: who answers which, and what is said of each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from mlpipeline.core import expectation_support, expectations
from mlpipeline.core.data_schema import MISSING_TEXTS
from mlpipeline.core.expectations import Check, Counts, Kind, Outcome
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Number, Reason
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.adapters.duckdb.files import Table


def asked(context: Context, table: Table, checks: Sequence[Check]) -> tuple[list[Outcome], int]:
    """Each check answered by the fastest engine that answers it exactly; and the number of rows.

    Of no rows nothing is asked that one query cannot say: the file fails for having none, and CSV without rows has no types.
    """
    from mlpipeline.adapters.duckdb.engine import answer

    data = context.config.data
    kinds = table.kinds
    outcomes: dict[int, Outcome] = {}
    for place, check in enumerate(checks):
        if absent := expectations.missing_columns(check, kinds):
            near = expectations.nearest(absent[0], kinds)
            hint = f"; did you mean {near}?" if near else ""
            outcomes[place] = Outcome(check, False, "schema", Counts(0), error=f"column {absent[0]} is missing{hint}")
    open_places = [place for place in range(len(checks)) if place not in outcomes]
    fast = [place for place in open_places if data.engine == "auto" and expectation_support.answerable(checks[place], kinds)]
    slow = sorted(set(open_places) - set(fast))
    counted = expectations.check("expect_table_row_count_to_be_between", {}, source="rows")
    answered = answer(table, [counted, *(checks[place] for place in fast)], data.sample_rows)
    rows = answered[0].counts.elements
    outcomes.update(zip(fast, answered[1:], strict=True))
    if slow and not rows and data.engine == "auto":
        outcomes.update({place: Outcome(checks[place], False, "schema", Counts(0), error="there are no rows") for place in slow})
    elif slow:
        by_library = _by_library(context, table, [checks[place] for place in slow])
        outcomes.update(zip(slow, [with_types(outcome, table.types, table.kinds) for outcome in by_library], strict=True))
    return [outcomes[place] for place in range(len(checks))], rows


def with_types(outcome: Outcome, types: Mapping[str, str], kinds: Mapping[str, Kind]) -> Outcome:
    """What the library raised says nothing of the column that it stumbled over, so its type goes before the words."""
    strange = [name for name in outcome.check.columns if kinds[name] in {"string", "boolean", "other"}]
    if not outcome.error or not strange:
        return outcome
    told = ", ".join(f"{name} is {types[name]}" for name in strange)
    return msgspec.structs.replace(outcome, error=f"{told}, which this check does not take ({outcome.error})")


def _by_library(context: Context, table: Table, checks: Sequence[Check]) -> list[Outcome]:
    data = context.config.data
    context.console.say(f"{len(checks)} expectation(s) of {table.label} go to Great Expectations")
    if data.engine == "spark":
        from mlpipeline.adapters.great_expectations.spark import run as run_spark

        return run_spark(table.files, MISSING_TEXTS, checks, data.sample_rows, data.spark)
    from mlpipeline.adapters.great_expectations.engine import run as run_library

    return run_library(table.arrow(_needed(checks)), checks, data.sample_rows)


def _needed(checks: Sequence[Check]) -> tuple[str, ...]:
    """The columns the checks read; none (which means all) when one looks at the whole table or filters rows."""
    if any(not check.columns or "row_condition" in check.kwargs for check in checks):
        return ()
    return tuple(dict.fromkeys(column for check in checks for column in check.columns))


def named(name: str, outcomes: Sequence[Outcome]) -> list[Reason]:
    """A reason for each outcome; the same check of the same columns twice gets a number."""
    seen: dict[str, int] = {}
    reasons = []
    for outcome in outcomes:
        base = f"data.{name}.{outcome.check.type}.{outcome.check.subject}"
        seen[base] = seen.get(base, 0) + 1
        reasons.append(_reason(base if seen[base] == 1 else f"{base}.{seen[base]}", name, outcome))
    return reasons


def _reason(check: str, name: str, outcome: Outcome) -> Reason:
    counts = outcome.counts
    numbers: dict[str, Number] = {"rows": counts.elements}
    if counts.missing is not None:
        numbers["missing"] = counts.missing
    if counts.unexpected is not None:
        numbers["unexpected"] = counts.unexpected
    if isinstance(counts.observed, bool | int | float | str):
        numbers["observed"] = counts.observed
    short = outcome.check.type.removeprefix("expect_").replace("_", " ")
    return Reason(
        check,
        Verdict.PASS if outcome.success else Verdict.FAIL,
        f"{name}: {outcome.check.subject}: {short}{_arguments(outcome.check)}: {_found(outcome)}",
        numbers,
        tuple(f"{value} ({times}x)" for value, times in outcome.sample),
    )


def _arguments(check: Check) -> str:
    shown = {key: value for key, value in check.kwargs.items() if key not in {"column", "column_A", "column_B", "column_list"}}
    text = ", ".join(f"{key}={value}" for key, value in shown.items())
    return f" ({text[:120]}{'...' if len(text) > 120 else ''})" if text else ""


def _of_sets(result: Mapping[str, object]) -> str:
    """What is in one set of values and not in the other."""
    told = []
    for count, values, words in (
        ("unexpected_count", "partial_unexpected_list", "beyond the set"),
        ("missing_count", "partial_missing_list", "of the set missing"),
    ):
        shown = result.get(values)
        if count in result:
            named = f": {', '.join(map(str, shown[:5]))}" if isinstance(shown, list) and shown else ""
            told.append(f"{result[count]} values {words}{named}")
    return ", ".join(told)


def _found(outcome: Outcome) -> str:
    if outcome.error:
        return outcome.error.splitlines()[0][:300]
    counts = outcome.counts
    if counts.unexpected is None and "observed_value" in outcome.result and outcome.result["observed_value"] is None:
        return _of_sets(outcome.result) or "no value"
    if counts.unexpected is None:
        return f"found {counts.observed}" if counts.observed is not None else "no value" if not outcome.success else "holds"
    considered = counts.elements - (counts.missing or 0)
    share = f" ({counts.unexpected / considered:.2%})" if considered else ""
    return f"{counts.unexpected:,} of {considered:,} rows break it{share}"
