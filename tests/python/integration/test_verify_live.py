"""The watch over a real Prometheus that scrapes two real pages: the numbers it judges are the numbers served."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fakes import FakeWorld
from mlpipeline.adapters.prometheus import PrometheusSource
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.config.sections.verification import ErrorRule, LatencyRule, Verify
from mlpipeline.config.values import Duration
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import World
from mlpipeline.verbs.verify import Roles, Watch, replay
from prometheus_server import MetricsPage, running_prometheus

pytestmark = pytest.mark.real
RUN = Run(id="r1", service="iris", commit="c" * 40, created="2026-03-01T03:00:00Z")
ROLES = Roles(candidate=Colour.GREEN, champion=Colour.BLUE)


class Colours:
    """Two pages whose counters a thread advances ten times a second."""

    def __init__(self, pages: dict[str, MetricsPage]) -> None:
        self._pages = pages
        self._stop = threading.Event()
        self.failing: set[str] = set()
        self.slow: set[str] = set()
        self._good = dict.fromkeys(pages, 0)
        self._bad = dict.fromkeys(pages, 0)
        self._quick = dict.fromkeys(pages, 0)
        self._thread = threading.Thread(target=self._advance, daemon=True)
        self._write()

    def __enter__(self) -> Colours:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _advance(self) -> None:
        while not self._stop.wait(0.1):
            for colour in self._pages:
                (self._bad if colour in self.failing else self._good)[colour] += 2
                self._quick[colour] += 0 if colour in self.slow else 2
            self._write()

    def _write(self) -> None:
        for colour, page in self._pages.items():
            traffic = "mirror" if colour == "green" else "live"
            labels = f'service="iris",colour="{colour}",model_version="1",traffic="{traffic}"'
            total = self._good[colour] + self._bad[colour]
            page.text = (
                f'mlpipeline_requests_total{{{labels},code="2xx"}} {self._good[colour]}\n'
                f'mlpipeline_requests_total{{{labels},code="4xx"}} 0\n'
                f'mlpipeline_requests_total{{{labels},code="5xx"}} {self._bad[colour]}\n'
                f'mlpipeline_request_seconds_bucket{{{labels},le="0.25"}} {self._quick[colour]}\n'
                f'mlpipeline_request_seconds_bucket{{{labels},le="+Inf"}} {total}\n'
            )


@contextmanager
def service(folder: Path, **verify: object) -> Iterator[tuple[Colours, Watch, Path]]:
    with ExitStack() as stack:
        pages = {colour: stack.enter_context(MetricsPage()) for colour in ("blue", "green")}
        colours = stack.enter_context(Colours(pages))
        url = stack.enter_context(
            running_prometheus(folder / "prometheus", {"mlpipeline": {p.address: {} for p in pages.values()}})
        )
        settings = Verify(interval=Duration(0.5), min_requests=20, **verify)  # type: ignore[arg-type]
        world = FakeWorld(folder, verify=settings, rollout=Rollout(hold=Duration(60)))
        reach = World(
            target=lambda: world.target, registry=lambda: world.registry, metrics=lambda at: PrometheusSource(at, settings)
        )
        context = world.context(clock=SystemClock(), world=reach)
        watch = Watch(context, RUN, ROLES, prometheus=url)
        watch.check()
        yield colours, watch, context.runs.folder(RUN.id) / "evidence.json"


def test_a_healthy_candidate_passes_and_its_evidence_replays(tmp_path: Path) -> None:
    with service(tmp_path) as (_, watch, evidence):
        outcome = watch.watch("mirror", 8, traffic="mirror", last=True)
        judged = watch.conclude()
    assert outcome.verdict is Verdict.PASS, outcome
    assert judged.verdict is Verdict.PASS, judged
    errors = judged.evidence["metrics"][0]  # type: ignore[index]
    assert errors["candidate_requests"] > 20
    assert errors["champion_events"] == 0
    assert errors["last_look"] == 1
    assert replay(evidence) == judged


@pytest.mark.parametrize("harm", ["failing", "slow"])
def test_a_broken_candidate_is_caught_while_the_champion_is_well(tmp_path: Path, harm: str) -> None:
    with service(tmp_path) as (colours, watch, _):
        getattr(colours, harm).add("green")
        outcome = watch.watch("mirror", 120, traffic="mirror")
    assert outcome.verdict is Verdict.FAIL, outcome
    assert outcome.reasons[0].check == ("verify.errors" if harm == "failing" else "verify.latency")


def test_a_stage_ends_as_soon_as_harm_is_excluded_where_that_is_wanted(tmp_path: Path) -> None:
    tolerant = {"errors": ErrorRule(tolerate=0.3), "latency": LatencyRule(tolerate=0.3)}
    with service(tmp_path, early_pass=True, **tolerant) as (_, watch, evidence):
        outcome = watch.watch("bake", 600, traffic="mirror", last=True)
        judged = watch.conclude()
    assert outcome.seconds < 120
    assert "harm is excluded, so it ends early" in outcome.summary
    assert judged.verdict is Verdict.PASS, judged
    assert replay(evidence) == judged


def test_trouble_of_both_is_no_fault_of_the_candidate(tmp_path: Path) -> None:
    with service(tmp_path) as (colours, watch, _):
        colours.slow.update(("blue", "green"))
        outcome = watch.watch("mirror", 8, traffic="mirror")
    assert outcome.verdict is Verdict.PASS, outcome
