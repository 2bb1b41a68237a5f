"""From looks to verdicts."""

from __future__ import annotations

from math import log

import msgspec
import numpy as np
import pytest

from mlpipeline.core.blocks import OF_RULES_5
from mlpipeline.core.conditions import ConditionPlan, Measurement
from mlpipeline.core.disagreement import DisagreementPlan
from mlpipeline.core.judge import RULES, Judge, Judgement, Look, MetricPlan, Plan, StageEnd
from mlpipeline.core.verdict import Verdict
from mlpipeline.core.weighted_score import Sampled, ScoredMetric, ScorePlan

ERRORS = MetricPlan("errors", "answered with 5xx", "router", tolerate=0.001, margin=2.0)
LATENCY = MetricPlan("latency", "slower than 0.25 s", "serving", tolerate=0.01, margin=2.0, bound=0.25)
GOOD = (100, 0, 100, 0)


def plan(*metrics: MetricPlan, **fields: object) -> Plan:
    given = {"false_alarm": 0.01, "interval": 2.0, "min_requests": 50, "metrics": metrics or (ERRORS, LATENCY), **fields}
    return Plan("iris", "r1", "green", "blue", **given)  # type: ignore[arg-type]


def judged(
    looks: int,
    *,
    stage: str = "mirror",
    watched: bool = True,
    outage: str = "",
    judge: Judge | None = None,
    **counts: tuple[int, int, int, int],
) -> Judge:
    judge = judge or Judge(plan())
    for number in range(looks):
        judge.add(Look(1000.0 + 2 * number, stage, "mirror", 2.0, {"errors": GOOD, "latency": GOOD, **counts}))
    judge.end(StageEnd(stage, judge.looks, watched, outage))
    return judge


def verdict(judge: Judge) -> Verdict:
    return judge.judgement().verdict


def test_planned_evidence_without_harm_passes() -> None:
    judgement = judged(10).judgement()
    assert judgement.verdict is Verdict.PASS
    assert "planned evidence" in judgement.summary


def test_excluded_harm_passes_early() -> None:
    judge = judged(400, watched=False, errors=(100, 1, 100, 1), latency=(100, 3, 100, 3))
    assert verdict(judge) is Verdict.PASS
    assert {metric.verdict for metric in judge.judgement().metrics} == {Verdict.PASS}


def test_a_stage_cut_short_is_inconclusive() -> None:
    assert verdict(judged(10, watched=False)) is Verdict.INCONCLUSIVE


def test_a_monitoring_outage_is_told_as_such() -> None:
    judgement = judged(10, watched=False, outage="Prometheus cannot be reached").judgement()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "monitoring was out in stage mirror: Prometheus cannot be reached" in judgement.summary


def test_a_stage_watched_again_to_its_end_counts() -> None:
    judge = judged(10, watched=False, outage="gone")
    assert verdict(judged(10, judge=judge)) is Verdict.PASS


def test_a_later_stage_without_one_colour_is_inconclusive() -> None:
    judge = judged(10)
    judged(10, stage="10 %", judge=judge, errors=(0, 0, 100, 0), latency=(0, 0, 100, 0))
    judgement = judge.judgement()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "10 %" in judgement.summary


@pytest.mark.parametrize("counts", [(0, 0, 100, 0), (100, 0, 0, 0), (0, 0, 0, 0)])
def test_one_silent_colour_never_passes(counts: tuple[int, int, int, int]) -> None:
    assert verdict(judged(100, errors=counts, latency=counts)) is Verdict.INCONCLUSIVE


def test_a_metric_that_was_never_read_never_passes() -> None:
    judge = Judge(plan())
    for number in range(100):
        judge.add(Look(2.0 * number, "mirror", "mirror", 2.0, {"errors": GOOD}, {"latency": "stale"}))
    judge.end(StageEnd("mirror", 100, True))
    assert verdict(judge) is Verdict.INCONCLUSIVE


def test_no_look_at_all_is_inconclusive() -> None:
    assert verdict(Judge(plan())) is Verdict.INCONCLUSIVE


