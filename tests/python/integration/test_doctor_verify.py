"""What ``doctor`` finds out about verification before any traffic moves, with a real Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fakes import FakeWorld
from mlpipeline.adapters.prometheus import PrometheusSource
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.config.sections.verification import (
    AccuracyRule,
    Condition,
    DisagreementRule,
    LatencyRule,
    PredictionsRule,
    ScoredMetric,
    ScoreRule,
    Verify,
)
from mlpipeline.config.values import Duration
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import ConfigurationError
from mlpipeline.verbs import doctor_verify
from mlpipeline.verbs.context import Context, World
from mlpipeline.verbs.findings import Note
from prometheus_server import MetricsPage, running_prometheus, wait_for

pytestmark = pytest.mark.real
Make = Callable[..., Context]


GRID = ("0.1", "0.25", "1", "+Inf")


def page(colour: str, service: str = "iris", bounds: Sequence[str] = GRID, requests: int = 5) -> str:
    labels = f'service="{service}",colour="{colour}",traffic="live"'
    buckets = "".join(f'mlpipeline_request_seconds_bucket{{{labels},le="{le}"}} 3\n' for le in bounds)
    return f'mlpipeline_requests_total{{{labels},code="2xx"}} {requests}\ndrift_score{{{labels}}} 0.1\n{buckets}'


SERVED = "".join(
    (
        page("blue"),
        page("north", "compass"),
        page("blue", "quiet", (), requests=0),
        page("blue", "without-histogram") + page("green", "without-histogram", ()),
        page("blue", "without-bounds", ("+Inf",)),
        page("blue", "other-name") + page("canary", "other-name"),
        page("blue", "several") + 'drift_score{service="several",colour="blue",part="b"} 0.2\n',
        page("blue", "two-grids") + page("green", "two-grids", ("0.2", "2", "+Inf")),
    )
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with MetricsPage() as served:
        served.text = SERVED
        labels = {colour: {"service": "twice", "colour": colour} for colour in ("blue", "green")}
        targets = "".join(f"  - {{targets: ['{served.address}'], labels: {own}}}\n" for own in labels.values())
        twice = f"- job_name: twice\n  static_configs:\n{targets}"
        folder = tmp_path_factory.mktemp("prometheus")
        with running_prometheus(folder, {"page": {served.address: {}}}, jobs=twice) as url:
            source = PrometheusSource(url)
            wait_for(lambda: len(source.instant("up == 1")) == 1 + len(labels), "a scrape of each target")
            yield url


@pytest.fixture
def make(server: str, tmp_path: Path) -> Make:
    def made(service: str = "iris", rollout: Rollout | None = None, **settings: object) -> Context:
        verify = Verify(prometheus=server, **settings)  # type: ignore[arg-type]
        world = FakeWorld(tmp_path, service=service, verify=verify, rollout=rollout or Rollout())
        world.target.plan = TrafficPlan(live=Colour.BLUE)
        reach = World(
            target=lambda: world.target, registry=lambda: world.registry, metrics=lambda url: PrometheusSource(url, verify)
        )
        return world.context(clock=SystemClock(), world=reach)

    return made


def condition(query: str, **fields: object) -> dict[str, object]:
    return {"conditions": (Condition("drift", query, success="result < 1", **fields),)}  # type: ignore[arg-type]


def test_metrics_that_are_there_pass_and_the_bucket_that_is_used_is_named(make: Make) -> None:
    asked = condition('max(drift_score{service="{{service}}",colour="{{candidate}}"})')
    said = doctor_verify.metrics(make(latency=LatencyRule(objective=Duration(0.3)), **asked))
    assert isinstance(said, str) and "judged at 0.25 s, the bucket nearest to 0.3 s" in said


def test_a_metric_that_nobody_exports_is_named_with_the_nearest(make: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"'drift_scores'.*; the nearest that is there is drift_score$"):
        doctor_verify.metrics(make(**condition("max(rate(drift_scores[1m])) / max(drift_score)")))
    score = ScoreRule(metrics=(ScoredMetric("d", 'drif_score{colour="{{colour}}"}'),))
    with pytest.raises(ConfigurationError, match="scored metric 'd'"):
        doctor_verify.metrics(make(score=score))


@pytest.mark.parametrize("fields", [{"empty": "zero"}, {"empty": "pass"}, {"dry_run": True}])
def test_a_metric_that_may_be_missing_is_not_held_against_the_release(make: Make, fields: dict[str, object]) -> None:
    assert "exist" in str(doctor_verify.metrics(make(**condition("errors_that_never_happened", **fields))))


def test_labels_that_no_series_has_are_told_with_those_it_has(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="with other labels") as caught:
        doctor_verify.metrics(make(**condition('drift_score{service="{{service}}",color="{{candidate}}"}')))
    assert 'colour="' in caught.value.render()


MANY = 'drift_score{service="{{service}}",colour="{{candidate}}"}'


@pytest.mark.parametrize(
    ("service", "query", "said", "fact"),
    [
        ("several", MANY, "the query answers 2 series", 'part="b"'),
        ("iris", f"{MANY}[20s] # of late", "the query answers all scrapes of a time", "max_over_time"),
    ],
)
def test_a_condition_whose_query_never_answers_one_number(make: Make, service: str, query: str, said: str, fact: str) -> None:
    with pytest.raises(ConfigurationError, match="condition 'drift' is always inconclusive") as caught:
        doctor_verify.metrics(make(service, **condition(query)))
    assert said in caught.value.what and fact in caught.value.render()


@pytest.mark.parametrize(
    "fields",
    [{"several": "every"}, {"dry_run": True}, {"success": "len( result ) < 3 && result[0] < 1"}, {"query": f"max({MANY})"}],
)
def test_several_series_are_right_where_the_condition_says_what_they_mean(make: Make, fields: dict[str, str]) -> None:
    own = Condition("drift", **{"query": MANY, "success": "result < 1", **fields})  # type: ignore[arg-type]
    assert "exist" in str(doctor_verify.metrics(make("several", conditions=(own,))))


def test_labels_that_do_not_tell_the_colours_apart(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="'north'"):
        doctor_verify.metrics(make("compass"))


def test_a_colour_of_another_name_is_told(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="has 'blue', 'canary', not 'blue' and 'green'"):
        doctor_verify.metrics(make("other-name"))


def test_one_target_that_is_scraped_as_both_colours_is_told(make: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:\d+ is scraped as blue and as green"):
        doctor_verify.metrics(make("twice"))


def test_an_objective_far_from_every_bucket_names_the_nearest(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="the nearest usable is 1 s") as caught:
        doctor_verify.metrics(make(latency=LatencyRule(objective=Duration(30))))
    assert "0.1, 0.25, 1" in caught.value.render()


@pytest.mark.parametrize(
    ("service", "said", "fact"),
    [
        ("without-histogram", "request_seconds_bucket of green does not exist", "buckets of blue   0.1, 0.25, 1, +Inf"),
        ("without-bounds", "request_seconds_bucket of blue has no bucket but +Inf", "buckets of blue  +Inf"),
        ("two-grids", "the nearest to the objective of 0.25 s are 0.25 s of blue and 0.2 s of green", "of green  0.2, 2, +Inf"),
    ],
)
def test_latencies_that_cannot_be_compared_are_found_before_traffic_moves(make: Make, service: str, said: str, fact: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        doctor_verify.metrics(make(service))
    assert said in caught.value.what and fact in caught.value.render()
    assert "exist" in str(doctor_verify.metrics(make(service, latency=LatencyRule(enabled=False))))


def test_a_histogram_is_not_missed_before_the_first_request(make: Make) -> None:
    assert "whether mlpipeline_request_seconds_bucket exists is not known" in str(doctor_verify.metrics(make("quiet")))


def test_a_pack_of_another_runtime_is_told_with_what_there_is(make: Make) -> None:
    found = doctor_verify.metrics(make(pack="triton"))
    assert isinstance(found, Note) and "none that the pack triton reads" in found.text
    assert "mlpipeline_request_seconds_bucket" in found.text


def test_before_the_first_release_nothing_is_held_against_the_queries(make: Make) -> None:
    found = doctor_verify.metrics(make("unborn", **condition("no_such_metric")))
    assert isinstance(found, str) and "not known; it has those of 'compass', 'iris'" in found


def test_a_champion_that_has_just_been_scraped_is_not_said_to_answer_nothing(make: Make) -> None:
    found = doctor_verify.traffic(make())
    assert isinstance(found, Note) and found.text.startswith("errors: too little history yet")


def test_too_little_traffic_for_any_verdict_is_said_with_the_numbers_and_is_no_fault(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpipeline.verbs.verify_planning._YOUNG", 0.0)
    found = doctor_verify.traffic(make())
    assert isinstance(found, Note)
    assert "at present traffic no release could pass: errors: the champion answers no requests now" in found.text


def test_a_champion_that_has_predicted_nothing_yet_is_no_fault(make: Make) -> None:
    found = doctor_verify.traffic(make(predictions=PredictionsRule(enabled=True)))
    assert isinstance(found, Note) and "predicted no class and no number yet" in found.text


LATE = {"labelled_query": 'sum(labelled{colour="{{colour}}"})', "wrong_query": 'sum(wrong{colour="{{colour}}")'}


def test_a_wrong_query_of_late_labels_is_found_before_traffic_moves(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="cannot run this query: sum\\(wrong"):
        doctor_verify.queries(make(accuracy=AccuracyRule(enabled=True, **LATE)))
    assert "counted by queries" in str(doctor_verify.labels(make(accuracy=AccuracyRule(enabled=True, **LATE)))), "told once"


def counted(name: str) -> AccuracyRule:
    queries = (
        f'sum({each}{{service="{{{{service}}}}",colour="{{{{colour}}}}"}})' for each in (name, "mlpipeline_requests_total")
    )
    return AccuracyRule(enabled=True, **dict(zip(("wrong_query", "labelled_query"), queries, strict=True)))


def test_counters_of_late_labels_that_are_there_pass_and_misspelt_ones_are_told(make: Make) -> None:
    assert (
        doctor_verify.labels(make(accuracy=counted("mlpipeline_request_seconds_bucket"))) == "late labels are counted by queries"
    )
    found = doctor_verify.labels(make(accuracy=counted("mislabeled_total")))
    assert isinstance(found, Note) and "no series answers verify.accuracy.wrong_query, sum(mislabeled_total" in found.text


def test_counters_of_every_process_are_told_to_be_summed_up(make: Make) -> None:
    many = 'mlpipeline_request_seconds_bucket{service="{{service}}",colour="{{colour}}"}'
    with pytest.raises(ConfigurationError, match="has 4 series as answer"):
        doctor_verify.labels(make(accuracy=AccuracyRule(enabled=True, labelled_query=many, wrong_query=many)))


def test_late_labels_that_cannot_be_joined_are_found_before_traffic_moves(make: Make) -> None:
    rule = AccuracyRule(enabled=True, predictions="answers.csv", labels="labels.csv")
    context = make(accuracy=rule)
    context.project.mkdir(exist_ok=True)
    with pytest.raises(ConfigurationError, match="the predictions do not exist"):
        doctor_verify.labels(context)
    (context.project / "answers.csv").write_text("request_id,colour,prediction\n1,blue,a\n")
    (context.project / "labels.csv").write_text("request_id,outcome\n1,a\n")
    with pytest.raises(ConfigurationError, match="no column 'label'"):
        doctor_verify.labels(context)
    (context.project / "labels.csv").write_text("request_id,label\nr1,a\n")
    strange = doctor_verify.labels(context)
    assert isinstance(strange, Note) and "no label has the request id of an answer" in strange.text
    (context.project / "labels.csv").write_text("request_id,label\n1,a\n")
    assert "can be joined" in str(doctor_verify.labels(context))


def test_a_champion_that_keeps_no_answers_is_told_before_the_release(make: Make) -> None:
    found = doctor_verify.answers(make(disagreement=DisagreementRule(enabled=True)))
    assert isinstance(found, Note) and "the next release cannot compare any" in found.text


def test_a_condition_that_cannot_finish_is_said_with_the_numbers(make: Make) -> None:
    slow = condition("drift_score", interval=Duration(600), count=10)
    with pytest.raises(ConfigurationError, match="needs 90 min for 10 measurements"):
        doctor_verify.traffic(make(rollout=Rollout(mirror=Duration(60), steps=(10,), step=Duration(60)), **slow))


def test_wrong_promql_is_found_without_a_prometheus_of_ones_own(tmp_path: Path) -> None:
    world = FakeWorld(tmp_path, verify=Verify(**condition("sum by (le (drift)")))  # type: ignore[arg-type]
    reach = World(target=lambda: world.target, registry=lambda: world.registry, metrics=PrometheusSource)
    context = world.context(clock=SystemClock(), world=reach)
    with pytest.raises(ConfigurationError, match="cannot run this query") as caught:
        doctor_verify.queries(context)
    assert caught.value.what.startswith("Prometheus cannot run this query: sum by (le (drift) (invalid parameter")
    assert "parse error" in caught.value.what
    right = FakeWorld(tmp_path, verify=Verify(**condition("sum by (le) (drift)")))  # type: ignore[arg-type]
    assert "can read" in doctor_verify.queries(right.context(clock=SystemClock(), world=reach))
    assert "can read" not in doctor_verify.queries(FakeWorld(tmp_path).context(clock=SystemClock(), world=reach))
