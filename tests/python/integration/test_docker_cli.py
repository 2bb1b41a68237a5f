"""Releases on containers from the command line: users asking all the time, workers killed, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_world import Moment
from constant_load import ConstantLoad
from docker_cli_world import DockerCliWorld
from docker_parts import own_engine, router_image
from mlpipeline.record.lease import holder
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

KILLS = (
    Moment("the candidate stands, nobody knows", "mlpipeline.adapters.docker.target:DockerTarget.deploy"),
    Moment("copies flow", "mlpipeline.adapters.docker.envoy:EnvoyContainer.apply", "mirror=True"),
    Moment("half of the users are moved", "mlpipeline.adapters.docker.envoy:EnvoyContainer.apply", "share=50"),
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DockerCliWorld]:
    engine = own_engine()
    router_image()
    with engine.network():
        made = DockerCliWorld(tmp_path)
        try:
            yield made
        finally:
            made.close()
            engine.clear()


def test_releases_and_a_rollback_lose_no_request_and_leave_nothing(world: DockerCliWorld) -> None:
    world.prepare()
    world.release()
    assert world.roles() == {"blue", "router"}
    first = world.champion
    with ConstantLoad(world.address, rate=100) as load:
        assert load.wait_for("blue", 20)
        second = world.prepare()
        world.release()
        assert (world.champion, world.roles()) == (second, {"green", "router"})
        assert load.wait_for("green", 20)
        world.call("rollback", "--reason", "complaints")
        assert (world.champion, world.roles()) == (first, {"blue", "router"})
        world.call("status")
    assert (load.failed, load.failures) == (0, [])
    assert {"blue", "green"} == set(load.by_colour())
    assert len(world.engine.client.volumes()["Volumes"]) == 1, "which says where the state is"
    world.call("stop")
    assert (world.engine.containers(), world.engine.networks()) == ([], [])
    assert not world.engine.client.volumes()["Volumes"]
    world.call("rollback", "--reason", "after a stop it brings the champion back")
    assert world.roles() == {"blue", "router"}


def test_a_candidate_that_does_not_start_leaves_nothing(world: DockerCliWorld) -> None:
    world.prepare(Behaviour("sick", exits="no such column"))
    worker = world.start("run")
    assert worker.ended() == 10, worker.told
    assert "no such column" in worker.told
    assert (world.engine.containers(), world.engine.networks()) == ([], [])
    assert not world.engine.client.volumes()["Volumes"], "nor a note of where the state is"
    assert (holder(world.places.lease), holder(world.places.making)) == (None, None)


def test_workers_killed_on_the_way_leave_users_answered_and_the_next_one_goes_on(world: DockerCliWorld) -> None:
    world.prepare()
    world.release()
    with ConstantLoad(world.address, rate=100) as load:
        assert load.wait_for("blue", 20)
        wanted = world.prepare()
        for moment in KILLS:
            world.start("run", dies=moment).dies()
        world.release()
        assert world.champion == wanted
        assert load.wait_for("green", 20)
    assert (load.failed, load.failures) == (0, [])
    assert world.roles() == {"green", "router"}