def test_a_failure_names_its_metric_and_stays() -> None:
    judge = judged(10, errors=(30, 30, 30, 0))
    judged(500, stage="later", judge=judge)
    judgement = judge.judgement()
    assert judgement.verdict is Verdict.FAIL
    assert [metric.name for metric in judgement.metrics if metric.verdict is Verdict.FAIL] == ["errors"]
    assert judgement.summary.startswith("errors: candidate")
    assert judgement.metrics[0].decided_at > 0


def test_a_difference_within_what_is_tolerated_never_fails() -> None:
    judge = judged(2000, latency=(200, 1, 200, 0))
    assert not judge.failed
    assert judge.metrics["latency"].tolerated


def test_trouble_shared_by_both_is_no_failure() -> None:
    assert not judged(500, errors=(100, 40, 100, 40)).failed


def test_a_candidate_that_fails_most_requests_cannot_pass_beside_a_champion_that_does_too() -> None:
    judgement = judged(500, errors=(100, 90, 100, 90)).judgement()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "cannot pass" in judgement.summary


def test_fewer_requests_than_wanted_are_inconclusive() -> None:
    assert verdict(judged(2, errors=(20, 0, 100, 0), latency=(20, 0, 100, 0))) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("measurements", "wanted"),
    [
        ([Measurement(("0.5",))], Verdict.FAIL),
        ([Measurement(("0.01",))], Verdict.PASS),
        ([Measurement(("nan",))], Verdict.INCONCLUSIVE),
        ([Measurement(error="unreachable")] * 6, Verdict.ERROR),
        ([], Verdict.INCONCLUSIVE),
    ],
)
def test_conditions_take_part(measurements: list[Measurement], wanted: Verdict) -> None:
    judge = Judge(plan(conditions=(ConditionPlan("drift", "q", success="result < 0.1"),)))
    for measurement in measurements:
        judge.add(Look(1.0, "mirror", "mirror", 2.0, {}, {}, {"drift": measurement}))
    assert verdict(judged(10, judge=judge)) is wanted


def test_a_dry_run_condition_only_tells() -> None:
    judge = Judge(plan(conditions=(ConditionPlan("drift", "q", success="result < 0.1", dry_run=True),)))
    judge.add(Look(1.0, "mirror", "mirror", 2.0, {}, {}, {"drift": Measurement(("0.5",))}))
    judgement = judged(10, judge=judge).judgement()
    assert judgement.verdict is Verdict.PASS
    assert judgement.conditions[0][1] is Verdict.FAIL


LOW, HIGH = Measurement(("0.01",)), Measurement(("0.5",))


def conditional(
    measured: dict[str, Measurement], *, dry: str = "", metrics: tuple[MetricPlan, ...] = (), looks: int = 1
) -> Judge:
    wanted = tuple(ConditionPlan(name, "q", success="result < 0.1", dry_run=name == dry) for name in measured)
    judge = Judge(msgspec.structs.replace(plan(conditions=wanted), metrics=metrics))
    for _ in range(looks):
        judge.add(Look(1.0, "mirror", "mirror", 2.0, {}, {}, measured))
    judge.end(StageEnd("mirror", looks, True))
    return judge


def test_a_failing_dry_run_is_no_headline() -> None:
    judgement = conditional({"dry": HIGH, "real": HIGH}, dry="dry").judgement()
    assert (judgement.verdict, judgement.summary) == (Verdict.FAIL, "real: 1 fail of 1 wanted (result < 0.1)")


def test_the_condition_that_erred_is_named_before_one_that_is_inconclusive() -> None:
    judgement = conditional({"unsure": Measurement(()), "erring": Measurement(error="refused")}, looks=6).judgement()
    assert judgement.verdict is Verdict.ERROR
    assert judgement.summary.startswith("no verdict, erring: 6 error")


@pytest.mark.parametrize("conditions", [{}, {"dry": LOW}])
def test_nothing_to_compare_is_inconclusive(conditions: dict[str, Measurement]) -> None:
    judgement = conditional(conditions, dry="dry").judgement()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "nothing was compared" in judgement.summary


