"""Answers to mirrored requests, joined by id: real scoring servers behind a real Envoy."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlpipeline.serving
from mlpipeline.adapters.local import LocalTarget
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.target import Local
from mlpipeline.config.values import Duration
from mlpipeline.core.disagreement import Join
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.hosting.machine import free_port
from mlpipeline.ports import Artifact
from mlpipeline.record.places import Places
from prometheus_server import wait_for
from tiny_model import save_tiny_model, tiny_request

pytestmark = pytest.mark.real
REQUESTS = 12


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[LocalTarget, str]]:
    port = free_port()
    settings = Local(port=port, ready_timeout=Duration(120), drain_timeout=Duration(5), keep_answers=100)
    places = Places(project=tmp_path, home=tmp_path / "home", service="compared")
    target = LocalTarget(places, "compared", settings, SystemClock(), lambda _: Path(sys.executable))
    try:
        for colour, seed in ((Colour.BLUE, 0), (Colour.GREEN, 1)):
            bundle = tmp_path / f"bundle-{seed}"
            save_tiny_model(bundle / "model", seed=seed)
            library = bundle / "lib" / "mlpipeline"
            shutil.copytree(Path(mlpipeline.serving.__file__).parent, library / "serving")
            (library / "__init__.py").write_text('__version__ = "0"\n')
            target.deploy(colour, Artifact(digest=f"sha256:{seed}", path=str(bundle), model_version=str(seed)))
        target.route(TrafficPlan(live=Colour.BLUE, mirror=True))
        yield target, f"http://127.0.0.1:{port}"
    finally:
        target.shutdown()


def test_both_colours_tell_what_they_answered_to_the_same_request_and_users_do_not_see_it(
    service: tuple[LocalTarget, str],
) -> None:
    target, url = service
    for _ in range(REQUESTS):
        request = urllib.request.Request(f"{url}/invocations", tiny_request(), {"Content-Type": "application/json"})
        assert "predictions" in json.load(urllib.request.urlopen(request, timeout=30))
    wait_for(lambda: len(target.answers(Colour.GREEN)) == REQUESTS, "the copies were answered")
    compared, differing = Join(0.0).add(target.answers(Colour.GREEN), target.answers(Colour.BLUE))
    assert compared == REQUESTS
    assert differing in (0.0, float(REQUESTS))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/answers", timeout=30)
    assert refused.value.code == 404
