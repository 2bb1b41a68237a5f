"""What the model gate says for given numbers."""

from __future__ import annotations

import math

import pytest

from mlpipeline.core.model_gate import Finding, Measured, Rules, SliceOutcome, evidence_row, judge, judge_latency, judge_slices
from mlpipeline.core.resampling import Comparison
from mlpipeline.core.verdict import Verdict


def compared(
    difference: float, low: float, high: float, *, p_value: float | None = None, method: str = "bootstrap"
) -> Comparison:
    return Comparison(0.7 + difference, 0.7, difference, low, high, 0.95, method, p_value)


def only(measured: Measured, *, champion: bool = True, no_champion: Verdict = Verdict.PASS) -> Finding:
    (found,) = judge(measured, has_champion=champion, no_champion=no_champion)
    return found


@pytest.mark.parametrize(("value", "verdict"), [(0.7, Verdict.PASS), (0.71, Verdict.PASS), (0.69, Verdict.FAIL)])
def test_at_least(value: float, verdict: Verdict) -> None:
    found = only(Measured(Rules("roc_auc", at_least=0.7), 500, candidate=value))
    assert found.verdict is verdict
    assert found.check == "metric.roc_auc.at_least"
    assert "on 500 rows" in found.summary


@pytest.mark.parametrize(("value", "verdict"), [(0.7, Verdict.PASS), (0.71, Verdict.FAIL), (0.69, Verdict.PASS)])
def test_at_most(value: float, verdict: Verdict) -> None:
    assert only(Measured(Rules("log_loss", at_most=0.7), 500, candidate=value)).verdict is verdict


def test_nan_fails_both_thresholds() -> None:
    rules = Rules("mae", at_least=-math.inf, at_most=math.inf)
    verdicts = [
        found.verdict for found in judge(Measured(rules, 5, candidate=math.nan), has_champion=False, no_champion=Verdict.PASS)
    ]
    assert verdicts == [Verdict.FAIL, Verdict.FAIL]


def test_a_metric_that_cannot_be_computed_fails_with_its_reason() -> None:
    found = only(Measured(Rules("roc_auc", at_least=0.5), 10, trouble="3 of 10 predictions are NaN"))
    assert found.verdict is Verdict.FAIL
    assert "3 of 10 predictions are NaN" in found.summary


@pytest.mark.parametrize(
    ("numbers", "verdict", "words"),
    [
        ((0.002, -0.004, 0.008), Verdict.PASS, "a loss of 0.01 is excluded"),
        ((-0.004, -0.01, 0.002), Verdict.FAIL, "cannot be excluded"),
        ((-0.02, -0.03, -0.01), Verdict.FAIL, "worse than the allowed 0.01"),
    ],
)
def test_no_worse_needs_the_lower_bound_above_the_margin(
    numbers: tuple[float, float, float], verdict: Verdict, words: str
) -> None:
    found = only(Measured(Rules("roc_auc", margin=0.01), 800, candidate=0.7, compared=compared(*numbers)))
    assert found.verdict is verdict
    assert words in found.summary


def test_the_rows_that_would_decide_it_are_told() -> None:
    found = only(Measured(Rules("roc_auc", margin=0.01), 100, candidate=0.7, compared=compared(0.0, -0.02, 0.02)))
    assert "about 400 rows would be needed" in found.summary


def test_the_same_model_again_is_no_worse_even_without_margin() -> None:
    found = only(Measured(Rules("roc_auc", margin=0.0), 100, candidate=0.7, compared=compared(0, 0, 0, method="identical")))
    assert found.verdict is Verdict.PASS


def test_better_needs_the_lower_bound_above_zero() -> None:
    rules = Rules("roc_auc", better=True)
    assert only(Measured(rules, 9, candidate=0.71, compared=compared(0.01, 0.001, 0.02))).verdict is Verdict.PASS
    assert only(Measured(rules, 9, candidate=0.71, compared=compared(0.01, 0.0, 0.02))).verdict is Verdict.FAIL


def test_better_accuracy_is_decided_by_the_exact_test() -> None:
    rules = Rules("accuracy", better=True)
    assert only(Measured(rules, 9, candidate=0.71, compared=compared(0.01, 0.001, 0.02, p_value=0.06))).verdict is Verdict.FAIL
    assert only(Measured(rules, 9, candidate=0.71, compared=compared(0.01, -0.001, 0.02, p_value=0.04))).verdict is Verdict.PASS


@pytest.mark.parametrize("policy", [Verdict.PASS, Verdict.FAIL])
def test_a_missing_champion_follows_the_policy(policy: Verdict) -> None:
    found = only(Measured(Rules("roc_auc", margin=0.01), 9, candidate=0.7), champion=False, no_champion=policy)
    assert found.verdict is policy
    assert "no champion" in found.summary


def test_a_champion_that_cannot_be_scored_is_an_error_and_never_a_pass() -> None:
    found = only(Measured(Rules("roc_auc", margin=0.01), 9, candidate=0.7, trouble="its bundle is gone"))
    assert found.verdict is Verdict.ERROR
    assert "its bundle is gone" in found.summary


def outcome(value: str, candidate: float) -> SliceOutcome:
    measured = Measured(Rules("roc_auc", at_least=0.6), 200, "origin", value, candidate)
    findings = tuple(judge(measured, has_champion=False, no_champion=Verdict.PASS))
    return SliceOutcome(measured, findings[0].verdict, findings)


def test_the_worst_slice_is_named_and_decides() -> None:
    found = judge_slices("roc_auc", "origin", [outcome("EWR", 0.7), outcome("JFK", 0.5), outcome("LGA", 0.55)], [], None)
    assert found.verdict is Verdict.FAIL
    assert found.numbers["worst"] == "origin=JFK"
    assert "2 of 3 slices of origin do not pass" in found.summary
    assert set(found.sample) == {"origin=JFK", "origin=LGA"}


@pytest.mark.parametrize(
    ("policy", "verdict"), [(None, Verdict.PASS), (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE), (Verdict.FAIL, Verdict.FAIL)]
)
def test_slices_too_small_to_judge_follow_the_policy(policy: Verdict | None, verdict: Verdict) -> None:
    small = ["origin=LGA has 3 rows"]
    assert judge_slices("roc_auc", "origin", [outcome("EWR", 0.7)], small, policy).verdict is verdict
    assert judge_slices("roc_auc", "origin", [], small, policy).verdict is verdict


@pytest.mark.parametrize(("p99", "verdict"), [(0.05, Verdict.PASS), (0.051, Verdict.FAIL), (math.nan, Verdict.FAIL)])
def test_latency_is_held_against_its_limit(p99: float, verdict: Verdict) -> None:
    assert judge_latency(0.01, p99, 200, 0.05).verdict is verdict


def test_evidence_leaves_out_what_was_not_measured() -> None:
    measured = Measured(Rules("roc_auc", at_least=0.6), 200, "origin", "EWR", 0.7)
    row = evidence_row(measured, judge(measured, has_champion=False, no_champion=Verdict.PASS))
    assert row == {
        "name": "roc_auc",
        "slice": "origin=EWR",
        "rows": 200,
        "rules": ["at_least 0.6"],
        "candidate": 0.7,
        "verdict": "pass",
    }