def test_a_pass_by_conditions_and_a_score_names_them() -> None:
    assert conditional({"drift": LOW, "memory": LOW, "dry": LOW}, dry="dry").judgement().summary == (
        "the planned evidence is in and shows no harm, by the conditions drift, memory, in 1 looks"
    )
    scored = Judge(msgspec.structs.replace(plan(score=ScorePlan((ScoredMetric("m", ("a", "b")),))), metrics=()))
    for number in range(20):
        scored.add(Look(2.0 * number, "bake", "live", 2.0, scores={"m": Sampled((str(1 + number % 3),), (str(1 + number % 3),))}))
    scored.end(StageEnd("bake", 20, True))
    assert scored.judgement().summary == "the planned evidence is in and shows no harm, by a score of 100, in 20 looks"


def test_conditions_alone_decide_when_nothing_is_compared() -> None:
    judge = Judge(Plan("iris", "r1", "green", "blue", 0.01, 2.0, 50, (), (ConditionPlan("drift", "q", success="result < 0.1"),)))
    assert verdict(judge) is Verdict.INCONCLUSIVE
    judge.add(Look(1.0, "mirror", "mirror", 2.0, {}, {}, {"drift": Measurement(("0.01",))}))
    assert verdict(judge) is Verdict.PASS


def test_a_judgement_survives_json() -> None:
    for judge in (Judge(plan()), judged(10), judged(40, errors=(1000, 1000, 1000, 0))):
        judgement = judge.judgement()
        content = msgspec.json.encode(judgement)
        assert b"null" not in content
        assert msgspec.json.decode(content, type=Judgement) == judgement


def test_the_trace_shows_how_the_decision_came_about() -> None:
    trace = judged(10, errors=(30, 30, 30, 0)).metrics["errors"].trace
    evidence = [point.log10_evidence for point in trace]
    assert len(trace) == 10
    assert evidence == sorted(evidence)
    assert trace[-1].low > 1


def test_all_classes_of_predictions_together_weigh_as_one_metric() -> None:
    """Otherwise a model of many classes would drown its errors in them."""
    classes = tuple(MetricPlan(f"predictions.{name}", "so", "predictions", 0.0, 2.0, 1.25, label=name) for name in "abcdefgh")
    errors = MetricPlan("errors", "failed", "router", 0.001, 2.0)
    judge = Judge(Plan("s", "r", "green", "blue", 0.01, 2.0, 50, (errors, *classes), rules=2))
    calm = {metric.name: (100, 12, 100, 12) for metric in classes}
    for number in range(10):
        judge.add(Look(2.0 * number, "bake", "live", 2.0, {**calm, "errors": (100, 9, 100, 1)}))
    alone = judge.metrics["errors"].log_e
    assert judge.log_evidence == pytest.approx(alone - log(2), abs=0.05)


@pytest.mark.parametrize("shares", [(0.25, 0.5), (0.5, 0.25), (0.3, 0.3)])
def test_the_share_of_a_class_is_compared_in_both_directions(shares: tuple[float, float]) -> None:
    rng, plan = np.random.default_rng(1), MetricPlan("predictions.a", "as a", "predictions", 0.0, 2.0, 1.25, label="a")
    judge = Judge(Plan("s", "r", "green", "blue", 0.01, 2.0, 50, (plan,), rules=2))
    for number in range(150):
        ours, theirs = (int(rng.binomial(20, share)) for share in shares)
        judge.add(Look(2.0 * number, "bake", "live", 2.0, {"predictions.a": (20, ours, 20, theirs)}))
    same = shares[0] == shares[1]
    assert judge.failed is not same
    assert judge.metrics["predictions.a"].excluded is same


def moderate(seed: int, ratio: float = 1.7, looks: int = 400, judge: Judge | None = None, last: bool = True) -> Judge:
    """A release whose errors are ``ratio`` times as frequent, 60 requests a look; too little to be found at any time."""
    judge, source = judge or Judge(plan(rules=RULES)), np.random.default_rng(seed)
    for number in range(looks):
        errors = (60, int(source.binomial(60, 0.02 * ratio)), 60, int(source.binomial(60, 0.02)))
        judge.add(Look(1000.0 + 2 * number, "bake", "live", 2.0, {"errors": errors, "latency": GOOD}))
    judge.end(StageEnd("bake", judge.looks, True, last=last))
    return judge


