"""What only the docker target promises: containers that may do little, found by their labels, brought back by the engine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from constant_load import ConstantLoad
from docker_parts import DockerWorld, router_image
from image_parts import RegistryServer
from mlpipeline.adapters.docker import DockerTarget
from mlpipeline.clock import SystemClock
from mlpipeline.core.container import ContainerImage, container_name
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.ports import Artifact
from mlpipeline.record.places import Places
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

BLUE, GREEN = Colour.BLUE, Colour.GREEN
ONE, TWO = Behaviour("one"), Behaviour("two")
MakeWorld = Callable[..., DockerWorld]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    made: list[DockerWorld] = []

    def make(**settings: object) -> DockerWorld:
        made.append(DockerWorld(tmp_path, **settings))
        return made[-1]

    try:
        yield make
    finally:
        for world in made:
            world.close()


def live(world: DockerWorld) -> DockerTarget:
    """Blue serves users, green stands beside it."""
    target = world.target()
    target.deploy(BLUE, world.artifact(ONE))
    target.route(TrafficPlan.all_to(BLUE))
    target.deploy(GREEN, world.artifact(TWO))
    return target


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)


def killed(world: DockerWorld, role: str) -> None:
    """The process itself, as the kernel would: the engine did not do it and brings the container back."""
    os.kill(world.details(role)["State"]["Pid"], signal.SIGKILL)


def test_containers_are_pinned_limited_and_may_do_nothing(make_world: MakeWorld) -> None:
    world = make_world(memory="256MiB", cpus=0.5, processes=100, environment={"GREETING": "hello"})
    live(world)
    artifact = world.artifact(TWO)
    assert artifact.image is not None
    found = {role: world.details(role) for role in ("green", "router")}
    assert found["green"]["Image"] == artifact.image.id, "pinned by digest, not by a name"
    for details in found.values():
        host: dict[str, Any] = details["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"]
        assert not host["Privileged"] and host["PidsLimit"] == 100
        assert set(host["Tmpfs"]) == {"/tmp"}
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10485760", "max-file": "3"}}
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert details["Config"]["User"] not in {"", "root", "0"}
        ports = [binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings]
        assert set(ports) == {"127.0.0.1"}
    green = found["green"]
    assert (green["HostConfig"]["Memory"], green["HostConfig"]["MemorySwap"]) == (256 << 20, 256 << 20)
    assert green["HostConfig"]["NanoCpus"] == 500_000_000
    assert "GREETING=hello" in green["Config"]["Env"]
    assert green["Config"]["Healthcheck"]["Test"][0] == "CMD"
    (mount,) = found["router"]["Mounts"]
    assert mount["RW"] is False
    labels = green["Config"]["Labels"]
    assert (labels["mlpipeline.digest"], labels["mlpipeline.role"]) == (artifact.digest, "green")
    assert (labels["mlpipeline.run"], labels["mlpipeline.image"]) == ("one", artifact.image.digest)


def test_the_health_check_of_a_container_passes(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpipeline.adapters.docker.specification.HEALTH_SECONDS", 1)
    world = make_world()
    world.target().deploy(BLUE, world.artifact(ONE))
    until(lambda: world.details("blue")["State"]["Health"]["Status"] == "healthy", "the engine calls it healthy")


ASKS = """
import sys, urllib.error, urllib.request
asked = (("9901", "/quitquitquit", "POST"), ("9901", "/healthcheck/fail", "POST"), ("9901", "/quitquitquit", "GET"),
         ("9902", "/quitquitquit", "POST"), ("9901", "/stats", "GET"))
for port, path, method in asked:
    try:
        request = urllib.request.Request(f"http://{sys.argv[1]}:{port}{path}", method=method)
        print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20).status)
    except urllib.error.HTTPError as error:
        print(error.code)
    except urllib.error.URLError:
        print("closed")
