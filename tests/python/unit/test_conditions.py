"""Conditions: the semantics Argo Rollouts users know, as a decision table, and each fail-open corner as a test."""

from __future__ import annotations

import pytest

from mlpipeline.core.conditions import UNTIL_THE_END, ConditionPlan, ConditionState, Measurement, measure, parse
from mlpipeline.core.verdict import Verdict

PASS, FAIL, INCONCLUSIVE, ERROR = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR
LOW, HIGH, MIDDLE, NAN, EMPTY = ("0.01",), ("0.9",), ("0.3",), ("nan",), ()
GOOD, BAD = "result < 0.1", "result > 0.5"


def condition(success: str = "", failure: str = "", **fields: object) -> ConditionPlan:
    return ConditionPlan("errors", "query", success, failure, **fields)  # type: ignore[arg-type]


def after(plan: ConditionPlan, *measurements: Measurement) -> ConditionState:
    state = ConditionState(plan)
    state.start(0.0)
    for number, measurement in enumerate(measurements):
        state.add(float(number), measurement)
    return state


def values(*found: tuple[str, ...]) -> list[Measurement]:
    return [Measurement(value) for value in found]


BROKEN = Measurement(error="Prometheus cannot be reached")


@pytest.mark.parametrize(
    ("success", "failure", "found", "verdict"),
    [
        (GOOD, "", LOW, PASS),
        (GOOD, "", MIDDLE, FAIL),
        ("", BAD, LOW, PASS),
        ("", BAD, HIGH, FAIL),
        (GOOD, BAD, LOW, PASS),
        (GOOD, BAD, MIDDLE, INCONCLUSIVE),
        (GOOD, BAD, HIGH, FAIL),
        ("result < 1", BAD, HIGH, FAIL),
        ("result[0] < 0.1 && result[1] < 0.1", "", ("0.01", "0.02"), PASS),
        ("result[0] < 0.1 || !(result[1] < 0.1)", "", ("0.5", "0.01"), FAIL),
        ("len(result) == 2", "", ("1", "2"), PASS),
        ("result * 2 - 1 <= -0.5 and result / 2 != 7", "", ("0.2",), PASS),
        ("0 < result < 0.1", "", LOW, PASS),
    ],
)
def test_the_decision_table(success: str, failure: str, found: tuple[str, ...], verdict: Verdict) -> None:
    assert measure(condition(success, failure), Measurement(found)) is verdict


@pytest.mark.parametrize(
    "found", [NAN, EMPTY, ("inf",), ("-inf",), ("0.01", "0.02")], ids=["nan", "empty", "inf", "-inf", "two series"]
)
@pytest.mark.parametrize(("success", "failure"), [(GOOD, ""), ("", BAD), (GOOD, BAD)])
def test_silence_nan_and_ambiguity_never_pass_and_never_fail(success: str, failure: str, found: tuple[str, ...]) -> None:
    assert measure(condition(success, failure), Measurement(found)) is INCONCLUSIVE


@pytest.mark.parametrize(
    ("policy", "found", "verdict"),
    [
        ({"nan": "fail"}, NAN, FAIL),
        ({"nan": "pass"}, NAN, PASS),
        ({"nan": "pass"}, ("0.01", "nan"), INCONCLUSIVE),
        ({"nan": "pass", "several": "every"}, ("0.01", "nan"), PASS),
        ({"infinity": "fail"}, ("inf",), FAIL),
        ({"infinity": "number"}, ("-inf",), PASS),
        ({"infinity": "number"}, ("inf",), FAIL),
        ({"infinity": "pass"}, EMPTY, INCONCLUSIVE),
        ({"empty": "fail"}, EMPTY, FAIL),
        ({"empty": "pass"}, EMPTY, PASS),
        ({"empty": "zero"}, EMPTY, PASS),
        ({"several": "fail"}, ("0.01", "0.02"), FAIL),
        ({"several": "pass"}, ("0.9", "0.9"), PASS),
        ({"several": "every"}, ("0.01", "0.02"), PASS),
        ({"several": "every"}, ("0.01", "0.9"), FAIL),
        ({"several": "every"}, ("0.01", "0.3"), INCONCLUSIVE),
        ({"several": "any"}, ("0.9", "0.01"), PASS),
        ({"several": "any"}, ("0.9", "0.9"), FAIL),
        ({"several": "every"}, ("0.01", "nan"), INCONCLUSIVE),
        ({"several": "every", "nan": "pass", "infinity": "fail"}, ("nan", "inf"), FAIL),
        ({"nan": "pass"}, ("nan", "inf"), INCONCLUSIVE),
    ],
)
def test_each_corner_has_a_policy_of_its_own(policy: dict[str, str], found: tuple[str, ...], verdict: Verdict) -> None:
    assert measure(condition(GOOD, BAD, **policy), Measurement(found)) is verdict