def test_the_last_look_fails_a_release_that_was_not_failed_before() -> None:
    assert not moderate(1, last=False).failed
    judge = moderate(1)
    judgement = judge.judgement()
    errors, latency = judgement.metrics
    assert judgement.verdict is Verdict.FAIL
    assert judge.culprits == ("errors",)
    assert errors.decided_at == 1000.0 + 2 * 399
    assert 0 < errors.last_look <= 0.01 * OF_RULES_5.last_look / 2 < latency.last_look
    assert errors.evidence >= 100 * 2 > latency.evidence
    assert f"at the last look, with a p-value of {errors.last_look:.2g}" in errors.summary
    assert judge.metrics["errors"].trace[-1].log10_evidence == pytest.approx(np.log10(errors.evidence), abs=0.01)


def test_the_last_look_is_taken_once_even_when_its_stage_is_watched_again() -> None:
    judge = moderate(1, ratio=1.0)
    assert not judge.failed
    first = judge.judgement().metrics[0].last_look
    assert first > 0.01
    again = moderate(2, judge=judge)
    assert again.judgement().metrics[0].last_look == first


@pytest.mark.parametrize("rules", range(1, RULES))
def test_rules_without_a_last_look_take_none(rules: int) -> None:
    judge = Judge(plan(rules=rules))
    with pytest.raises(ValueError, match="neither a last look"):
        moderate(1, ratio=1.0, judge=judge)


def test_the_last_look_is_divided_among_the_metrics_as_their_evidence_is() -> None:
    """Classes of predictions are one part together; half of everything is the compared answers'."""
    classes = [MetricPlan(f"predictions.{name}", "", "", 0.0, 2.0, 1.25, label=name) for name in "abc"]
    judge = Judge(plan(ERRORS, LATENCY, *classes, disagreement=DisagreementPlan(0.05), rules=RULES))
    assert judge._parts() == pytest.approx({"errors": 1 / 6, "latency": 1 / 6} | {each.name: 1 / 18 for each in classes})


def test_a_tolerated_difference_does_not_fail_at_the_last_look() -> None:
    tolerant = msgspec.structs.replace(ERRORS, tolerate=0.5)
    assert not moderate(1, ratio=3, judge=Judge(plan(tolerant, LATENCY, rules=RULES))).failed


def test_what_one_stage_excludes_is_asked_of_it_alone() -> None:
    judge = Judge(plan(rules=RULES))
    same = (200, 8, 200, 8)
    for number in range(400):
        judge.add(Look(2.0 * number, "step-10", "live", 2.0, {"errors": same, "latency": same}))
    assert judge.excluded_in_stage
    judge.end(StageEnd("step-10", judge.looks, True, excluded=True))
    judge.add(Look(900.0, "bake", "live", 2.0, {"errors": same, "latency": same}))
    assert not judge.excluded_in_stage
    assert verdict(judge) is Verdict.PASS


@pytest.mark.parametrize(("rules", "wanted"), [(4, Verdict.PASS), (RULES, Verdict.INCONCLUSIVE)])
def test_what_excludes_harm_is_no_pass_before_the_least_number_of_requests(rules: int, wanted: Verdict) -> None:
    """Rules 4 passed it, which their evidence has to go on doing."""
    tolerant = [msgspec.structs.replace(each, tolerate=0.5) for each in (ERRORS, LATENCY)]
    judge = Judge(plan(*tolerant, rules=rules, min_requests=500))
    judged(4, judge=judge)
    assert {metric.verdict for metric in judge.judgement().metrics} == {Verdict.PASS}
    assert verdict(judge) is wanted
    if rules == RULES:
        assert "400 requests of one colour are fewer than the 500" in judge.judgement().summary
        assert not judge.excluded_in_stage


def test_a_stage_is_not_over_while_a_condition_waits_or_a_score_is_wanted() -> None:
    waiting = ConditionPlan("drift", "q", success="result < 0.1", count=3)
    score = ScorePlan((ScoredMetric("a", ("q", "r")),))
    for fields in ({"conditions": (waiting,)}, {"score": score}):
        judge = Judge(plan(rules=RULES, **fields))
        for number in range(400):
            judge.add(Look(2.0 * number, "bake", "live", 2.0, {"errors": (200, 8, 200, 8), "latency": (200, 8, 200, 8)}))
        assert not judge.excluded_in_stage


