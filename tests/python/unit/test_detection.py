"""What is said beforehand about how long detection takes, held to releases that are judged look by look."""

from __future__ import annotations

import random
from math import inf, log
from statistics import median

import pytest

from mlpipeline.core.detection import RELEASES as RELEASES_SIMULATED
from mlpipeline.core.detection import (
    Stretch,
    draws_needed,
    found_after,
    labels_needed,
    shift_found_after,
    threshold,
    threshold_of_class,
)
from mlpipeline.core.disagreement import WEIGHT, DisagreementPlan
from mlpipeline.core.judge import RULES, Judge, Look, MetricPlan, Plan, StageEnd
from mlpipeline.core.verdict import Verdict

RELEASES = 9
FACTOR = 1.5
"""Between the time that is expected and the median of releases of calm traffic."""
INTERVAL = 2.0


def plan(*metrics: MetricPlan, disagreement: DisagreementPlan | None = None) -> Plan:
    return Plan("iris", "r", "green", "blue", 0.01, INTERVAL, 50, metrics, disagreement=disagreement, rules=RULES)


def metric(name: str, margin: float) -> MetricPlan:
    return MetricPlan(name, "went wrong", "serving", 0.0, margin)


def events(source: random.Random, per_second: float, rate: float) -> tuple[int, int]:
    """Of one look, written another way than in the core: request by request."""
    number = 0
    at = source.expovariate(per_second)
    while at < INTERVAL:
        number += 1
        at += source.expovariate(per_second)
    return number, sum(source.random() < rate for _ in range(number))


def judged(seed: int, rate: float, margin: float, stretches: list[Stretch]) -> float:
    """Seconds until a release whose errors are harmful and whose latency is not has failed."""
    source, at = random.Random(seed), 0.0
    judge = Judge(plan(metric("errors", margin), metric("latency", 2.0)))
    for number, stretch in enumerate(stretches):
        for _ in range(round(stretch.seconds / INTERVAL)):
            at += INTERVAL
            counts = {
                name: (*events(source, stretch.candidate, rate * worse), *events(source, stretch.champion, rate))
                for name, worse in (("errors", margin), ("latency", 1.0))
            }
            if judge.add(Look(at, str(number), "live", INTERVAL, counts)) is Verdict.FAIL:
                return at
        judge.end(StageEnd(str(number), judge.looks, watched=True, last=number == len(stretches) - 1))
    return at if judge.failed else inf


@pytest.mark.parametrize(
    ("rate", "margin", "stretches"),
    [
        (0.02, 5.0, [Stretch(300, 25, 25)]),
        (0.05, 3.0, [Stretch(60, 10, 10), Stretch(60, 2, 18), Stretch(300, 10, 10)]),
    ],
)
def test_the_expected_duration_is_that_of_releases_that_are_judged(rate: float, margin: float, stretches: list[Stretch]) -> None:
    bar = threshold(0.01, 2)
    after = found_after(metric("errors", margin), rate, stretches, rules=RULES, interval=INTERVAL, log_threshold=bar)
    expected = median(after)
    found = median(judged(seed, rate, margin, stretches) for seed in range(RELEASES))
    assert found / FACTOR <= expected <= found * FACTOR


def test_the_last_look_counts() -> None:
    """Harm that no look before the end finds in most releases, and the last look does in most."""
    stretches, bar = [Stretch(600, 20, 20)], threshold(0.01, 2)
    after = found_after(metric("errors", 1.8), 0.02, stretches, rules=RULES, interval=INTERVAL, log_threshold=bar)
    assert sum(seconds < 600 for seconds in after) < RELEASES_SIMULATED / 2 < sum(seconds <= 600 for seconds in after)
    found = [judged(seed, 0.02, 1.8, stretches) for seed in range(RELEASES)]
    assert 600 in found


def test_less_harm_and_less_traffic_take_longer() -> None:
    def half(margin: float, requests: float, rate: float = 0.02) -> float:
        stretches = [Stretch(900, requests, requests)]
        return median(found_after(metric("errors", margin), rate, stretches, rules=RULES, interval=6.0, log_threshold=log(100)))

    assert half(3, 20) > half(8, 20) > half(20, 20) > 0
    assert half(8, 5) > half(8, 20)
    assert half(8, 20, rate=0.0) == inf


def test_what_is_not_found_is_infinite_and_the_same_numbers_give_the_same_answer() -> None:
    little = [Stretch(60, 1, 1)]
    once, again = (
        found_after(metric("errors", 2.0), 0.001, little, rules=RULES, interval=INTERVAL, log_threshold=threshold(0.01, 1))
        for _ in range(2)
    )
    assert once == again and set(once) == {inf}