"""


def test_a_models_container_can_read_what_the_router_counts_and_not_stop_it(make_world: MakeWorld) -> None:
    world = make_world()
    live(world)
    (network,) = world.details("router")["NetworkSettings"]["Networks"].values()
    inside = str(world.details("green")["State"]["Pid"])
    done = subprocess.run(
        ["nsenter", "--net", "--target", inside, sys.executable, "-c", ASKS, network["IPAddress"]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["404", "404", "404", "closed", "200"], done.stderr
    assert world.details("router")["State"]["Running"]


@pytest.mark.parametrize("network", ["bridge", "host"])
def test_a_release_on_either_network_loses_no_request(make_world: MakeWorld, network: str) -> None:
    world = make_world(network=network)
    target = live(world)
    with ConstantLoad(world.address) as load:
        assert load.wait_for("blue", 20)
        moved = target.route(TrafficPlan.all_to(GREEN), prove_within=30)
        target.retire(BLUE)
        target.deploy(BLUE, world.artifact(Behaviour("three")))
        target.route(TrafficPlan(GREEN, share=50))
        assert load.wait_for("blue", 20, since=time.monotonic())
        target.route(TrafficPlan.all_to(GREEN), prove_within=30)
        target.retire(BLUE)
    assert (load.failed, load.failures, moved.old_in_flight) == (0, [], 0)
    assert world.engine.containers() == [container_name(world.service, role) for role in ("green", "router")]


def test_green_killed_by_the_kernel_comes_back_and_no_user_notices(make_world: MakeWorld) -> None:
    world = make_world()
    target = live(world)
    with ConstantLoad(world.address, rate=50) as load:
        killed(world, "green")
        until(lambda: target.observe().colours[GREEN].restarts == 1, "the engine restarts it")
        until(lambda: target.observe().colours[GREEN].ready, "it answers again")
        target.route(TrafficPlan.all_to(GREEN), prove_within=30)
        assert load.wait_for("green", 20)
    assert (load.failed, load.failures) == (0, [])


@pytest.mark.parametrize("role", ["blue", "router"])
def test_what_users_need_and_the_kernel_killed_comes_back_by_itself(make_world: MakeWorld, role: str) -> None:
    world = make_world()
    target = live(world)
    killed(world, role)
    until(lambda: target.observe().plan == TrafficPlan.all_to(BLUE), "the router follows the last plan")
    until(lambda: target.observe().colours[BLUE].ready, "blue answers")
    with ConstantLoad(world.address) as load:
        assert load.wait_for("blue", 20)
    assert (load.failed, load.failures) == (0, [])


def test_what_crashes_at_its_start_is_not_started_again_and_again(make_world: MakeWorld) -> None:
    world = make_world()
    target = world.target()
    with pytest.raises(Failed) as failure:
        target.deploy(BLUE, world.artifact(Behaviour("sick", exits="no such column")))
    assert "no such column" in failure.value.render()
    details = world.details("blue")
    assert (details["RestartCount"], details["State"]["Status"]) == (0, "exited")


def test_nothing_is_left_of_a_first_release_that_was_given_up(make_world: MakeWorld) -> None:
    world = make_world()
    target = world.target()
    with pytest.raises(Failed):
        target.deploy(BLUE, world.artifact(Behaviour("sick", exits="no such column")))
    target.retire(BLUE)
    assert (world.engine.containers(), world.engine.networks()) == ([], [])


def test_nothing_is_left_after_a_shutdown(make_world: MakeWorld) -> None:
    world = make_world()
    target = live(world)
    target.shutdown()
    assert (world.engine.containers(), world.engine.networks()) == ([], [])
    observed = target.observe()
    assert (dict(observed.colours), observed.plan, observed.router) == ({}, None, "down")


def test_a_worker_with_another_state_folder_sees_and_moves_the_same(make_world: MakeWorld, tmp_path: Path) -> None:
    world = make_world()
    target = live(world)
    elsewhere = Places(project=tmp_path, home=tmp_path / "elsewhere", service=world.service)
    other = DockerTarget(elsewhere, world.service, world.settings, SystemClock(), {})
    assert other.observe() == target.observe()
    other.route(TrafficPlan.all_to(GREEN), prove_within=30)
    assert target.observe().plan == TrafficPlan.all_to(GREEN)


def test_a_container_that_somebody_else_made_of_our_image_is_not_ours(make_world: MakeWorld) -> None:
    world = make_world()
    artifact = world.artifact(ONE)
    target = world.target()
    target.deploy(BLUE, artifact)
    target.retire(BLUE)
    assert artifact.image is not None
    labels = {"mlpipeline.service": world.service}
    stranger = world.engine.client.create_container_from_config({"Image": artifact.image.id, "Labels": labels}, "stranger")
    assert target.observe().colours == {}
    target.shutdown()
    assert world.engine.containers() == ["stranger"]
    world.engine.client.remove_container(stranger["Id"])


@pytest.fixture
def registry(make_world: MakeWorld, tmp_path: Path) -> Iterator[tuple[DockerWorld, RegistryServer]]:
    world = make_world()
    server = RegistryServer(tmp_path / "registry")
    server.start()
    try:
        yield world, server
    finally:
        server.stop()


def pushed(world: DockerWorld, server: RegistryServer, behaviour: Behaviour) -> Artifact:
    """An artifact whose image is in the registry and nowhere else; pushed by the engine itself."""
    artifact = world.artifact(behaviour)
    assert artifact.image is not None
    from mlpipeline.adapters.docker.engine import Engine
    from mlpipeline.adapters.docker.images import Images

    client, name = world.engine.client, f"{server.host}/team/{behaviour.name}"
    found = Images(Engine(world.engine.host, {}), "pushed", 1).ensure(artifact.image)
    client.tag(found, name, "v1")
    said = [line for line in client.push(name, "v1", stream=True, decode=True) if "aux" in line]
    digest = said[-1]["aux"]["Digest"]
    for tag in client.inspect_image(found)["RepoTags"]:
        client.remove_image(tag)
    image = ContainerImage(digest=digest, id=artifact.image.id, reference=f"{name}@{digest}")
    return msgspec.structs.replace(artifact, image=image)


def test_an_image_is_pulled_by_digest_and_a_rollback_needs_no_registry(registry: tuple[DockerWorld, RegistryServer]) -> None:
    world, server = registry
    target = world.target()
    first = pushed(world, server, Behaviour("pulled"))
    target.deploy(BLUE, first)
    assert target.observe().colours[BLUE].artifact == first
    target.route(TrafficPlan.all_to(BLUE))
    second = pushed(world, server, Behaviour("never-pulled"))
    server.stop()
    with ConstantLoad(world.address, rate=50) as load:
        with pytest.raises(EnvironmentFault, match="could not be pulled"):
            target.deploy(GREEN, second)
        assert load.wait_for("blue", 5, since=time.monotonic())
    assert (load.failed, target.observe().plan) == (0, TrafficPlan.all_to(BLUE))
    world.kill_colour(BLUE)
    assert target.deploy(BLUE, first).ready, "what once ran here is here"


def test_images_that_nobody_needs_go_and_the_newest_stay(make_world: MakeWorld) -> None:
    world = make_world(keep_images=1)
    target = live(world)
    for name in ("three", "four", "five"):
        target.deploy(GREEN, world.artifact(Behaviour(name)))
    target.retire(GREEN)
    kept = world.engine.client.images(name="mlpipeline/contract")
    used = world.details("blue")["Image"]
    newest = world.artifact(Behaviour("five")).image
    assert newest is not None
    assert {entry["Id"] for entry in kept} == {used, newest.id}


def test_an_image_that_is_nowhere_and_a_version_without_one_are_refused(make_world: MakeWorld) -> None:
    world = make_world()
    made = world.artifact(ONE)
    gone = msgspec.structs.replace(made, image=ContainerImage(digest=f"sha256:{'0' * 64}", id=f"sha256:{'1' * 64}"))
    with pytest.raises(EnvironmentFault, match="not on this machine"):
        world.target().deploy(BLUE, gone)
    with pytest.raises(ConfigurationError, match="no container image"):
        world.target().deploy(BLUE, msgspec.structs.replace(made, image=None))
    assert world.engine.containers() == []


def test_a_users_port_that_is_taken_names_who_has_it(make_world: MakeWorld) -> None:
    world = make_world()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", world.settings.port))
        taken.listen()
        with pytest.raises(EnvironmentFault) as fault:
            world.target().deploy(BLUE, world.artifact(ONE))
    assert "target.docker.port" in fault.value.render()


def test_a_start_that_hangs_ends_with_the_time_limit(make_world: MakeWorld) -> None:
    world = make_world(ready_timeout=1.0)
    with pytest.raises(Failed, match="not ready within"):
        world.target().deploy(BLUE, world.artifact(Behaviour("loading", never_ready=True)))
    assert not world.details("blue")["State"]["Running"]


def test_gpus_that_the_engine_cannot_give_are_the_machines_fault(make_world: MakeWorld) -> None:
    world = make_world(gpus="all")
    with pytest.raises(EnvironmentFault, match="cannot give a container GPUs"):
        world.target().deploy(BLUE, world.artifact(ONE))
    world.target().shutdown()
    leased = make_world(gpus="leased")
    with pytest.raises(ConfigurationError, match="no GPU is"):
        leased.target().deploy(BLUE, leased.artifact(ONE))


def test_too_little_memory_is_the_machines_fault(make_world: MakeWorld) -> None:
    world = make_world(memory="7MiB", scratch="1MiB")
    if not world.engine.client.info()["MemoryLimit"]:
        pytest.skip("missing: a kernel that limits the memory of containers")
    with pytest.raises(EnvironmentFault, match=r"memory ran out|could not start"):
        world.target().deploy(BLUE, world.artifact(ONE))


def test_an_engine_that_does_not_answer_is_named(make_world: MakeWorld, tmp_path: Path) -> None:
    world = make_world()
    settings = msgspec.structs.replace(world.settings, engine=f"unix://{tmp_path}/nobody")
    target = DockerTarget(world.places, world.service, settings, SystemClock(), {})
    with pytest.raises(EnvironmentFault) as fault:
        target.observe()
    assert f"{tmp_path}/nobody" in fault.value.render()


def test_a_router_image_without_a_digest_is_refused(make_world: MakeWorld) -> None:
    world = make_world(router_image="registry.example.org/envoy:latest")
    target = world.target()
    target.deploy(BLUE, world.artifact(ONE))
    with pytest.raises(ConfigurationError, match="by its digest"):
        target.route(TrafficPlan.all_to(BLUE))
    assert router_image().startswith("sha256:")


def test_what_somebody_removed_by_hand_comes_back(make_world: MakeWorld) -> None:
    world = make_world()
    target = live(world)
    for role in ("router", "blue"):
        world.engine.client.remove_container(container_name(world.service, role), force=True)
    seen = target.observe()
    assert (set(seen.colours), seen.router) == ({GREEN}, "down")
    target.deploy(BLUE, world.artifact(ONE))
    assert target.observe().plan == TrafficPlan.all_to(BLUE), "the route file still says where users were"
    with ConstantLoad(world.address) as load:
        assert load.wait_for("blue", 20)
    assert load.failed == 0


def test_an_engine_that_is_gone_for_a_moment_is_waited_for_once_it_has_answered(make_world: MakeWorld) -> None:
    """As while it is restarted: its socket is not there."""
    world = make_world()
    target = world.target()
    before = target.observe()
    socket_file, away = world.engine.folder / "socket", world.engine.folder / "away"
    target._engine.client.get_adapter("http+docker://").pools.clear()  # connections end with the engine
    socket_file.rename(away)
    back = threading.Timer(1.0, lambda: away.rename(socket_file))
    back.start()
    try:
        assert target.observe() == before
    finally:
        back.join()
