"""An Envoy that knows no such clusters says so, and the message says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.core import envoy_failover
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault
from target_world import LocalWorld
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


def test_an_envoy_that_is_too_old_is_told_from_other_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = LocalWorld(tmp_path)
    unknown = envoy_failover.CLUSTER_TYPE.replace(".v3.", ".v99.")
    monkeypatch.setattr(envoy_failover, "CLUSTER_TYPE", unknown)
    try:
        target = world.target()
        target.deploy(Colour.BLUE, world.artifact(Behaviour("one")))
        with pytest.raises(EnvironmentFault, match="did not start") as fault:
            target.route(TrafficPlan.all_to(Colour.BLUE))
        assert "target.failover: false" in fault.value.render()
        world.failover = False
        world.target().route(TrafficPlan.all_to(Colour.BLUE))
    finally:
        world.close()
