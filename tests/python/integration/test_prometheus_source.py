"""The metric source against a real Prometheus, and against what is none."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator

import pytest

from mlpipeline.adapters.prometheus import PrometheusSource
from mlpipeline.config.sections.verification import Verify
from mlpipeline.config.values import Duration
from mlpipeline.core.promql import newest_scrape_query, selectors
from mlpipeline.core.weighted_score import ScoredMetric, ScorePlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.verbs.verify_samples import Samples
from prometheus_server import MetricsPage, free_port, running_prometheus, wait_for

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, MetricsPage]]:
    with MetricsPage() as page:
        page.text = 'answers_total{code="2xx"} 5\nanswers_total{code="5xx"} 0\nbroken NaN\ntwin_a 1\ntwin_b 1\n'
        with running_prometheus(tmp_path_factory.mktemp("prometheus"), {"page": {page.address: {"service": "churn"}}}) as url:
            source = PrometheusSource(url)
            wait_for(lambda: len(source.instant("answers_total[1m]")) >= 4, "two scrapes")
            yield url, page


def test_an_instant_query_answers_labels_value_and_time(server: tuple[str, MetricsPage]) -> None:
    found = PrometheusSource(server[0]).instant('answers_total{code="2xx"}')
    assert [(sample.labels["service"], sample.value) for sample in found] == [("churn", 5.0)]


def test_a_range_selector_answers_each_scrape_with_its_own_time(server: tuple[str, MetricsPage]) -> None:
    times = [sample.at for sample in PrometheusSource(server[0]).instant('answers_total{code="2xx"}[1m]')]
    assert len(times) >= 2
    assert times == sorted(set(times))


def test_a_scalar_is_one_sample_without_labels(server: tuple[str, MetricsPage]) -> None:
    (sample,) = PrometheusSource(server[0]).instant("time()")
    assert sample.labels == {}
    assert sample.value == pytest.approx(sample.at, abs=1)


def test_a_text_is_no_number(server: tuple[str, MetricsPage]) -> None:
    with pytest.raises(ConfigurationError, match="answers text, not a number") as told:
        PrometheusSource(server[0]).instant('"answers_total"')
    assert told.value.facts["said"] == "'answers_total'"


def test_an_unseen_series_is_absent_and_nan_stays_nan(server: tuple[str, MetricsPage]) -> None:
    source = PrometheusSource(server[0])
    assert source.instant("no_such_series") == []
    assert math.isnan(source.instant("broken")[0].value)


def test_the_age_of_what_a_query_reads_is_known_also_after_the_last_scrape(server: tuple[str, MetricsPage]) -> None:
    source = PrometheusSource(server[0])
    (alive,) = selectors("rate(answers_total[1m])")
    (newest,) = source.instant(newest_scrape_query(alive))
    assert 0 <= newest.at - newest.value < 60
    # a moment after the last scrape for which the plain selector answers nothing any more
    later = source.instant("time()")[0].value + 305
    assert source.instant("answers_total", later) == []
    (old,) = source.instant(newest_scrape_query(alive, within=900), later)
    assert old.at - old.value > 240


def test_a_score_takes_one_sample_of_one_scrape_whatever_its_queries_read(server: tuple[str, MetricsPage]) -> None:
    source = PrometheusSource(server[0])
    rate = 'sum(rate(answers_total{code="2xx"}[1m])) / sum(rate(answers_total[1m]))'
    # both twins have the same labels, so that no time can be asked of them together
    plan = ScorePlan(
        (
            ScoredMetric("rate", (rate, rate)),
            ScoredMetric("absent", ("no_such_series", "answers_total")),
            ScoredMetric("constant", ("vector(1)", "vector(1)")),
        )
    )
    twins = ScorePlan((*plan.metrics, ScoredMetric("twins", ('sum({__name__=~"twin_.*"})', "sum(answers_total)"))))
    for found in (plan, twins):
        samples = Samples(source)
        began = time.time()
        taken = []
        while time.time() < began + 3:
            taken.append(samples.take(found))
        counted = {name: sum(not look[name].repeated for look in taken) for name in taken[0]}
        assert len(taken) > 10
        assert 1 <= counted["rate"] <= 5
        assert 1 <= counted["absent"] <= 5
        assert all(counted[name] == len(taken) for name in counted if name in ("constant", "twins"))
        assert not any(look[name].error for look in taken for name in look)


def test_a_range_query_answers_points_by_sorted_labels(server: tuple[str, MetricsPage]) -> None:
    source = PrometheusSource(server[0])
    now = source.instant("time()")[0].value
    found = source.series('answers_total{code="5xx"}', now - 5, now, 1)
    ((labels, points),) = found.items()
    assert list(labels) == sorted(labels)
    assert {value for _, value in points} == {0.0}


def test_a_broken_query_is_the_configurations_fault(server: tuple[str, MetricsPage]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PrometheusSource(server[0]).instant("sum(rate(")
    assert "sum(rate(" in caught.value.render()
    assert "parse error" in caught.value.render()


def test_an_unreachable_server_is_the_environments_fault() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(EnvironmentFault, match="cannot be reached") as caught:
        PrometheusSource(url).instant("up")
    assert url in caught.value.render()


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        source = PrometheusSource(f"http://127.0.0.1:{silent.getsockname()[1]}", Verify(timeout=Duration(0.2)))
        with pytest.raises(EnvironmentFault, match=r"within 0\.2 s"):
            source.instant("up")


def test_something_else_on_the_port_is_said_so() -> None:
    with MetricsPage() as page:
        page.text = "[1, 2"
        with pytest.raises(EnvironmentFault):
            PrometheusSource(f"http://{page.address}").instant("up")


def test_headers_take_secrets_from_the_environment_only() -> None:
    with pytest.raises(ConfigurationError, match="TOKEN"):
        PrometheusSource("http://localhost:1", Verify(headers={"Authorization": "Bearer $TOKEN"}), {})
    PrometheusSource("http://localhost:1", Verify(headers={"Authorization": "Bearer ${TOKEN}"}), {"TOKEN": "x"})


def test_a_url_needs_its_scheme() -> None:
    with pytest.raises(ConfigurationError, match="prometheus:9090"):
        PrometheusSource("prometheus:9090")
