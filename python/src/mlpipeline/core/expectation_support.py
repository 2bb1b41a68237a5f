"""Which expectations one query decides exactly as Great Expectations on pandas. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from mlpipeline.core.expectation_arguments import ARGUMENTS
from mlpipeline.core.expectations import AGGREGATES, Check, Kind

PYTHON_TYPES: Mapping[str, str] = {"int": "int64", "float": "float64"}
"""What Great Expectations takes these names of types for."""
PREDICATES = frozenset(
    {
        "expect_column_values_to_match_strftime_format",
        "expect_column_values_to_be_dateutil_parseable",
        "expect_column_values_to_be_json_parseable",
    }
)
"""Answered by asking Python about each different value once."""

_NUMERIC: frozenset[Kind] = frozenset({"integer", "number", "float32"})
_EXACT: frozenset[Kind] = frozenset({"integer", "number"})
_NUMPY_TYPES = frozenset(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"))
_PAIR_RULES = frozenset({"both_values_are_missing", "either_value_is_missing", "neither"})
_GROUP_RULES = frozenset({"all_values_are_missing", "any_value_is_missing", "never"})
_MOST_MEMBERS = 10_000

_Arguments = Mapping[str, object]
_Kinds = Sequence[Kind]


def answerable(check: Check, kinds: Mapping[str, Kind]) -> bool:
    """Whether the one-query engine decides this check exactly as Great Expectations on pandas.

    There are two exceptions, both where the library is at fault: between, least and greatest are answered for times, where it
    raises, and whole numbers beyond 2^53 are compared exactly, where it compares them as doubles.

    Args:
        kinds: All columns of the table; the check's own columns must be among them.
    """
    arguments = check.kwargs
    known = ARGUMENTS[check.type].required | ARGUMENTS[check.type].optional
    if not set(arguments) <= known - {"row_condition", "condition_parser"}:
        return False
    if isinstance(arguments.get("mostly", 1.0), bool) or not isinstance(arguments.get("mostly", 1.0), int | float):
        return False
    own = [kinds[name] for name in check.columns]
    if check.type in AGGREGATES:
        return _aggregate_fits(AGGREGATES[check.type], arguments, own)
    return check.type in _FITTING and _FITTING[check.type](arguments, own)


def same_in_both_dialects(pattern: str) -> bool:
    """Whether Python's ``re`` and RE2 read the pattern alike: no look-around, back-reference, named group, inline flag,
    possessive quantifier or escape beyond punctuation, ``\\d``, ``\\w``, ``\\s``, ``\\n``, ``\\t``, and only ASCII."""
    if not pattern.isascii() or re.search(r"\(\?(?!:)|\[\[:|[*+?}]\+|&&|--|~~|\|\|", pattern):
        return False
    escapes = re.findall(r"\\(.)", pattern, re.DOTALL)
    return all(character in "dwsDWSnt" or not character.isalnum() for character in escapes) and not re.search(
        r"\{\d{4,}", pattern
    )


def moment(value: object) -> datetime | None:
    """An ISO time or date given as a bound; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _given_bounds(arguments: _Arguments) -> list[object]:
    return [arguments[name] for name in ("min_value", "max_value") if name in arguments]


def _flags(arguments: _Arguments, *names: str) -> bool:
    return all(isinstance(arguments.get(name, False), bool) for name in names)


def _number_bounds(arguments: _Arguments) -> bool:
    return all(_is_number(bound) for bound in _given_bounds(arguments)) and _flags(arguments, "strict_min", "strict_max")


def _time_bounds(arguments: _Arguments) -> bool:
    given = _given_bounds(arguments)
    return bool(given) and all(moment(bound) for bound in given) and _flags(arguments, "strict_min", "strict_max")


def _ordered(arguments: _Arguments) -> bool:
    given = _given_bounds(arguments)
    if len(given) != 2:
        return len(given) == 1
    low, high = given
    if isinstance(low, str) and isinstance(high, str):
        return low <= high
    return isinstance(low, int | float) and isinstance(high, int | float) and low <= high


