"""The numbers that verification later decides on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlpipeline.serving.logs import LINES_PER_SECOND, Log
from mlpipeline.serving.metrics import LABEL_LIMIT, SECONDS_BUCKETS, VALUE_BUCKETS, Metrics, Seen
from mlpipeline.serving.requirements import REQUIREMENTS
from mlpipeline.serving.settings import Settings, parse


def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def identity(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"service": "churn", "colour": "blue", "model_version": "3", "traffic": "live", **labels}.items()))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Settings(model=Path("m"), service="churn", colour="blue", model_version="3", digest="sha256:0"))


def test_every_series_that_can_occur_exists_from_the_start_with_0(metrics: Metrics) -> None:
    metrics.expect(["a", "b"], Seen(labels={"yes": 3, "no": 1}))
    samples = read(metrics)
    for traffic in ("live", "mirror"):
        for code in ("2xx", "4xx", "5xx"):
            assert samples["mlpipeline_requests_total", identity(traffic=traffic, code=code)] == 0
        for label in ("yes", "no"):
            assert samples["mlpipeline_predictions_total", identity(traffic=traffic, label=label)] == 0
        for column in ("a", "b"):
            assert samples["mlpipeline_input_nulls_total", identity(traffic=traffic, column=column)] == 0
        for bound in (*map(str, SECONDS_BUCKETS), "+Inf"):
            assert samples["mlpipeline_request_seconds_bucket", identity(traffic=traffic, le=bound)] == 0
        assert samples["mlpipeline_requests_in_flight", identity(traffic=traffic)] == 0
    info = (("colour", "blue"), ("digest", "sha256:0"), ("model_version", "3"), ("service", "churn"))
    assert samples["mlpipeline_model_info", info] == 1


def test_a_latency_on_a_bound_counts_as_within_it(metrics: Metrics) -> None:
    metrics.live.answered(200, 0.25)
    metrics.live.answered(500, 11.0)
    samples = read(metrics)
    assert samples["mlpipeline_request_seconds_bucket", identity(le="0.1")] == 0
    assert samples["mlpipeline_request_seconds_bucket", identity(le="0.25")] == 1
    assert samples["mlpipeline_request_seconds_bucket", identity(le="10.0")] == 1
    assert samples["mlpipeline_request_seconds_bucket", identity(le="+Inf")] == 2
    assert samples["mlpipeline_request_seconds_sum", identity()] == 11.25
    assert samples["mlpipeline_requests_total", identity(code="5xx")] == 1


def test_numbers_fill_a_histogram_of_cumulative_buckets(metrics: Metrics) -> None:
    empty = [0] * (len(VALUE_BUCKETS) + 1)
    metrics.expect([], Seen(labels={"NaN": 0}, values=empty))
    assert read(metrics)["mlpipeline_prediction_value_count", identity()] == 0
    numbers = list(empty)
    numbers[VALUE_BUCKETS.index(0.5)] = 2
    numbers[-1] = 1
    metrics.live.add(Seen(values=numbers, total=2_000_001.0))
    samples = read(metrics)
    assert samples["mlpipeline_prediction_value_bucket", identity(le="0.45")] == 0
    assert samples["mlpipeline_prediction_value_bucket", identity(le="0.5")] == 2
    assert samples["mlpipeline_prediction_value_count", identity()] == 3
    assert samples["mlpipeline_prediction_value_sum", identity()] == 2_000_001.0
    assert samples["mlpipeline_predictions_total", identity(label="NaN")] == 0


def test_value_bounds_rise() -> None:
    assert list(VALUE_BUCKETS) == sorted(set(VALUE_BUCKETS))


def test_classes_beyond_the_limit_count_as_other(metrics: Metrics) -> None:
    for number in range(LABEL_LIMIT + 10):
        metrics.live.add(Seen(labels={f"class {number}": 1}))
    assert len(metrics.live.labels) == LABEL_LIMIT + 1
    assert metrics.live.labels["other"] == 10
    metrics.live.add(Seen(labels={"class 0": 1}))
    assert metrics.live.labels["class 0"] == 2


def test_a_flood_of_problems_is_counted_instead_of_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("mlpipeline.serving.logs.time.monotonic", lambda: now[0])
    log = Log({"colour": "blue"})
    for number in range(LINES_PER_SECOND + 5):
        log.problem("request refused", number=number)
    now[0] += 1
    log.problem("request refused", number=99)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == LINES_PER_SECOND + 1
    assert "suppressed" not in lines[0]
    assert (lines[-1]["number"], lines[-1]["suppressed"], lines[-1]["colour"]) == (99, 5, "blue")


def test_the_command_line_of_a_colour_is_understood() -> None:
    line = "--model /m --host 127.0.0.1 --port 81 --service s --colour blue --model-version 4 --digest d"
    settings = parse([*line.split(), "--threads", "3", "--drain-timeout", "2.5"])
    assert settings == Settings(
        model=Path("/m"), port=81, service="s", colour="blue", model_version="4", digest="d", threads=3, drain_timeout=2.5
    )


@pytest.mark.parametrize(
    "wrong", ["--threads 0", "--queue -1", "--drain-timeout nan", "--time-limit -1", "--port x", "--nonsense 1"]
)
def test_a_wrong_command_line_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--model", "/m", *wrong.split()])
    assert ended.value.code == 2
    assert wrong.split(maxsplit=1)[0] in capsys.readouterr().err


def test_the_requirements_name_what_the_process_imports() -> None:
    names = {requirement.partition(">")[0] for requirement in REQUIREMENTS}
    assert {"mlflow", "uvicorn", "uvloop", "httptools", "prometheus-client", "pandas", "numpy"} == names
