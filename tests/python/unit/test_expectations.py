"""Normal form, translation, support and verdicts of expectations."""

from __future__ import annotations

import json
import sys

import pytest

from mlpipeline.core.data_schema import check_schema
from mlpipeline.core.expectation_support import answerable, same_in_both_dialects
from mlpipeline.core.expectations import (
    Check,
    Counts,
    check,
    decide,
    from_inline,
    missing_columns,
    parse_suite,
)
from mlpipeline.errors import ConfigurationError

KINDS = {"n": "integer", "x": "number", "f": "float32", "s": "string", "t": "timestamp"}


def test_each_inline_rule_becomes_one_expectation() -> None:
    rules = {
        "column": "n",
        "not_null": True,
        "unique": True,
        "between": [0, None],
        "in_set": [1, 2],
        "mostly": 0.9,
        "mean_between": [1, 2],
    }
    assert from_inline(rules, "here") == (
        Check("expect_column_values_to_not_be_null", {"column": "n", "mostly": 0.9}),
        Check("expect_column_values_to_be_unique", {"column": "n", "mostly": 0.9}),
        Check("expect_column_values_to_be_between", {"column": "n", "mostly": 0.9, "min_value": 0}),
        Check("expect_column_values_to_be_in_set", {"column": "n", "mostly": 0.9, "value_set": [1, 2]}),
        Check("expect_column_mean_to_be_between", {"column": "n", "min_value": 1, "max_value": 2}),
    )


def test_rows_between_needs_no_column() -> None:
    assert from_inline({"rows_between": [1, None]}, "") == (Check("expect_table_row_count_to_be_between", {"min_value": 1}),)


def test_a_bare_column_must_exist() -> None:
    assert from_inline({"column": "n"}, "") == (Check("expect_column_to_exist", {"column": "n"}),)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({}, "no rule"),
        ({"not_null": True}, "no column"),
        ({"type": "integer"}, "no column"),
        ({"column": "n", "between": [None, None]}, "no bound"),
        ({"column": "n", "between": [3, 1]}, "can never hold"),
        ({"column": "s", "matches": "("}, "regular expression"),
    ],
)
def test_impossible_inline_rules_are_refused(rules: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        from_inline(rules, "data.files.train.expect[0]")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[]", "no list of expectations"),
        (json.dumps({"name": "s", "expectations": []}), "could never stop anything"),
        (json.dumps({"expectations": [{"expectation_type": "expect_column_to_exist"}]}), "no type"),
        (json.dumps({"expectations": [{"type": "expect_colum_to_exist", "kwargs": {"column": "n"}}]}), "no expectation"),
        (json.dumps({"expectations": [{"type": "expect_column_to_exist", "kwargs": {}}]}), "lacks column"),
        (
            json.dumps({"expectations": [{"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "n"}}]}),
            "lacks value_set",
        ),
    ],
)
def test_broken_suites_are_refused(content: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_suite(content.encode(), "suite.json")


def _check(kind: str, **arguments: object) -> Check:
    return check(f"expect_column_{kind}", arguments, source="test")


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (_check("values_to_be_between", column="n", min_value=1), True),
        (_check("values_to_be_between", column="f", min_value=1), True),
        (_check("values_to_be_between", column="s", min_value=1), False),
        (_check("values_to_be_between", column="t", min_value="2013-01-01"), True),
        (_check("values_to_be_between", column="n"), False),
        (_check("values_to_be_between", column="n", min_value=1, row_condition="x > 1"), False),
        (_check("values_to_be_in_set", column="s", value_set=["a"]), True),
        (_check("values_to_be_in_set", column="s", value_set=[1]), False),
        (_check("values_to_be_in_set", column="n", value_set=[2**60]), True),
        (_check("values_to_match_regex", column="s", regex="^a+$"), True),
        (_check("values_to_match_regex", column="s", regex="(?=a)b"), False),
        (_check("values_to_not_be_null", column="t", mostly={"$PARAMETER": "m"}), False),
        (_check("values_to_be_increasing", column="n"), False),
    ],
)
def test_only_what_is_exact_is_answered_by_one_query(asked: Check, answered: bool) -> None:
    assert answerable(asked, KINDS) is answered  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", [r"(a)\1", r"\Aab", "(?i)a", "a++", "[[:alpha:]]", "é", r"\bx", "(?<!a)b", "a{2000}"])
def test_patterns_that_engines_may_read_differently_go_to_the_library(pattern: str) -> None:
    assert not same_in_both_dialects(pattern)


@pytest.mark.parametrize(
    ("counts", "mostly", "success"),
    [
        (Counts(10, 0, 0), 1.0, True),
        (Counts(10, 0, 1), 1.0, False),
        (Counts(10, 0, 1), 0.9, True),
        (Counts(10, 5, 1), 0.9, False),
        (Counts(10, 10, 0), 1.0, True),
        (Counts(0, 0, 0), 1.0, True),
    ],
)
def test_missing_values_count_neither_for_nor_against(counts: Counts, mostly: float, success: bool) -> None:
    assert decide(_check("values_to_be_between", column="n", min_value=0, mostly=mostly), counts) is success


@pytest.mark.parametrize("observed", [None, float("nan"), 0.9, 3.1])
def test_a_number_that_does_not_exist_or_lies_outside_fails(observed: float | None) -> None:
    asked = _check("mean_to_be_between", column="n", min_value=1, max_value=3)
    assert decide(asked, Counts(5, observed=observed)) is False
    assert decide(asked, Counts(5, observed=3)) is True


def test_strict_bounds_exclude_themselves() -> None:
    assert not decide(_check("max_to_be_between", column="n", max_value=3, strict_max=True), Counts(5, observed=3))


def test_columns_a_check_reads() -> None:
    assert missing_columns(_check("pair_values_to_be_equal", column_A="a", column_B="n"), KINDS) == ("a",)
    assert missing_columns(_check("to_exist", column="a"), KINDS) == ()


def test_schema_findings() -> None:
    found = check_schema(
        {"n": "number", "s": "integer", "nn": "string"}, {"n": "integer", "s": "string"}, extra="allow", source="here"
    )
    assert [finding.holds for finding in found] == [True, False, False]
    assert found[2].summary == "column nn is missing; did you mean n?"
    with pytest.raises(ConfigurationError) as caught:
        check_schema({"n": "integr"}, {}, extra="allow", source="here")
    assert caught.value.tries == ("n: integer",)


def test_the_core_imports_no_engine() -> None:
    import subprocess

    code = "import sys, mlpipeline.core.expectations; assert not {'duckdb', 'great_expectations', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