def _between_fits(arguments: _Arguments, own: _Kinds) -> bool:
    if own[0] == "timestamp":
        return _time_bounds(arguments) and _ordered(arguments)
    return own[0] in _NUMERIC and _number_bounds(arguments) and _ordered(arguments)


def _aggregate_fits(aggregate: str, arguments: _Arguments, own: _Kinds) -> bool:
    if aggregate in {"min", "max"} and own[0] == "timestamp":
        return _time_bounds(arguments)
    if not _number_bounds(arguments):
        return False
    if aggregate in {"rows", "columns", "present_share"}:
        return True
    if aggregate in {"distinct", "distinct_share"}:
        return own[0] != "other"
    return own[0] in _NUMERIC


def _member_fits(value: object, kind: Kind) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return _is_number(value) and isinstance(value, int)
    return kind == "number" and _is_number(value)


def _set_fits(arguments: _Arguments, own: _Kinds) -> bool:
    values = arguments.get("value_set")
    return isinstance(values, list | tuple | set) and all(_member_fits(value, own[0]) for value in values)


def _small_set_fits(arguments: _Arguments, own: _Kinds) -> bool:
    values = arguments.get("value_set")
    return _set_fits(arguments, own) and isinstance(values, list | tuple | set) and 0 < len(values) <= _MOST_MEMBERS


def _most_common_fits(arguments: _Arguments, own: _Kinds) -> bool:
    return own[0] in {"string", *_EXACT} and _small_set_fits(arguments, own) and _flags(arguments, "ties_okay")


def _regex_fits(arguments: _Arguments, own: _Kinds) -> bool:
    return own[0] == "string" and isinstance(arguments.get("regex"), str) and same_in_both_dialects(str(arguments["regex"]))


def _regexes_fit(arguments: _Arguments, own: _Kinds) -> bool:
    patterns = arguments.get("regex_list")
    if own[0] != "string" or not isinstance(patterns, list | tuple) or not patterns:
        return False
    alike = all(isinstance(one, str) and same_in_both_dialects(one) for one in patterns)
    return alike and arguments.get("match_on", "any") in {"any", "all"}


def _pair_fits(arguments: _Arguments, own: _Kinds) -> bool:
    known = arguments.get("ignore_row_if", "both_values_are_missing") in _PAIR_RULES
    return known and len(own) == 2 and set(own) <= _EXACT and _flags(arguments, "or_equal")


def _pairs_fit(arguments: _Arguments, own: _Kinds) -> bool:
    pairs = arguments.get("value_pairs_set")
    if arguments.get("ignore_row_if", "both_values_are_missing") not in _PAIR_RULES or len(own) != 2:
        return False
    return (
        isinstance(pairs, list | tuple)
        and len(pairs) <= _MOST_MEMBERS
        and all(
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and all(_member_fits(value, kind) for value, kind in zip(pair, own, strict=True))
            for pair in pairs
        )
    )


def _group(arguments: _Arguments, own: _Kinds) -> bool:
    known = arguments.get("ignore_row_if", "all_values_are_missing") in _GROUP_RULES
    return known and len(own) > 1 and "other" not in own and _listed_once(arguments)


def _listed_once(arguments: _Arguments) -> bool:
    listed = arguments.get("column_list")
    return isinstance(listed, list | tuple) and len(set(map(str, listed))) == len(listed)


def _sum_fits(arguments: _Arguments, own: _Kinds) -> bool:
    return _group(arguments, own) and set(own) <= {"integer"} and _is_number(arguments.get("sum_total"))


def _numbers_or_texts(arguments: _Arguments, own: _Kinds) -> bool:
    return _group(arguments, own) and (set(own) <= _EXACT or set(own) <= {"string"})


def _type_fits(arguments: _Arguments, own: _Kinds) -> bool:
    return own[0] in _NUMERIC and arguments.get("type_") in _NUMPY_TYPES | set(PYTHON_TYPES)


def _types_fit(arguments: _Arguments, own: _Kinds) -> bool:
    listed = arguments.get("type_list")
    return own[0] in _NUMERIC and isinstance(listed, list | tuple) and set(listed) <= _NUMPY_TYPES | set(PYTHON_TYPES)