def test_the_interval_does_not_depend_on_how_often_one_looks() -> None:
    source = np.random.default_rng(3)
    counts = source.binomial(100, 0.03, (200, 2))
    often, seldom = Judge(plan(rules=RULES)), Judge(plan(rules=RULES))
    for number, (ours, theirs) in enumerate(counts.tolist()):
        often.add(Look(2.0 * number, "bake", "live", 2.0, {"errors": (100, ours, 100, theirs), "latency": GOOD}))
    for number, (ours, theirs) in enumerate(counts.reshape(40, 5, 2).sum(axis=1).tolist()):
        block = {"errors": (500, ours, 500, theirs), "latency": GOOD}
        seldom.add(Look(10.0 * number, "bake", "live", 10.0, block))
    assert often.judgement().metrics[0].low == seldom.judgement().metrics[0].low > 0
    assert often.judgement().metrics[0].high == seldom.judgement().metrics[0].high > 0
    assert often.judgement().metrics[0].ratio == seldom.judgement().metrics[0].ratio
    assert len(often.metrics["errors"].trace) == 200


def test_without_a_metric_the_conditions_decide_at_the_last_look_too() -> None:
    drift = ConditionPlan("drift", "q", success="result < 0.1")
    judge = Judge(plan(rules=RULES, conditions=(drift,)))
    judge = Judge(msgspec.structs.replace(judge.plan, metrics=()))
    judge.add(Look(1.0, "bake", "live", 2.0, conditions={"drift": Measurement(("0.01",))}))
    judge.end(StageEnd("bake", 1, True, last=True))
    assert verdict(judge) is Verdict.PASS


def test_a_stage_of_the_same_name_begins_anew_after_its_end() -> None:
    """Copies are watched each night under one name: what the first night excluded says nothing of the second."""
    judge = Judge(plan(rules=RULES))
    same = {"errors": (200, 8, 200, 8), "latency": (200, 8, 200, 8)}
    for number in range(400):
        judge.add(Look(2.0 * number, "mirror", "mirror", 2.0, same))
    assert judge.excluded_in_stage
    judge.end(StageEnd("mirror", judge.looks, True, excluded=True))
    judge.add(Look(90_000.0, "mirror", "mirror", 2.0, same))
    assert not judge.excluded_in_stage
    assert judge.answered()[1] == (200, 200)


def test_a_champion_that_is_silent_in_a_stage_excludes_nothing_in_it() -> None:
    judge = Judge(plan(rules=RULES))
    for stage, champion in (("mirror", 200), ("step-50", 0)):
        for number in range(400):
            counts = (200, 0, champion, 0)
            judge.add(Look(2.0 * number, stage, "live", 2.0, {"errors": counts, "latency": counts}))
        assert judge.excluded_in_stage is bool(champion)
        judge.end(StageEnd(stage, judge.looks, True))


def test_a_failure_after_a_last_look_that_passed_is_not_told_as_found_at_it() -> None:
    judge = moderate(1, ratio=1.0)
    for number in range(60):
        judge.add(Look(5000.0 + 2 * number, "bake", "live", 2.0, {"errors": (60, 40, 60, 1), "latency": GOOD}))
    errors = judge.judgement().metrics[0]
    assert errors.verdict is Verdict.FAIL
    assert errors.last_look > 0.01
    assert "last look" not in errors.summary


def test_the_interval_of_labels_that_come_seldom_does_not_wait_for_five_of_them() -> None:
    late = MetricPlan("accuracy", "wrong", "labels", 0.001, 2.0, late=True)
    judge = Judge(plan(ERRORS, late, rules=RULES))
    for number in range(100):
        counts = {"errors": GOOD, **({"accuracy": (500, 60, 500, 20)} if number % 25 == 0 else {})}
        judge.add(Look(2.0 * number, "bake", "live", 2.0, counts))
    points = judge.metrics["accuracy"].trace
    assert len(points) == 4
    assert points[-1].low > 0


def test_a_stage_that_ended_early_is_told() -> None:
    judge = moderate(1, ratio=1.0)
    assert judge.ended_early == ()
    judge.end(StageEnd("bake", judge.looks, True, excluded=True))
    assert judge.ended_early == ("bake",)
