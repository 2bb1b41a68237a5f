"""A judgement as metrics: read back by the reference parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from mlpipeline.core.exposition import exposition
from mlpipeline.core.judge import Judge, Look, MetricPlan, Plan

PLAN = Plan('a"b\\c', "r", "green", "blue", 0.01, 2.0, 50, (MetricPlan("errors", "failed", "router", 0.001, 2.0),), rules=2)


def test_what_is_exported_is_what_was_judged() -> None:
    judge = Judge(PLAN)
    for number in range(30):
        judge.add(Look(2.0 * number, "bake", "live", 2.0, {"errors": (100, 9, 100, 1)}))
    judged = judge.judgement()
    families = text_string_to_metric_families(exposition(PLAN, judged, 58.0, judge.looks))
    samples = {
        (sample.name.removeprefix("mlpipeline_verify_"), sample.labels.get("verdict", "")): sample
        for f in families
        for sample in f.samples
    }
    assert samples["evidence", ""].value == judged.evidence
    assert samples["distance", ""].value == 0
    assert samples["threshold", ""].value == 100
    assert samples["verdict", "fail"].value == 1
    assert samples["verdict", "pass"].value == 0
    assert samples["metric_ratio", ""].labels == {"service": 'a"b\\c', "metric": "errors"}
    assert samples["looks", ""].value == 30


def test_before_the_first_look_there_is_distance_and_no_upper_bound() -> None:
    text = exposition(PLAN, Judge(PLAN).judgement(), 0.0, 0)
    assert 'mlpipeline_verify_distance{service="a\\"b\\\\c"} 2\n' in text
    assert "mlpipeline_verify_metric_ratio_high" in text
    assert "+Inf" in text
