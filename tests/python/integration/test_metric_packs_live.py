"""The queries of metric packs against a real Prometheus that scrapes the runtimes' exposition texts."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import pytest

import exposition
from mlpipeline.adapters.prometheus import PrometheusSource
from mlpipeline.core.judge import MetricPlan
from mlpipeline.core.traffic import Colour
from mlpipeline.packs import PACKS, find
from mlpipeline.verbs.looking import Reader, Roles
from prometheus_server import MetricsPage, running_prometheus, wait_for

pytestmark = pytest.mark.real
ROLES = Roles(candidate=Colour.GREEN, champion=Colour.BLUE)


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, MetricsPage]]:
    """One page per pack; both colours scrape the same one."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(MetricsPage()) for name in PACKS}


@pytest.fixture(scope="module")
def source(pages: dict[str, MetricsPage], tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusSource]:
    jobs = {}
    for name, page in pages.items():
        page.text = exposition.text(name)
        for colour in ("blue", "green"):
            jobs[f"{name}-{colour}"] = {page.address: {"service": f"the-{name}", find(name).colour_label: colour}}
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), jobs) as url:
        prometheus = PrometheusSource(url)
        wait_for(lambda: len(prometheus.instant("up == 1")) == len(jobs), "all are scraped")
        yield prometheus


@pytest.mark.parametrize("name", sorted(set(PACKS) - {"dcgm"}))
def test_counts_of_a_pack_come_out_of_a_real_prometheus(
    name: str, pages: dict[str, MetricsPage], source: PrometheusSource
) -> None:
    reader = Reader(source, f"the-{name}", ROLES, 1.0, name)
    scrapes = reader.scrapes(reader.now())
    plans = [
        MetricPlan("errors", "", reader.error_source(scrapes), 0.0, 2.0),
        MetricPlan("latency", "", reader.main, 0.0, 2.0, bound=reader.bound(scrapes, 10.0 if name == "vllm" else 0.25)),
    ]
    reader.look("a", "live", plans)
    pages[name].text = exposition.scaled(name, 2)
    found = {"errors": [0, 0, 0, 0], "latency": [0, 0, 0, 0]}

    def everything_is_in() -> bool:
        for metric, counts in reader.look("a", "live", plans).counts.items():
            found[metric] = [total + now for total, now in zip(found[metric], counts, strict=True)]
        return min(found["latency"]) >= 40

    wait_for(everything_is_in, "both colours were scraped anew")
    assert found == {"errors": [1000, 20, 1000, 20], "latency": [1000, 40, 1000, 40]}
    for plan in plans:
        reader.calibration(plan, reader.now(), 1.0)
        assert min(reader.usual(plan, reader.now())) >= 0
    everything, _, _ = reader._history_queries(plans[0])
    assert source.instant(everything)[0].value == 2000


@pytest.mark.parametrize("name", sorted(name for name in PACKS if find(name).conditions))
def test_conditions_of_a_pack_answer_one_number(name: str, source: PrometheusSource) -> None:
    for condition in find(name).conditions:
        query = condition.query.replace("{{service}}", f"the-{name}").replace("{{candidate}}", "green")
        (sample,) = source.instant(query)
        assert math.isfinite(sample.value)
