"""Scores: Kayenta's semantics as a decision table, and each corner that would pass silently as a test of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest

from mlpipeline.core.verdict import Verdict
from mlpipeline.core.weighted_score import RULES, Sampled, ScoredMetric, ScorePlan, check, classify, score, shift, values

SAME = tuple(10 + (7 * index % 11) / 10 for index in range(20))
MORE = tuple(value * 1.5 for value in SAME)
LESS = tuple(value * 0.5 for value in SAME)
SLIGHTLY = tuple(value * 1.15 for value in SAME)


def metric(name: str = "errors", **fields: object) -> ScoredMetric:
    return ScoredMetric(name, ("a", "b"), **fields)  # type: ignore[arg-type]


def sampled(candidate: Sequence[float], champion: Sequence[float] = SAME) -> list[Sampled]:
    return [Sampled((repr(ours),), (repr(theirs),)) for ours, theirs in zip(candidate, champion, strict=True)]


EMPTY = [Sampled() for _ in SAME]
BROKEN = [Sampled(error="parse error")]


@pytest.mark.parametrize(
    ("direction", "candidate", "found", "harmed"),
    [
        ("increase", MORE, "high", True),
        ("increase", LESS, "pass", False),
        ("increase", SAME, "pass", False),
        ("decrease", MORE, "pass", False),
        ("decrease", LESS, "low", True),
        ("either", MORE, "high", True),
        ("either", LESS, "low", True),
        ("either", SAME, "pass", False),
    ],
)
def test_the_direction_says_what_harms(direction: str, candidate: tuple[float, ...], found: str, harmed: bool) -> None:
    outcome = classify(metric(direction=direction), sampled(candidate), 0.98)
    assert (outcome.found, outcome.harmed) == (found, harmed)


def test_a_significant_difference_within_the_effect_is_no_harm() -> None:
    assert classify(metric(effect=0.1), sampled(SLIGHTLY), 0.98).harmed
    assert not classify(metric(effect=0.2), sampled(SLIGHTLY), 0.98).harmed


def test_a_large_difference_that_is_not_significant_is_no_harm() -> None:
    wild = [0.0] * 15 + [100.0] * 5
    calm = [0.0] * 16 + [40.0] * 4
    assert not classify(metric(effect=0.1), sampled(wild, calm), 0.98).harmed


def test_a_champion_without_any_error_is_no_division_by_zero() -> None:
    outcome = classify(metric(effect=0.1), sampled([1.0] * 20, [0.0] * 20), 0.98)
    assert (outcome.found, outcome.harmed) == ("high", True)
    assert not classify(metric(), sampled([0.0] * 20, [0.0] * 20), 0.98).harmed


@pytest.mark.parametrize("samples", [EMPTY, BROKEN, sampled(MORE)], ids=["missing", "exception", "harm"])
def test_a_critical_metric_without_a_clean_answer_fails_the_whole_score(samples: list[Sampled]) -> None:
    good = {f"good{index}": sampled(SAME) for index in range(99)}
    plan = ScorePlan((*(metric(name) for name in good), metric("vital", critical=True)))
    found = score(plan, {**good, "vital": samples})
    assert (found.points, found.verdict) == (0.0, Verdict.FAIL)
    assert "vital" in found.summary


@pytest.mark.parametrize(
    ("fields", "samples", "points"),
    [
        ({}, EMPTY, 100.0),
        ({"must_have_data": True}, EMPTY, 50.0),
        ({}, BROKEN, 50.0),
        ({"mute": True}, sampled(MORE), 100.0),
        ({"mute": True, "critical": True}, sampled(MORE), 100.0),
        ({"missing": "zero"}, EMPTY, 50.0),
        ({"critical_effect": 0.4}, sampled(MORE), 0.0),
        ({"critical_effect": 0.6}, sampled(MORE), 50.0),
    ],
)
def test_what_one_metric_of_two_does_to_the_score(fields: dict[str, object], samples: list[Sampled], points: float) -> None:
    found = score(ScorePlan((metric("one"), metric("two", **fields))), {"one": sampled(SAME), "two": samples})
    if fields.get("missing") == "zero":
        assert found.metrics[1].samples == (20, 20)
        points = 100.0
    assert found.points == points


def todays(*metrics: ScoredMetric, **fields: object) -> ScorePlan:
    return ScorePlan(metrics, rules=RULES, **fields)  # type: ignore[arg-type]


SEVERAL = [Sampled(("9", "9"), ("1",)) for _ in SAME]


@pytest.mark.parametrize(
    ("fields", "samples", "points", "by_rules_1"),
    [
        ({"critical": True, "missing": "zero"}, EMPTY, 0.0, 100.0),
        ({"critical": True, "missing": "zero"}, SEVERAL, 0.0, 100.0),
        ({"must_have_data": True, "missing": "zero"}, EMPTY, 50.0, 100.0),
        ({"must_have_data": True, "missing": "zero"}, SEVERAL, 50.0, 100.0),
        ({"missing": "zero"}, EMPTY, 100.0, 100.0),
        ({"critical": True, "missing": "zero"}, [Sampled((), ("1",)) for _ in SAME], 100.0, 100.0),
        ({"critical": True}, [*EMPTY[:11], *sampled(SAME[:9], SAME[:9])], 0.0, 100.0),
        ({"critical": True}, [*EMPTY[:10], *sampled(SAME[:10], SAME[:10])], 100.0, 100.0),
        ({}, [*EMPTY[:15], *sampled(SAME[:5], SAME[:5])], 100.0, 100.0),
    ],
)
def test_data_that_are_needed_and_did_not_come_are_never_made_up(
    fields: dict[str, object], samples: list[Sampled], points: float, by_rules_1: float
) -> None:
    given = {"one": sampled(SAME), "two": samples}
    assert score(todays(metric("one"), metric("two", **fields)), given).points == points
    assert score(ScorePlan((metric("one"), metric("two", **fields))), given).points == by_rules_1


def test_samples_that_are_still_missing_save_no_score_that_they_cannot_save() -> None:
    names = ("few", "one", "two")
    given = {"few": sampled(SAME[:2], SAME[:2]), "one": sampled(MORE), "two": sampled(MORE)}
    found = score(todays(*map(metric, names)), given)
    assert (found.verdict, found.points) == (Verdict.FAIL, 33.333333)
    assert "at most 33.3333" in found.summary
    assert score(todays(*map(metric, names), marginal_at=33.0), given).verdict is Verdict.INCONCLUSIVE
    assert score(ScorePlan(tuple(map(metric, names))), given).verdict is Verdict.INCONCLUSIVE


def test_a_repeated_reading_of_one_scrape_is_no_sample_but_an_answer() -> None:
    again = [Sampled(("20",), ("10",), repeated=True) for _ in range(20)]
    found = score(todays(metric(critical=True)), {"errors": [Sampled(("20",), ("10",)), *again]})
    assert (found.verdict, found.metrics[0].found, found.metrics[0].samples) == (Verdict.INCONCLUSIVE, "few", (1, 1))


def test_groups_weigh_and_share_their_weight_among_their_metrics() -> None:
    plan = ScorePlan(
        (metric("a", group="errors"), metric("b", group="errors"), metric("c", group="latency")),
        groups={"errors": 60.0, "latency": 40.0},
    )
    found = score(plan, {"a": sampled(MORE), "b": sampled(SAME), "c": sampled(SAME)})
    assert found.points == 70.0


def test_a_group_of_which_nothing_was_measured_scores_nothing() -> None:
    plan = ScorePlan((metric("a", group="x"), metric("b", group="y")), groups={"x": 20.0, "y": 80.0})
    found = score(plan, {"a": sampled(SAME), "b": EMPTY})
    assert (found.points, found.verdict) == (20.0, Verdict.FAIL)


@pytest.mark.parametrize(
    ("harmed", "verdict"), [(0, Verdict.PASS), (1, Verdict.INCONCLUSIVE), (2, Verdict.INCONCLUSIVE), (3, Verdict.FAIL)]
)
def test_the_thresholds_decide(harmed: int, verdict: Verdict) -> None:
    names = [f"m{index}" for index in range(10)]
    plan = ScorePlan(tuple(metric(name) for name in names), pass_at=95, marginal_at=80)
    samples = {name: sampled(MORE if index < harmed else SAME) for index, name in enumerate(names)}
    assert score(plan, samples).verdict is verdict


def test_too_few_samples_are_inconclusive_never_a_pass() -> None:
    found = score(ScorePlan((metric(),)), {"errors": sampled(SAME[:4], SAME[:4])})
    assert (found.verdict, found.metrics[0].found) == (Verdict.INCONCLUSIVE, "few")


def test_no_sample_at_all_never_passes() -> None:
    assert score(ScorePlan((metric(),)), {}).verdict is Verdict.FAIL


@pytest.mark.parametrize("answer", [(), ("nan",), ("inf",), ("1", "2")], ids=["empty", "nan", "inf", "two series"])
def test_an_answer_that_is_not_one_number_is_missing(answer: tuple[str, ...]) -> None:
    assert values([answer, ("3",)], "remove") == [3.0]
    assert values([answer, ("3",)], "zero") == [0.0, 3.0]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (ScorePlan(()), "no metric that counts"),
        (ScorePlan((metric(mute=True),)), "no metric that counts"),
        (ScorePlan((metric(), metric())), "two metrics named 'errors'"),
        (ScorePlan((metric(group="x"),), groups={"x": 90.0}), "total 90, not 100"),
        (ScorePlan((metric(group="y"),), groups={"x": 100.0}), "group 'y', which has no weight"),
        (ScorePlan((metric(group="x"),), groups={"x": 50.0, "y": 50.0}), "group 'y' has a weight but no metric"),
        (ScorePlan((metric(),), pass_at=50, marginal_at=60), "marginal"),
        (ScorePlan((metric(),), pass_at=float("nan")), "marginal"),
        (ScorePlan((metric(group="x"), metric("y", group="y")), groups={"x": 150.0, "y": -50.0}), "weight of group 'y' is -50"),
        (ScorePlan((metric(group="x"),), groups={"x": float("nan")}), "weight of group 'x' is nan"),
        (ScorePlan((metric(group="x"),), groups={"x": 100.0001}), "total 100.0001, not 100"),
        (ScorePlan((metric(),), confidence=1.0), "confidence"),
        (ScorePlan((metric(effect=float("nan")),)), "effects of metric 'errors'"),
        (ScorePlan((metric(critical_effect=-1.0),)), "effects of metric 'errors'"),
    ],
)
def test_a_score_that_would_mean_nothing_is_refused(plan: ScorePlan, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check(plan)


def test_weights_of_rounded_thirds_total_100() -> None:
    check(ScorePlan((metric(group="x"), metric("y", group="y")), groups={"x": 33.3333333, "y": 66.6666666}))
    check(ScorePlan((metric(group="x"),), groups={"x": 100.0000001}))


def test_the_interval_is_that_of_the_mann_whitney_test() -> None:
    """It excludes 0 for the samples that scipy's asymptotic test rejects, up to the last rank."""
    from scipy.stats import mannwhitneyu

    generator = random.Random(5)
    agree = 0
    for _ in range(200):
        candidate = [generator.gauss(0.6, 1) for _ in range(25)]
        champion = [generator.gauss(0, 1) for _ in range(30)]
        found = shift(candidate, champion, 0.98)
        assert found is not None
        excluded = not found.low <= 0 <= found.high
        agree += excluded == (mannwhitneyu(candidate, champion, method="asymptotic").pvalue < 0.02)
    assert agree >= 198


def test_a_metric_without_a_difference_is_rarely_harmed() -> None:
    generator = random.Random(7)
    pairs = [[[generator.gauss(5, 1) for _ in range(30)] for _ in range(2)] for _ in range(500)]
    harmed = sum(classify(metric(), sampled(*pair), 0.98).harmed for pair in pairs)
    assert harmed <= 15


def test_the_same_samples_give_the_same_score_in_any_time_and_quickly() -> None:
    generator = random.Random(11)
    names = [f"m{index}" for index in range(100)]
    samples = {name: sampled(*[[generator.random() for _ in range(180)] for _ in range(2)]) for name in names}
    plan = ScorePlan(tuple(metric(name) for name in names))
    started = time.process_time()
    first = score(plan, samples)
    assert time.process_time() - started < 10
    assert score(plan, samples) == first
