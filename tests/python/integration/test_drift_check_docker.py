"""What a real engine tells of containers that somebody changed behind mlpipeline's back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from changed_parts import SECRET, changed, release
from docker_parts import DockerWorld
from mlpipeline.core.container import container_name
from mlpipeline.core.inventory import Part
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerWorld]:
    with closing(DockerWorld(tmp_path_factory.mktemp("released"), network="bridge", environment={"TOKEN": SECRET})) as made:
        release(made)
        yield made


@pytest.fixture(scope="module")
def released(world: DockerWorld) -> Mapping[str, Part]:
    return world.target().inventory()


def test_what_nobody_touched_does_not_differ_and_tells_no_secret(world: DockerWorld, released: Mapping[str, Part]) -> None:
    assert set(released) == {"blue", "router"}
    assert "TOKEN#" in released["blue"].facts["environment"]
    assert SECRET not in str(released)
    assert not changed(world, released)


def test_memory_changed_by_docker_update_is_named_with_its_moment(world: DockerWorld, released: Mapping[str, Part]) -> None:
    name = container_name(world.service, "blue")
    world.engine.client.update_container(name, mem_limit="300m", memswap_limit="300m")
    one = changed(world, released)["blue", "memory limit"]
    assert (one.released, one.found) == (released["blue"].facts["memory limit"], str(300 * 2**20))
    assert "last update 20" in one.changed


def test_a_container_put_in_place_of_the_released_one_is_named(world: DockerWorld, released: Mapping[str, Part]) -> None:
    """With all labels of the released one, and so found as the colour."""
    client, name = world.engine.client, container_name(world.service, "blue")
    known = client.inspect_container(name)
    client.remove_container(name, force=True)
    other = world.artifact(Behaviour("evil"))
    image = world.target()._images.ensure(other.image)
    made = client.create_container(image, name=name, labels=known["Config"]["Labels"], user="0")
    client.start(made["Id"])
    found = changed(world, released)
    assert found["blue", "image"].found == image
    assert {"user", "read-only root", "command"} <= {what for part, what in found if part == "blue"}
    assert made["Id"][:12] in found["blue", "image"].changed


def test_a_stranger_in_the_network_of_the_service_is_named(world: DockerWorld, released: Mapping[str, Part]) -> None:
    client = world.engine.client
    (network,) = client.networks(names=[container_name(world.service, "network")])
    image = released["router"].facts["image"]
    host: Any = client.create_host_config(network_mode=network["Name"])
    command = ["/usr/bin/python3.11", "-c", "import time; time.sleep(300)"]
    made = client.create_container(image, command, name="stranger", host_config=host, entrypoint=[], user="1000")
    try:
        client.start(made["Id"])
        one = changed(world, released)["container stranger", "kind"]
        assert "was made 20" in one.changed
    finally:
        client.remove_container(made["Id"], force=True)


def test_a_router_that_died_is_down(world: DockerWorld, released: Mapping[str, Part], tmp_path: Path) -> None:
    del tmp_path
    world.kill_router()
    assert changed(world, released)["router", "state"].found == "down"
