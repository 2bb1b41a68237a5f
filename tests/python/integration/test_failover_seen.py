"""A candidate that died is seen in its verdict although no user notices: a real Envoy, and a real Prometheus that scrapes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from constant_load import ConstantLoad
from fakes import FakeWorld
from mlpipeline.adapters.prometheus import PrometheusSource
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.config.sections.verification import LatencyRule, Verify
from mlpipeline.config.values import Duration
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting import scraper
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import World
from mlpipeline.verbs.verify import Roles, Watch
from target_world import LocalWorld
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

RUN = Run(id="r1", service=LocalWorld.service, commit="c" * 40, created="2026-03-01T03:00:00Z")
BLUE, GREEN = Colour.BLUE, Colour.GREEN


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    try:
        scraper.find_prometheus()
    except EnvironmentFault as fault:
        pytest.skip(f"prometheus: {fault.what}")
    with closing(LocalWorld(tmp_path)) as made:
        yield made


def test_a_candidate_killed_in_a_step_fails_it_although_every_user_is_answered(world: LocalWorld, tmp_path: Path) -> None:
    target = world.target()
    target.deploy(BLUE, world.artifact(Behaviour("one")))
    target.route(TrafficPlan.all_to(BLUE))
    target.deploy(GREEN, world.artifact(Behaviour("two")))
    watch = watching(tmp_path, target.monitoring())
    target.route(TrafficPlan(BLUE, share=50))
    with ConstantLoad(world.address, rate=100) as load:
        assert load.wait_for("green", 20)
        watch.check()
        killing = threading.Timer(3, world.kill_colour, (GREEN,))
        killing.start()
        outcome = watch.watch("step-50", 120, traffic="live")
        killing.join()
        failed = target.counts()[GREEN].failed
    assert (load.failed, load.failures) == (0, [])
    assert outcome.verdict is Verdict.FAIL, outcome
    assert outcome.reasons[0].check == "verify.errors"
    errors = watch.conclude().evidence["metrics"][0]  # type: ignore[index]
    assert 0 < errors["candidate_events"] <= failed
    assert errors["champion_events"] == 0, "who answers for another is not charged"


def watching(folder: Path, url: str) -> Watch:
    """A watch over what this Prometheus scrapes, once it has scraped the router, which sees a dead colour, and both colours."""
    deadline = time.monotonic() + 60
    while len(PrometheusSource(url, Verify()).instant("up == 1")) < 3:
        assert time.monotonic() < deadline, "not everything was scraped"
        time.sleep(0.1)
    settings = Verify(interval=Duration(1), min_requests=20, latency=LatencyRule(enabled=False))
    fakes = FakeWorld(folder, service=LocalWorld.service, verify=settings, rollout=Rollout(hold=Duration(60)))
    reach = World(target=lambda: fakes.target, registry=lambda: fakes.registry, metrics=lambda at: PrometheusSource(at, settings))
    return Watch(fakes.context(clock=SystemClock(), world=reach), RUN, Roles(candidate=GREEN, champion=BLUE), prometheus=url)
