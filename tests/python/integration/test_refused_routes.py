"""A router that refuses what it is told goes on as before, and what it refused is not what a restart would meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from constant_load import ConstantLoad
from mlpipeline.core import envoy_files
from mlpipeline.core.envoy_failover import Backup
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault
from target_world import WORLDS, TargetWorld
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture(params=["docker", "kubernetes", "local"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TargetWorld]:
    with closing(WORLDS[request.param](tmp_path)) as made:
        yield made


def test_a_plan_that_the_router_refuses_is_taken_back_and_users_notice_nothing(
    world: TargetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = world.target()
    target.deploy(Colour.BLUE, world.artifact(Behaviour("one")))
    target.route(TrafficPlan.all_to(Colour.BLUE))
    target.deploy(Colour.GREEN, world.artifact(Behaviour("two")))
    well = envoy_files.routes

    def to_nobody(plan: TrafficPlan, version: str, backup: Backup) -> dict[str, object]:
        made = well(plan, version, backup)
        made["resources"][0]["virtual_hosts"][0]["routes"] = [  # type: ignore[index]
            {"match": {"prefix": "/"}, "route": {"cluster": "nobody"}}
        ]
        return made

    with ConstantLoad(world.address, rate=50) as load:
        assert load.wait_for("blue", 10)
        with monkeypatch.context() as patch:
            patch.setattr(envoy_files, "routes", to_nobody)
            with pytest.raises(EnvironmentFault, match="did not confirm"):
                target.route(TrafficPlan.all_to(Colour.GREEN))
        assert target.observe().plan == TrafficPlan.all_to(Colour.BLUE)
        world.kill_router()
    assert load.by_colour()["green"] == 0
    target.route(TrafficPlan.all_to(Colour.BLUE))
    assert target.observe().plan == TrafficPlan.all_to(Colour.BLUE)