def _quantiles_fit(arguments: _Arguments, own: _Kinds) -> bool:
    ranges = arguments.get("quantile_ranges")
    if own[0] not in _EXACT or not isinstance(ranges, Mapping) or arguments.get("allow_relative_error", False) is not False:
        return False
    quantiles, bounds = ranges.get("quantiles"), ranges.get("value_ranges")
    if not isinstance(quantiles, list | tuple) or not isinstance(bounds, list | tuple) or len(quantiles) != len(bounds):
        return False
    shares = all(_is_number(share) and 0 <= share <= 1 for share in quantiles)
    return (
        shares
        and bool(quantiles)
        and all(
            isinstance(pair, list | tuple) and len(pair) == 2 and all(bound is None or _is_number(bound) for bound in pair)
            for pair in bounds
        )
    )


def _always(_: _Arguments, __: _Kinds) -> bool:
    return True


def _count_fits(arguments: _Arguments, _: _Kinds) -> bool:
    return _is_number(arguments.get("value"))


def _texts_fit(arguments: _Arguments, own: _Kinds) -> bool:
    return own[0] == "string" and isinstance(arguments.get("strftime_format", ""), str)


_FITTING: Mapping[str, Callable[[_Arguments, _Kinds], bool]] = {
    "expect_column_to_exist": lambda arguments, _: isinstance(arguments.get("column_index", 0), int),
    "expect_table_row_count_to_equal": _count_fits,
    "expect_table_column_count_to_equal": _count_fits,
    "expect_table_columns_to_match_ordered_list": lambda arguments, _: isinstance(arguments.get("column_list"), list | tuple),
    "expect_table_columns_to_match_set": lambda arguments, _: (
        isinstance(arguments.get("column_set"), list | tuple | set) and _flags(arguments, "exact_match")
    ),
    "expect_column_values_to_not_be_null": _always,
    "expect_column_values_to_be_null": _always,
    "expect_column_values_to_be_unique": lambda _, own: own[0] != "other",
    "expect_column_values_to_be_between": _between_fits,
    "expect_column_value_lengths_to_be_between": lambda arguments, own: (
        own[0] == "string" and _number_bounds(arguments) and _ordered(arguments)
    ),
    "expect_column_value_lengths_to_equal": lambda arguments, own: own[0] == "string" and _is_number(arguments.get("value")),
    "expect_column_values_to_be_in_set": _set_fits,
    "expect_column_values_to_not_be_in_set": _set_fits,
    "expect_column_distinct_values_to_be_in_set": _small_set_fits,
    "expect_column_distinct_values_to_contain_set": _small_set_fits,
    "expect_column_distinct_values_to_equal_set": _small_set_fits,
    "expect_column_most_common_value_to_be_in_set": _most_common_fits,
    "expect_column_values_to_match_regex": _regex_fits,
    "expect_column_values_to_not_match_regex": _regex_fits,
    "expect_column_values_to_match_regex_list": _regexes_fit,
    "expect_column_values_to_not_match_regex_list": _regexes_fit,
    "expect_column_values_to_be_of_type": _type_fits,
    "expect_column_type_to_be": _type_fits,
    "expect_column_values_to_be_in_type_list": _types_fit,
    "expect_column_quantile_values_to_be_between": _quantiles_fit,
    "expect_column_pair_values_a_to_be_greater_than_b": _pair_fits,
    "expect_column_pair_values_to_be_equal": _pair_fits,
    "expect_column_pair_values_to_be_in_set": _pairs_fit,
    "expect_compound_columns_to_be_unique": _group,
    "expect_multicolumn_sum_to_equal": _sum_fits,
    "expect_multicolumn_values_to_be_equal": _numbers_or_texts,
    "expect_select_column_values_to_be_unique_within_record": _numbers_or_texts,
    **dict.fromkeys(PREDICATES, _texts_fit),
}
"""Whether arguments and kinds of columns are ones that are read alike."""