@pytest.mark.parametrize("parts", [1, 2, 10])
@pytest.mark.parametrize("weight", [1.0, 1 - WEIGHT])
def test_the_threshold_of_one_part_is_where_the_whole_fails(parts: int, weight: float) -> None:
    from math import exp

    whole = weight * (exp(threshold(0.01, parts, weight)) + parts - 1) / parts + (1 - weight)
    assert log(whole) == pytest.approx(log(100))


@pytest.mark.parametrize(("allowed", "true"), [(0.05, 0.15), (0.01, 0.03)])
def test_the_expected_number_of_answers_is_that_of_releases_that_are_judged(allowed: float, true: float) -> None:
    needed = draws_needed(allowed, true, threshold(0.01, 1, WEIGHT))
    found = []
    for seed in range(RELEASES):
        source, judge, number = random.Random(seed), Judge(plan(disagreement=DisagreementPlan(allowed))), 0
        while not judge.failed:
            number += 5
            judge.add(
                Look(number, "mirror", "mirror", INTERVAL, compared=(5, float(sum(source.random() < true for _ in range(5)))))
            )
        found.append(number)
    assert median(found) / FACTOR <= needed <= median(found) * FACTOR


CLASSES = tuple(MetricPlan(f"predictions.{label}", "", "", 0.0, 2.0, 1.2, label=label) for label in "abc")


def shifted(seed: int, share: float, stretches: list[Stretch]) -> float:
    """Seconds until a release whose candidate answers class a another share of the time has failed; its other classes, and
    its errors, are as the champion's."""
    source, at = random.Random(seed), 0.0
    judge = Judge(plan(metric("errors", 2.0), *CLASSES))
    for stretch in stretches:
        for _ in range(round(stretch.seconds / INTERVAL)):
            at += INTERVAL
            sides = []
            for per_second, of_a in ((stretch.candidate, share), (stretch.champion, 0.3)):
                number, a = events(source, per_second, of_a)
                sides.append({"errors": (number, 0), "a": (number, a), "b": (number, number // 3), "c": (number, number // 3)})
            counts = {
                name: (*sides[0][name.removeprefix("predictions.")], *sides[1][name.removeprefix("predictions.")])
                for name in judge.metrics
            }
            if judge.add(Look(at, "bake", "live", INTERVAL, counts)) is Verdict.FAIL:
                return at
    return inf


def test_the_expected_duration_of_a_shift_is_that_of_releases_that_are_judged() -> None:
    stretches = [Stretch(900, 20, 20)]
    bar = threshold_of_class(threshold(0.01, 2), len(CLASSES))
    expected = median(shift_found_after(CLASSES[0], 0.3, stretches, rules=RULES, interval=INTERVAL, log_threshold=bar))
    found = median(shifted(seed, 0.6 if seed % 2 else 0.15, stretches) for seed in range(RELEASES - 1))
    assert found / FACTOR <= expected <= found * FACTOR


def test_a_class_that_cannot_be_answered_more_often_is_answered_more_rarely() -> None:
    after = shift_found_after(CLASSES[0], 0.9, [Stretch(400, 20, 20)], rules=RULES, interval=INTERVAL, log_threshold=log(100))
    assert max(after) < inf


@pytest.mark.parametrize("classes", [1, 3, 8])
def test_the_threshold_of_one_class_is_where_all_classes_reach_that_of_a_part(classes: int) -> None:
    from math import exp

    part = threshold(0.01, 3)
    assert log((exp(threshold_of_class(part, classes)) + classes - 1) / classes) == pytest.approx(part)


@pytest.mark.parametrize(("rate", "margin"), [(0.1, 3.0), (0.4, 1.5)])
def test_the_expected_number_of_labels_is_that_of_releases_that_are_judged(rate: float, margin: float) -> None:
    needed = labels_needed(metric("errors", margin), rate, rules=RULES, log_threshold=threshold(0.01, 2))
    assert needed
    per_second = needed / 600
    seconds = median(judged(seed, rate, margin, [Stretch(1800, per_second, per_second)]) for seed in range(RELEASES))
    assert 600 / FACTOR <= seconds <= 600 * FACTOR


def test_a_champion_that_is_always_wrong_needs_no_number_of_labels() -> None:
    assert labels_needed(metric("errors", 1.5), 1.0, rules=RULES, log_threshold=log(100)) is None
