"""A worker dies after a colour is ready and before the router is told where it listens: no user is sent to nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest

from constant_load import ConstantLoad
from mlpipeline.core.traffic import Colour, TrafficPlan
from target_world import WORLDS, TargetWorld
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

BLUE, GREEN = Colour.BLUE, Colour.GREEN


class Died(Exception):
    """In the place of SIGKILL."""


@pytest.fixture(params=sorted(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TargetWorld]:
    with closing(WORLDS[request.param](tmp_path)) as made:
        yield made


def test_the_next_worker_tells_the_router_before_it_sends_users_there(world: TargetWorld) -> None:
    target = world.target()
    target.deploy(BLUE, world.artifact(Behaviour("one")))
    target.route(TrafficPlan.all_to(BLUE))
    router = type(getattr(target, "_router"))  # noqa: B009 - a world knows no routers
    with patch.object(router, "set_endpoint", side_effect=Died), pytest.raises(Died):
        world.target().deploy(GREEN, world.artifact(Behaviour("two")))
    newer = world.target()
    assert newer.observe().colours[GREEN].ready
    with ConstantLoad(world.address, rate=40) as load:
        assert load.wait_for(BLUE, 5)
        newer.route(TrafficPlan.all_to(GREEN))
        assert load.wait_for(GREEN, 20)
    assert (load.failed, load.failures) == (0, [])
