"""Expectations of data: their normal form, which ones one query can answer, and the verdict from counts.

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

from mlpipeline.errors import ConfigurationError

Kind = Literal["integer", "number", "float32", "string", "boolean", "timestamp", "other"]
"""What a column holds, as far as the one-query engine cares. ``float32`` compares differently from ``number``."""

_NUMERIC = frozenset({"integer", "number"})

KNOWN = frozenset(
    {
        "expect_column_distinct_values_to_be_in_set",
        "expect_column_distinct_values_to_contain_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_kl_divergence_to_be_less_than",
        "expect_column_max_to_be_between",
        "expect_column_mean_to_be_between",
        "expect_column_median_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_most_common_value_to_be_in_set",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_quantile_values_to_be_between",
        "expect_column_stdev_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_to_exist",
        "expect_column_type_to_be",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_value_z_scores_to_be_less_than",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_dateutil_parseable",
        "expect_column_values_to_be_decreasing",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_in_type_list",
        "expect_column_values_to_be_increasing",
        "expect_column_values_to_be_json_parseable",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_of_type",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_match_json_schema",
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_match_like_pattern_list",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_match_strftime_format",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_be_outliers",
        "expect_column_values_to_not_match_like_pattern",
        "expect_column_values_to_not_match_like_pattern_list",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_compound_columns_to_be_unique",
        "expect_multicolumn_sum_to_equal",
        "expect_multicolumn_values_to_be_equal",
        "expect_query_results_to_match_comparison",
        "expect_select_column_values_to_be_unique_within_record",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_columns_to_match_set",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
        "expect_table_row_count_to_equal_other_table",
    }
)
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

_TABLE = {
    "expect_column_to_exist",
    "expect_table_row_count_to_equal",
    "expect_table_column_count_to_equal",
    "expect_table_columns_to_match_ordered_list",
}
_NUMPY_TYPES = frozenset(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"))
_BOUNDS = {"min_value", "max_value", "strict_min", "strict_max"}
_OWN_ARGUMENTS: Mapping[str, set[str]] = {
    "expect_column_values_to_be_between": _BOUNDS,
    "expect_column_value_lengths_to_be_between": _BOUNDS,
    "expect_column_value_lengths_to_equal": {"value"},
    "expect_column_values_to_be_in_set": {"value_set"},
    "expect_column_values_to_not_be_in_set": {"value_set"},
    "expect_column_values_to_match_regex": {"regex"},
    "expect_column_values_to_not_match_regex": {"regex"},
    "expect_compound_columns_to_be_unique": {"column_list", "ignore_row_if"},
    "expect_column_pair_values_a_to_be_greater_than_b": {"column_A", "column_B", "or_equal", "ignore_row_if"},
    "expect_column_pair_values_to_be_equal": {"column_A", "column_B", "ignore_row_if"},
    "expect_column_values_to_be_of_type": {"type_"},
    "expect_table_row_count_to_equal": {"value"},
    "expect_table_column_count_to_equal": {"value"},
    "expect_table_columns_to_match_ordered_list": {"column_list"},
    **dict.fromkeys(AGGREGATES, _BOUNDS),
    "expect_table_column_count_to_be_between": {"min_value", "max_value"},
}
_OPTIONAL = _BOUNDS | {"ignore_row_if", "or_equal"}
_ALWAYS_ALLOWED = {"column", "mostly"}


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
    """

    elements: int
    missing: int | None = None
    unexpected: int | None = None
    observed: object = None


class Outcome(msgspec.Struct, frozen=True):
    """How one check came out. ``sample`` pairs failing values (as text) with how often they occur."""

    check: Check
    success: bool
    engine: str
    counts: Counts
    sample: tuple[tuple[str, int], ...] = ()
    error: str = ""


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
    absent = sorted(_required(kind) - set(kept))
    if absent:
        raise ConfigurationError(f"{kind} lacks {absent[0]}", facts={"file": source, "given": ", ".join(kept) or "nothing"})
    mostly = kept.get("mostly", 1.0)
    if isinstance(mostly, int | float) and not 0 <= mostly <= 1:
        raise ConfigurationError(
            f"mostly is {mostly}, but it is a share between 0 and 1", facts={"file": source, "expectation": kind}
        )
    if kind.endswith("_regex"):
        _compile(str(kept.get("regex", "")), source)
    return Check(kind, kept)


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


def answerable(check: Check, kinds: Mapping[str, Kind]) -> bool:
    """Whether the one-query engine decides this check exactly as Great Expectations on pandas.

    Args:
        kinds: All columns of the table; the check's own columns must be among them.
    """
    arguments = check.kwargs
    if isinstance(arguments.get("mostly", 1.0), bool) or not isinstance(arguments.get("mostly", 1.0), int | float):
        return False
    if not set(arguments) <= _OWN_ARGUMENTS.get(check.type, set()) | _ALWAYS_ALLOWED:
        return False
    own = [kinds[name] for name in check.columns]
    if check.type in _TABLE:
        return True
    if check.type in AGGREGATES:
        return _number_bounds(arguments) and _aggregate_kinds(AGGREGATES[check.type], own)
    return check.type in _ANSWERABLE_KINDS and _ANSWERABLE_KINDS[check.type](arguments, own)