@pytest.mark.parametrize(
    ("plan", "found", "verdict"),
    [
        (condition("", BAD, several="every", nan="pass"), ("nan", "0.9"), FAIL),
        (condition("", BAD, several="every"), ("nan", "0.9"), FAIL),
        (condition("", BAD, several="any", nan="pass"), ("nan", "0.9"), FAIL),
        (condition("", BAD, several="every", infinity="pass"), ("inf", "0.9"), FAIL),
        (condition("result < .5", "len(result) > 3", several="pass"), ("0.1",) * 4, FAIL),
        (condition("", "result > .5 || len(result) > 1", several="every"), ("0.1", "0.2"), FAIL),
        (condition("", "result > .5 || len(result) > 1", several="any", nan="pass"), ("nan", "nan"), FAIL),
        (condition("", "len(result) < 2", empty="pass"), EMPTY, FAIL),
        (condition("1 / result < 5", "result < .5"), ("0",), FAIL),
        (condition("result[1] < .5", "result[0] > .5"), HIGH, FAIL),
        (condition("", "result[0] > .5 || result[1] > .5"), HIGH, FAIL),
        (condition("", "result[1] > .5 || result[0] > .5"), HIGH, FAIL),
        (condition("result[0] < .5", ""), ("0.9", "nan"), FAIL),
    ],
)
def test_no_policy_and_nothing_that_cannot_be_computed_hides_a_failure(
    plan: ConditionPlan, found: tuple[str, ...], verdict: Verdict
) -> None:
    assert measure(plan, Measurement(found)) is verdict


@pytest.mark.parametrize(
    ("plan", "found", "verdict"),
    [
        (condition("len(result) == 1 || result[1] < .5"), HIGH, PASS),
        (condition("", "len(result) > 1 && result[1] > .5"), LOW, PASS),
        (condition("", "result[0] > .5 || result[1] > .5"), LOW, INCONCLUSIVE),
        (condition("result[0] + result[5] < 1", nan="pass"), NAN, INCONCLUSIVE),
        (condition("", "result / result > 1", infinity="number"), ("inf",), INCONCLUSIVE),
        (condition("", "result[0] > .5", nan="inconclusive"), ("0.1", "nan"), INCONCLUSIVE),
        (condition("result[0] < .5", BAD, several="pass"), ("0.1", "0.9"), PASS),
        (condition("result[0] < .5", BAD), ("0.1", "0.9"), INCONCLUSIVE),
        (condition("result[0] < .5", BAD, several="fail"), ("0.1", "0.9"), FAIL),
        (condition("result[len(result) - 1] < .5"), ("0.9", "0.1"), PASS),
        (condition("result[result] < .5"), LOW, INCONCLUSIVE),
    ],
)
def test_what_is_unknown_counts_only_where_the_verdict_depends_on_it(
    plan: ConditionPlan, found: tuple[str, ...], verdict: Verdict
) -> None:
    assert measure(plan, Measurement(found)) is verdict


@pytest.mark.parametrize(
    ("policy", "age", "verdict"),
    [
        ({}, 121.0, INCONCLUSIVE),
        ({}, 120.0, PASS),
        ({"stale": "fail"}, 121.0, FAIL),
        ({"stale": "pass"}, 121.0, PASS),
        ({"stale": "ignore"}, 9e9, PASS),
        ({"stale_after": 30.0}, 31.0, INCONCLUSIVE),
    ],
)
def test_an_old_answer_has_a_policy_too(policy: dict[str, object], age: float, verdict: Verdict) -> None:
    assert measure(condition(GOOD, BAD, **policy), Measurement(LOW, age=age)) is verdict


@pytest.mark.parametrize("expression", ["result[3] < 1", "1 / (result - result) < 1"])
def test_an_expression_that_cannot_be_computed_is_inconclusive(expression: str) -> None:
    assert measure(condition(expression), Measurement(LOW)) is INCONCLUSIVE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "result",
        "result <",
        "__import__('os')",
        "result < open()",
        "result.x < 1",
        "other < 1",
        "result in 3",
        "result[1] > 0.95 || results > 1",
        "result > 1 || result",
        "result > 1 && result[0] ** 2 > 1",
        "result[1e999] > 1",
        "result[0.5] > 1",
        "result > 1e400",
        "result < True",
        "not " * 2000 + "result > 1",
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_no_expression_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="neither success nor failure"):
        ConditionState(condition())


def test_ending_before_the_count_is_inconclusive() -> None:
    assert after(condition(GOOD, count=3), *values(LOW, LOW)).verdict is INCONCLUSIVE
    assert after(condition(GOOD, count=3), *values(LOW, LOW, LOW)).verdict is PASS


