"""What is said of expectations that came to nothing."""

from __future__ import annotations

from mlpipeline.core.expectations import Counts, Outcome, check
from mlpipeline.verbs.data_outcomes import with_types


def test_the_type_of_a_column_goes_before_what_the_library_raised() -> None:
    asked = check("expect_column_mean_to_be_between", {"column": "a", "min_value": 0}, source="suite")
    raised = Outcome(asked, False, "gx", Counts(3), error="unsupported operand type(s) for +: 'dict' and 'dict'")
    told = with_types(raised, {"a": "STRUCT(k BIGINT)"}, {"a": "other"}).error
    assert told.startswith("a is STRUCT(k BIGINT), which this check does not take")
    assert "unsupported operand" in told


def test_words_about_numbers_stay_as_they_are() -> None:
    asked = check("expect_column_mean_to_be_between", {"column": "a", "min_value": 0}, source="suite")
    raised = Outcome(asked, False, "gx", Counts(3), error="out of memory")
    assert with_types(raised, {"a": "DOUBLE"}, {"a": "number"}) == raised