def decide(check: Check, counts: Counts) -> bool:
    """Success from counts, as Great Expectations decides: missing values do not count for or against row-wise checks,
    nothing left to look at satisfies them, and a number that does not exist (mean of nothing) is outside all bounds."""
    if check.type in NULLNESS:
        return counts.elements == 0 or _share(counts.elements, counts.unexpected) >= check.mostly
    if check.type in ROW_WISE:
        considered = counts.elements - (counts.missing or 0)
        return considered <= 0 or _share(considered, counts.unexpected) >= check.mostly
    observed = counts.observed
    if check.type in AGGREGATES:
        return observed is not None and not math.isnan(float(str(observed))) and _inside(float(str(observed)), check.kwargs)
    if check.type == "expect_column_to_exist":
        return bool(observed)
    for argument in ("type_", "column_list", "value"):
        if argument in check.kwargs:
            return observed == check.kwargs[argument]
    raise ValueError(f"{check.type} is not decided from counts")


def missing_columns(check: Check, columns: Iterable[str]) -> tuple[str, ...]:
    """The columns the check reads and the table has not."""
    present = set(columns)
    return tuple(name for name in check.columns if name not in present)


def nearest(name: str, names: Iterable[str]) -> str:
    """The most similar of the names, or an empty text."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), "")


def same_in_both_dialects(pattern: str) -> bool:
    """Whether Python's ``re`` and RE2 read the pattern alike: no look-around, back-reference, named group, inline flag,
    possessive quantifier or escape beyond punctuation, ``\\d``, ``\\w``, ``\\s``, ``\\n``, ``\\t``, and only ASCII."""
    if not pattern.isascii() or re.search(r"\(\?(?!:)|\[\[:|[*+?}]\+|&&|--|~~|\|\|", pattern):
        return False
    escapes = re.findall(r"\\(.)", pattern, re.DOTALL)
    return all(character in "dwsDWSnt" or not character.isalnum() for character in escapes) and not re.search(
        r"\{\d{4,}", pattern
    )


def _required(kind: str) -> set[str]:
    """The arguments without which a check means nothing; the library looks after those of the rarer ones."""
    needed = _OWN_ARGUMENTS.get(kind, set()) - _OPTIONAL
    alone = kind.startswith("expect_column_") and not kind.startswith("expect_column_pair_")
    return needed | {"column"} if alone else needed


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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53


def _number_bounds(arguments: Mapping[str, object]) -> bool:
    given = [arguments[name] for name in ("min_value", "max_value") if name in arguments]
    return all(_is_number(bound) for bound in given)


def _ordered_bounds(arguments: Mapping[str, object]) -> bool:
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if low is None and high is None:
        return False
    return _number_bounds(arguments) and not (isinstance(low, int | float) and isinstance(high, int | float) and low > high)


def _aggregate_kinds(aggregate: str, own: Sequence[Kind]) -> bool:
    if aggregate in {"rows", "columns", "present_share"}:
        return True
    if aggregate in {"distinct", "distinct_share"}:
        return own[0] != "other"
    return own[0] in _NUMERIC


def _values_fit(arguments: Mapping[str, object], own: Sequence[Kind]) -> bool:
    if not isinstance(arguments.get("value_set"), list | tuple | set):
        return False
    values = _items(arguments["value_set"])
    if own[0] == "string":
        return all(isinstance(value, str) for value in values)
    if own[0] == "boolean":
        return all(isinstance(value, bool) for value in values)
    if own[0] == "integer":
        return all(_is_number(value) and isinstance(value, int) for value in values)
    return own[0] == "number" and all(_is_number(value) for value in values)


def _regex_fits(arguments: Mapping[str, object], own: Sequence[Kind]) -> bool:
    return own[0] == "string" and isinstance(arguments.get("regex"), str) and same_in_both_dialects(str(arguments["regex"]))


def _pair_fits(arguments: Mapping[str, object], own: Sequence[Kind]) -> bool:
    known = arguments.get("ignore_row_if", "both_values_are_missing") in {
        "both_values_are_missing",
        "either_value_is_missing",
        "neither",
    }
    return known and len(own) == 2 and (set(own) <= _NUMERIC)


def _compound_fits(arguments: Mapping[str, object], own: Sequence[Kind]) -> bool:
    known = arguments.get("ignore_row_if", "all_values_are_missing") in {
        "all_values_are_missing",
        "any_value_is_missing",
        "never",
    }
    return known and len(own) > 1 and "other" not in own


_ANSWERABLE_KINDS = {
    "expect_column_values_to_not_be_null": lambda arguments, own: True,  # noqa: ARG005
    "expect_column_values_to_be_null": lambda arguments, own: True,  # noqa: ARG005
    "expect_column_values_to_be_unique": lambda arguments, own: own[0] != "other",  # noqa: ARG005
    "expect_column_values_to_be_between": lambda arguments, own: own[0] in _NUMERIC and _ordered_bounds(arguments),
    "expect_column_value_lengths_to_be_between": lambda arguments, own: own[0] == "string" and _ordered_bounds(arguments),
    "expect_column_value_lengths_to_equal": lambda arguments, own: own[0] == "string" and _is_number(arguments.get("value")),
    "expect_column_values_to_be_in_set": _values_fit,
    "expect_column_values_to_not_be_in_set": _values_fit,
    "expect_column_values_to_match_regex": _regex_fits,
    "expect_column_values_to_not_match_regex": _regex_fits,
    "expect_column_values_to_be_of_type": lambda arguments, own: (
        own[0] in _NUMERIC | {"float32"} and arguments.get("type_") in _NUMPY_TYPES
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": _pair_fits,
    "expect_column_pair_values_to_be_equal": _pair_fits,
    "expect_compound_columns_to_be_unique": _compound_fits,
}
