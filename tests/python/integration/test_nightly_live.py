"""The questions ``nightly`` asks, put to a real Prometheus that scrapes what the scoring server exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.adapters.prometheus import PrometheusSource
from mlpipeline.config.sections.night import Decay, LiveDrift, Nightly, Prune
from mlpipeline.config.sections.verification import Verify
from mlpipeline.config.values import Duration
from mlpipeline.core.drift import Outcome
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.journal import Journal
from mlpipeline.serving.metrics import VALUE_BUCKETS, Metrics, Seen
from mlpipeline.serving.settings import Settings
from mlpipeline.verbs import nightly
from mlpipeline.verbs.context import World
from mlpipeline.verbs.nightly_looks import Found, live
from prometheus_server import MetricsPage, running_prometheus, wait_for
from release_story import Story

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def settings() -> Settings:
    return Settings(
        model=Path("m"),
        host="h",
        port=1,
        service="iris",
        colour="blue",
        model_version="1",
        digest="d",
        threads=1,
        drain_timeout=1.0,
    )


def test_counters_of_our_own_server_are_what_the_look_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = LiveDrift(enabled=True, window=Duration(6), before=Duration(6), min_predictions=40)
    with MetricsPage() as page:
        metrics = Metrics(settings())
        metrics.expect([], Seen(labels={"yes": 0, "no": 0}, values=[0] * (len(VALUE_BUCKETS) + 1)))
        page.text = metrics.render().decode()
        with running_prometheus(tmp_path / "prometheus", {"mlpipeline": {page.address: {}}}) as url:
            decay = Decay(query="vector(0.5) and on() vector(1) # {{service}} {{version}}", at_least=0.8)
            told = Story(
                tmp_path,
                nightly=Nightly(live=rule, accuracy=decay, at_least=1, prune=Prune(enabled=False)),
                verify=Verify(prometheus=url),
            )
            told.watch(monkeypatch)
            told.released()
            world = World(
                target=lambda: told.world.target,
                registry=lambda: told.world.registry,
                metrics=PrometheusSource,
            )
            context = told.world.context(world=world)
            quiet = nightly.run(context)
            assert quiet.verdict is Verdict.INCONCLUSIVE
            assert "0 predictions now" in quiet.reasons[0].summary
            assert quiet.evidence["retrain"] is True, "the accuracy the query answered is below what is wanted"
            champion = Journal(told.world.places.journal).read().champion
            assert champion is not None
            found: list[Found] = []

            def enough() -> bool:
                metrics.live.add(Seen(labels={"yes": 3, "no": 1}, values=[0] * 10 + [4] + [0] * (len(VALUE_BUCKETS) - 10)))
                page.text = metrics.render().decode()
                found.append(live(context, champion))
                return found[-1].outcome is not Outcome.UNKNOWN

            wait_for(enough, "both windows hold predictions", seconds=150)
    assert found[-1].outcome is Outcome.STEADY, found[-1]
    assert any(line.startswith("class yes: ") for line in found[-1].sample)
