"""Expectations of data: their normal form, and the verdict from counts.

Pure. The decisions are those of Great Expectations 1.x on pandas, so that both engines say the same of the same data;
``tests/python/properties/test_expectation_engines.py`` holds them to it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from mlpipeline.core.expectation_arguments import ARGUMENTS, COMMON, ENTRY
from mlpipeline.errors import ConfigurationError

Kind = Literal["integer", "number", "float32", "string", "boolean", "timestamp", "other"]
"""What a column holds, as far as the one-query engine cares. ``float32`` compares differently from ``number``."""

KNOWN = frozenset(ARGUMENTS)
"""The core expectations of Great Expectations 1.x."""

NULLNESS = frozenset({"expect_column_values_to_not_be_null", "expect_column_values_to_be_null"})
ROW_WISE = NULLNESS | {
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_not_be_in_set",
    "expect_column_values_to_match_regex",
    "expect_column_values_to_not_match_regex",
    "expect_column_value_lengths_to_be_between",
    "expect_column_value_lengths_to_equal",
    "expect_column_values_to_be_unique",
    "expect_compound_columns_to_be_unique",
    "expect_column_pair_values_a_to_be_greater_than_b",
    "expect_column_pair_values_to_be_equal",
    "expect_column_pair_values_to_be_in_set",
    "expect_multicolumn_sum_to_equal",
    "expect_multicolumn_values_to_be_equal",
    "expect_select_column_values_to_be_unique_within_record",
    "expect_column_values_to_match_regex_list",
    "expect_column_values_to_not_match_regex_list",
    "expect_column_values_to_match_strftime_format",
    "expect_column_values_to_be_dateutil_parseable",
    "expect_column_values_to_be_json_parseable",
}
"""Answered by counting the rows that break them."""

AGGREGATES: Mapping[str, str] = {
    "expect_column_mean_to_be_between": "mean",
    "expect_column_median_to_be_between": "median",
    "expect_column_stdev_to_be_between": "stdev",
    "expect_column_sum_to_be_between": "sum",
    "expect_column_min_to_be_between": "min",
    "expect_column_max_to_be_between": "max",
    "expect_column_unique_value_count_to_be_between": "distinct",
    "expect_column_proportion_of_unique_values_to_be_between": "distinct_share",
    "expect_column_proportion_of_non_null_values_to_be_between": "present_share",
    "expect_table_row_count_to_be_between": "rows",
    "expect_table_column_count_to_be_between": "columns",
}
"""Answered by comparing one number with bounds."""


class Check(msgspec.Struct, frozen=True):
    """One expectation in the form of Great Expectations' own JSON, arguments without nulls."""

    type: str
    kwargs: dict[str, object]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads; ``expect_column_to_exist`` reads none."""
        if self.type == "expect_column_to_exist":
            return ()
        named = [self.kwargs.get(key) for key in ("column", "column_A", "column_B")]
        listed = self.kwargs.get("column_list")
        if isinstance(listed, Sequence) and not isinstance(listed, str) and not self.type.startswith("expect_table_"):
            named.extend(listed)
        return tuple(dict.fromkeys(str(name) for name in named if name is not None))

    @property
    def subject(self) -> str:
        """What it is about, for names of reasons: its columns joined by ``+``, or ``table``."""
        return "+".join(self.columns) or str(self.kwargs.get("column", "table"))

    @property
    def mostly(self) -> float:
        value = self.kwargs.get("mostly", 1.0)
        return float(value) if isinstance(value, int | float) else 1.0


class Counts(msgspec.Struct, frozen=True):
    """What an engine measured for one check.

    Args:
        elements: Rows of the table.
        missing: Rows left out because the value is missing; absent where missing values are what is checked.
        unexpected: Rows that break the check; absent for checks of one number.
        observed: The number, name or list compared.
        success: The verdict, where it does not follow from the numbers above.
        details: What a result says besides, in the words of Great Expectations.
    """

    elements: int
    missing: int | None = None
    unexpected: int | None = None
    observed: object = None
    success: bool | None = None
    details: dict[str, object] = {}


class Outcome(msgspec.Struct, frozen=True):
    """How one check came out.

    Args:
        sample: Failing values (as text) with how often they occur.
        error: Why it could not be answered at all.
        result: The same in the words of Great Expectations' own results.
    """

    check: Check
    success: bool
    engine: str
    counts: Counts
    sample: tuple[tuple[str, int], ...] = ()
    error: str = ""
    result: dict[str, object] = {}


def check(kind: str, arguments: Mapping[str, object], *, source: str) -> Check:
    """The normal form of one expectation; an unknown type is a ConfigurationError that names the nearest one."""
    if kind not in KNOWN:
        near = difflib.get_close_matches(kind, KNOWN, n=1, cutoff=0.0)
        raise ConfigurationError(
            f"there is no expectation {kind!r}",
            facts={"file": source, "nearest": near[0]},
            likely="a misspelt name, or an expectation that Great Expectations 1.x dropped",
            tries=(f"write {near[0]}",),
        )
    kept = {name: value for name, value in arguments.items() if value is not None}
    _refuse_unknown(set(arguments) - COMMON, ARGUMENTS[kind].required | ARGUMENTS[kind].optional, f"{kind} takes no", source)
    absent = sorted(ARGUMENTS[kind].required - set(kept))
    if absent:
        raise ConfigurationError(f"{kind} lacks {absent[0]}", facts={"file": source, "given": ", ".join(kept) or "nothing"})
    mostly = kept.get("mostly", 1.0)
    if isinstance(mostly, int | float) and not 0 <= mostly <= 1:
        raise ConfigurationError(
            f"mostly is {mostly}, but it is a share between 0 and 1", facts={"file": source, "expectation": kind}
        )
    for pattern in (kept.get("regex"), *_items(kept.get("regex_list"))):
        if isinstance(pattern, str):
            _compile(pattern, source)
    return Check(kind, kept)


def _refuse_unknown(given: set[str], known: Iterable[str], what: str, source: str) -> None:
    """Great Expectations passes over some misspelt names, and then expects less than was written down."""
    strange = sorted(given - set(known))
    if strange:
        near = nearest(strange[0], known)
        raise ConfigurationError(
            f"{what} {strange[0]!r}",
            facts={"file": source, "known": ", ".join(sorted(known))},
            tries=(f"write {near}",) if near else (),
        )


_SMALLEST_SUITE = '{"name": "...", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "..."}}]}'


def parse_suite(content: bytes, source: str) -> tuple[Check, ...]:
    """The checks of a Great Expectations 1.x suite file. Raises ConfigurationError for anything else."""
    try:
        suite = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise ConfigurationError("the expectation suite is not JSON", facts={"file": source, "found": error}) from error
    entries = suite.get("expectations") if isinstance(suite, dict) else None
    if not isinstance(entries, list):
        raise ConfigurationError(
            "the expectation suite has no list of expectations",
            facts={"file": source},
            tries=(_SMALLEST_SUITE,),
        )
    if not entries:
        raise ConfigurationError(
            "the expectation suite has no expectations, so it could never stop anything",
            facts={"file": source},
            tries=(_SMALLEST_SUITE, "leave suite out of the configuration"),
        )
    checks = []
    for number, entry in enumerate(entries, start=1):
        where = f"{source}, expectation {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str) or not isinstance(entry.get("kwargs", {}), dict):
            old = isinstance(entry, dict) and "expectation_type" in entry
            raise ConfigurationError(
                "an expectation has no type",
                facts={"file": where},
                likely="the suite was written by Great Expectations 0.x"
                if old
                else "the entry is not an object with type and kwargs",
                tries=("write it with Great Expectations 1.x: 'type' instead of 'expectation_type'",),
            )
        _refuse_unknown(set(entry), ENTRY, "an expectation has no key", where)
        checks.append(check(entry["type"], entry.get("kwargs", {}), source=where))
    return tuple(checks)


def from_inline(rules: Mapping[str, object], source: str) -> tuple[Check, ...]:
    """The short form as expectations, one for each rule.

    Args:
        rules: The set fields of one ``expect`` entry (``column``, ``not_null``, ``unique``, ``between``, ``in_set``,
            ``matches``, ``mean_between``, ``rows_between``, ``mostly``). ``type`` is a rule of the schema, not of rows.
        source: Where it stands, for messages.
    """
    column = str(rules.get("column") or "")
    made: list[tuple[str, dict[str, object]]] = []
    row_wise: dict[str, object] = {"column": column}
    if rules.get("mostly", 1.0) != 1.0:
        row_wise["mostly"] = rules["mostly"]
    if rules.get("not_null"):
        made.append(("expect_column_values_to_not_be_null", row_wise))
    if rules.get("unique"):
        made.append(("expect_column_values_to_be_unique", row_wise))
    if (bounds := rules.get("between")) is not None:
        made.append(("expect_column_values_to_be_between", {**row_wise, **_bounds(bounds, "between", source)}))
    if rules.get("in_set"):
        made.append(("expect_column_values_to_be_in_set", {**row_wise, "value_set": list(_items(rules["in_set"]))}))
    if rules.get("matches"):
        made.append(("expect_column_values_to_match_regex", {**row_wise, "regex": rules["matches"]}))
    if (bounds := rules.get("mean_between")) is not None:
        made.append(("expect_column_mean_to_be_between", {"column": column, **_bounds(bounds, "mean_between", source)}))
    needs_column = bool(made) or bool(rules.get("type"))
    if (bounds := rules.get("rows_between")) is not None:
        made.append(("expect_table_row_count_to_be_between", _bounds(bounds, "rows_between", source)))
    if needs_column and not column:
        raise ConfigurationError(
            "an expectation names no column", facts={"file": source}, tries=("- column: amount\n  between: [0, 100]",)
        )
    if column and not needs_column:
        made.append(("expect_column_to_exist", {"column": column}))
    if not made and not needs_column:
        raise ConfigurationError(
            "an expectation has no rule",
            facts={"file": source},
            tries=("- column: amount\n  not_null: true", "- rows_between: [1, null]"),
        )
    return tuple(check(kind, arguments, source=source) for kind, arguments in made)


def decide(check: Check, counts: Counts) -> bool:
    """Success from counts, as Great Expectations decides: missing values do not count for or against row-wise checks,
    nothing left to look at satisfies them, and a number that does not exist (mean of nothing) is outside all bounds."""
    if counts.success is not None:
        return counts.success
    if check.type in NULLNESS:
        return counts.elements == 0 or _share(counts.elements, counts.unexpected) >= check.mostly
    if check.type in ROW_WISE:
        considered = counts.elements - (counts.missing or 0)
        return considered <= 0 or _share(considered, counts.unexpected) >= check.mostly
    observed = counts.observed
    if check.type in AGGREGATES:
        return observed is not None and not math.isnan(float(str(observed))) and _inside(float(str(observed)), check.kwargs)
    if "value" in check.kwargs:
        return observed == check.kwargs["value"]
    raise ValueError(f"{check.type} is not decided from counts")


def missing_columns(check: Check, columns: Iterable[str]) -> tuple[str, ...]:
    """The columns the check reads and the table has not."""
    present = set(columns)
    return tuple(name for name in check.columns if name not in present)


def nearest(name: str, names: Iterable[str]) -> str:
    """The most similar of the names, or an empty text."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), "")


def _compile(pattern: str, source: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(
            f"the regular expression {pattern!r} is not valid", facts={"file": source, "found": error}
        ) from error


def _bounds(value: object, rule: str, source: str) -> dict[str, object]:
    low, high = _items(value)
    if low is None and high is None:
        raise ConfigurationError(f"{rule} has no bound", facts={"file": source}, tries=(f"{rule}: [0, null]",))
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise ConfigurationError(f"{rule} can never hold: {low} is more than {high}", facts={"file": source})
    return {name: bound for name, bound in (("min_value", low), ("max_value", high)) if bound is not None}


def _items(value: object) -> Sequence[object]:
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else ()


def _share(considered: int, unexpected: int | None) -> float:
    return (considered - (unexpected or 0)) / considered


def _inside(value: float, arguments: Mapping[str, object]) -> bool:
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if isinstance(low, int | float) and (value <= low if arguments.get("strict_min") else value < low):
        return False
    return not (isinstance(high, int | float) and (value >= high if arguments.get("strict_max") else value > high))