def test_failures_up_to_the_limit_are_borne_and_one_more_fails_at_once() -> None:
    plan = condition(GOOD, count=4, failure_limit=1)
    assert after(plan, *values(MIDDLE, LOW, LOW, LOW)).verdict is PASS
    assert after(plan, *values(MIDDLE, MIDDLE)).verdict is FAIL


def test_inconclusive_up_to_the_limit() -> None:
    plan = condition(GOOD, BAD, count=3, inconclusive_limit=1)
    assert after(plan, *values(MIDDLE, LOW, LOW)).verdict is PASS
    assert after(plan, *values(MIDDLE, MIDDLE, LOW)).verdict is INCONCLUSIVE


def test_errors_do_not_eat_the_count() -> None:
    plan = condition(GOOD, count=2)
    assert after(plan, BROKEN, *values(LOW)).verdict is INCONCLUSIVE
    assert after(plan, BROKEN, *values(LOW, LOW)).verdict is PASS


def test_too_many_errors_in_a_row_are_an_error_also_when_it_recovers() -> None:
    plan = condition(GOOD, count=1, consecutive_error_limit=2)
    assert after(plan, BROKEN, BROKEN, *values(LOW)).verdict is PASS
    assert after(plan, BROKEN, BROKEN, BROKEN, *values(LOW)).verdict is ERROR


def test_an_error_never_hides_a_failure() -> None:
    plan = condition(GOOD, count=9, consecutive_error_limit=0)
    assert after(plan, *values(MIDDLE), BROKEN).verdict is FAIL
    assert after(plan, BROKEN, *values(MIDDLE)).verdict is FAIL


def test_retries_after_an_error_respect_the_interval() -> None:
    state = ConditionState(condition(GOOD, interval=10.0))
    state.start(100.0)
    state.add(100.0, BROKEN)
    assert not state.due(109.9)
    assert state.due(110.0)


def test_the_initial_delay_and_the_end() -> None:
    state = ConditionState(condition(GOOD, initial_delay=30.0))
    assert not state.due(1000.0)
    state.start(100.0)
    state.start(500.0)
    assert not state.due(129.0)
    assert state.due(130.0)
    state.add(130.0, Measurement(LOW))
    assert not state.due(1000.0)


def test_without_a_count_it_is_measured_until_the_end() -> None:
    plan = condition("", BAD, count=UNTIL_THE_END, interval=10.0)
    assert after(plan).verdict is INCONCLUSIVE
    state = after(plan, *values(*[LOW] * 41))
    assert (state.verdict, state.complete, state.due(9e9)) == (PASS, True, True)
    assert state.summary == "errors: 41 measurements, all passed (fails at result > 0.5)"
    state.add(9e9, Measurement(HIGH))
    assert (state.verdict, state.due(9e10)) == (FAIL, False)
    assert state.summary == "errors: 41 pass, 1 fail, asked every 10 s (fails at result > 0.5)"


@pytest.mark.parametrize(
    ("limits", "found", "verdict"),
    [
        ({}, [LOW, MIDDLE], FAIL),
        ({"failure_limit": 1}, [LOW, MIDDLE, LOW], PASS),
        ({"failure_limit": 1}, [MIDDLE, LOW, MIDDLE], FAIL),
        ({"failure_limit": 1}, [MIDDLE], INCONCLUSIVE),
        ({"inconclusive_limit": 2}, [EMPTY, NAN], INCONCLUSIVE),
        ({"inconclusive_limit": 2}, [EMPTY, LOW, NAN], PASS),
        ({"inconclusive_limit": 2}, [EMPTY, LOW, NAN, NAN], INCONCLUSIVE),
    ],
)
def test_without_a_count_the_limits_hold_and_one_measurement_has_to_pass(
    limits: dict[str, int], found: list[tuple[str, ...]], verdict: Verdict
) -> None:
    assert after(condition(GOOD, count=UNTIL_THE_END, **limits), *values(*found)).verdict is verdict


def test_the_summary_counts_what_happened() -> None:
    assert after(condition(GOOD, count=2), BROKEN, *values(LOW)).summary == "errors: 1 pass, 1 error of 2 wanted (result < 0.1)"


@pytest.mark.parametrize(
    ("measurement", "told"),
    [
        (Measurement(LOW), ""),
        (Measurement(HIGH), "the query answered 0.9"),
        (Measurement(EMPTY), "the query answered no series"),
        (Measurement(("1", "2", "3", "4")), "the query answered 4 series: 1, 2, 3, ..."),
        (Measurement(LOW, age=300.0), "the query answered 0.01, of which the newest scrape is 300 s old"),
        (Measurement(error="it timed out"), "the query broke: it timed out"),
    ],
)
def test_what_did_not_pass_is_told_in_words(measurement: Measurement, told: str) -> None:
    assert after(condition(GOOD), measurement).told == told
