"""What a cluster adds to the promises of a target: images, quotas, nodes, an API that is cut off, several routers, others."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from constant_load import ConstantLoad
from kubernetes_cluster import kubeconfig
from kubernetes_parts import REPOSITORY, KubernetesWorld
from mlpipeline.adapters.kubernetes import KubernetesTarget, colours
from mlpipeline.adapters.kubernetes.api import Object
from mlpipeline.adapters.kubernetes.lease import ServiceLease
from mlpipeline.clock import SystemClock
from mlpipeline.config.values import Duration
from mlpipeline.core.container import ContainerImage
from mlpipeline.core.kubernetes_places import Names
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, Held
from mlpipeline.record.lease import Holder
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

BLUE, GREEN = Colour.BLUE, Colour.GREEN
ONE, TWO = Behaviour("one"), Behaviour("two")
ME = Holder(pid=os.getpid(), host="one-machine", user="tester", run="run-1", since="2026-11-21T00:00:00Z", verb="switch")
SWITCHES = 20


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesWorld]:
    """Blue and green stand behind two routers; each test leaves users on blue."""
    world = KubernetesWorld(tmp_path_factory.mktemp("live"), router_replicas=2)
    try:
        target = world.target()
        target.deploy(BLUE, world.artifact(ONE))
        target.route(TrafficPlan.all_to(BLUE))
        target.deploy(GREEN, world.artifact(TWO))
        yield world
    finally:
        world.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[KubernetesWorld]:
    """A service of which nothing stands yet, and short waits for what will not come."""
    with closing(KubernetesWorld(tmp_path, ready_timeout=Duration(6))) as made:
        yield made


def test_twenty_switches_under_load_lose_nothing_with_two_routers(live: KubernetesWorld) -> None:
    target = live.target()
    with ConstantLoad(live.address, rate=100) as load:
        for number in range(SWITCHES):
            colour = (GREEN, BLUE)[number % 2]
            moved = target.route(TrafficPlan.all_to(colour), prove_within=30)
            assert moved.old_in_flight == 0
            assert load.wait_for(colour, 5, time.monotonic())
    assert (load.failed, load.failures) == (0, [])
    assert target.observe().plan == TrafficPlan.all_to(BLUE)


def test_an_api_that_is_cut_off_in_the_middle_is_waited_for_and_no_user_notices(live: KubernetesWorld, tmp_path: Path) -> None:
    with CuttableApi(tmp_path) as api, ConstantLoad(live.address, rate=50) as load:
        settings = msgspec.structs.replace(live.settings, kubeconfig=api.kubeconfig)
        target = KubernetesTarget(live.service, settings, SystemClock(), {})
        assert target.observe().plan == TrafficPlan.all_to(BLUE)
        api.cut_for(4.0)
        target.route(TrafficPlan.all_to(GREEN), prove_within=30)
        assert load.wait_for("green", 10, time.monotonic())
        target.route(TrafficPlan.all_to(BLUE), prove_within=30)
    assert (load.failed, load.failures) == (0, [])


def test_a_pod_that_is_killed_comes_back_and_is_counted(live: KubernetesWorld) -> None:
    target = live.target()
    before = target.observe().colours[GREEN].restarts
    _kill_process(live, GREEN)
    _until(lambda: target.observe().colours[GREEN].restarts == before + 1, "the restart is counted")
    _until(lambda: target.observe().colours[GREEN].ready, "the cluster brings it back")


def test_the_router_is_restarted_under_users_who_keep_their_connections_and_loses_none(live: KubernetesWorld) -> None:
    """A rollout, as a node drain too, ends each of its pods; users are moved meanwhile."""
    target = live.target()
    before = {pod["metadata"]["uid"] for pod in live.pods("router")}
    with ConstantLoad(live.address, rate=60, keep_alive=6, fresh=2) as load:
        assert load.wait_for(BLUE, 20)
        restarted = {"spec": {"template": {"metadata": {"annotations": {"restarted-by": "the test"}}}}}
        live.cluster.patch("Deployment", Names(live.service).router, restarted)
        _until(lambda: all(pod["metadata"].get("deletionTimestamp") for pod in _pods_of(live, before)), "the old ones are ending")
        target.route(TrafficPlan.all_to(GREEN), prove_within=60)
        _until(lambda: not _pods_of(live, before), "the old ones are gone and others are there")
        target.route(TrafficPlan.all_to(BLUE), prove_within=60)
    assert (load.failed, load.failures) == (0, [])
    assert len({answer.fresh for answer in load.answers}) == 2


def test_a_worker_that_slept_past_its_lease_changes_nothing(live: KubernetesWorld) -> None:
    clock = SystemClock()
    sleeper, newer = live.target(), live.target()
    short: Any = {"renew": 600.0, "lasts": 1}
    for target in (sleeper, newer):
        traffic = next(iter(target._leases))
        target._leases[traffic] = ServiceLease(live.cluster, live.service, Names(live.service).lease, clock, **short)
    with contextlib.ExitStack() as asleep:
        asleep.enter_context(sleeper.hold(msgspec.structs.replace(ME, pid=1)))
        with newer.hold(ME):
            newer.route(TrafficPlan.all_to(GREEN))
            with pytest.raises(Held, match=r"lost its hold|took over"):
                sleeper.route(TrafficPlan.all_to(BLUE))
            assert newer.observe().plan == TrafficPlan.all_to(GREEN)
            newer.route(TrafficPlan.all_to(BLUE))


def test_who_holds_the_service_is_named_on_every_machine(live: KubernetesWorld) -> None:
    with live.target().hold(ME):
        known = live.target().holder()
        assert known is not None and (known.host, known.run, known.verb) == ("one-machine", "run-1", "switch")
    assert live.target().holder() is None


def test_a_lease_whose_process_died_on_this_machine_is_taken_at_once(live: KubernetesWorld) -> None:
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            ServiceLease(live.cluster, live.service, Names(live.service).lease, SystemClock()).acquire(ME)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    begin = time.monotonic()
    with live.target().hold(ME):
        assert time.monotonic() - begin < 15, "the time that a lease lasts was not waited for"


def test_an_image_that_no_node_can_pull_is_the_environments_fault(
    world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colours, "PULL_SECONDS", 1.0)
    nowhere = ContainerImage(f"sha256:{'1' * 64}", f"sha256:{'2' * 64}", f"{REPOSITORY}@sha256:{'1' * 64}")
    artifact = msgspec.structs.replace(world.artifact(ONE), image=nowhere)
    settings = msgspec.structs.replace(world.settings, ready_timeout=Duration(60))
    with pytest.raises(EnvironmentFault, match="could get the image") as told:
        KubernetesTarget(world.service, settings, SystemClock(), {}).deploy(GREEN, artifact)
    assert "registry" in told.value.render()
    _nothing_goes_on(world)


def test_a_pod_that_no_node_takes_is_the_environments_fault(world: KubernetesWorld) -> None:
    target = KubernetesTarget(world.service, world.settings, SystemClock(), {}, gpus=1)
    with pytest.raises(EnvironmentFault, match="no node of the cluster takes green") as told:
        target.deploy(GREEN, world.artifact(ONE))
    assert "nvidia.com/gpu" in told.value.render()
    _nothing_goes_on(world)


def test_a_pod_whose_memory_runs_out_is_told_so(world: KubernetesWorld) -> None:
    settings = msgspec.structs.replace(world.settings, memory_limit="8Mi", ready_timeout=Duration(60))
    with pytest.raises(EnvironmentFault) as told:
        KubernetesTarget(world.service, settings, SystemClock(), {}).deploy(GREEN, world.artifact(ONE))
    assert "memory" in told.value.render()
    _nothing_goes_on(world)


def test_a_namespace_whose_quota_is_used_up_is_told_so(world: KubernetesWorld) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": world.service}, "spec": {"hard": {"pods": "0"}}}
    world.cluster.create(quota)
    try:
        with pytest.raises(EnvironmentFault, match="does not let pods of green be made") as told:
            world.target().deploy(GREEN, world.artifact(ONE))
        assert "exceeded quota" in told.value.render()
    finally:
        world.cluster.delete("ResourceQuota", world.service)
    _nothing_goes_on(world)


def test_a_candidate_that_is_never_ready_is_its_own_fault(world: KubernetesWorld) -> None:
    with pytest.raises(Failed, match="was not ready within 6 s"):
        world.target().deploy(GREEN, world.artifact(Behaviour("sleepy", never_ready=True)))
    _nothing_goes_on(world)


def test_what_other_people_made_is_left_as_it_is(world: KubernetesWorld) -> None:
    name = Names(world.service).active
    ports = [{"port": 80, "targetPort": 8080}]
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "x"}, "ports": ports},
    }
    world.cluster.create(foreign)
    try:
        with pytest.raises(ConfigurationError, match="that mlpipeline did not make"):
            world.target().deploy(BLUE, world.artifact(ONE))
        world.target().shutdown()
        assert world.cluster.read("Service", name) is not None
    finally:
        world.cluster.delete("Service", name)


def test_an_api_that_never_answered_is_told_with_its_address(tmp_path: Path) -> None:
    with CuttableApi(tmp_path) as api:
        api.cut_for(60.0)
        world = KubernetesWorld(tmp_path)
        settings = msgspec.structs.replace(world.settings, kubeconfig=api.kubeconfig)
        with pytest.raises(EnvironmentFault, match="API does not answer") as told:
            KubernetesTarget(world.service, settings, SystemClock(), {}).observe()
    assert "127.0.0.1" in told.value.facts["server"]


@pytest.mark.parametrize(("key", "value"), [("context", "no-such-context"), ("kubeconfig", "/no/such/file")])
def test_a_kubeconfig_that_cannot_be_used_is_a_mistake_of_the_configuration(world: KubernetesWorld, key: str, value: str) -> None:
    settings = msgspec.structs.replace(world.settings, **{key: value})
    with pytest.raises(ConfigurationError, match="kubeconfig cannot be used"):
        KubernetesTarget(world.service, settings, SystemClock(), {}).observe()


def test_a_namespace_that_is_not_there_is_told_so_before_anything_is_made(world: KubernetesWorld) -> None:
    settings = msgspec.structs.replace(world.settings, namespace="no-such-namespace")
    with pytest.raises(EnvironmentFault, match="namespace does not exist") as told:
        KubernetesTarget(world.service, settings, SystemClock(), {}).deploy(BLUE, world.artifact(ONE))
    assert "kubectl create namespace" in told.value.render()


def test_monitoring_asks_for_a_prometheus(world: KubernetesWorld) -> None:
    with pytest.raises(ConfigurationError, match="verify needs a Prometheus") as told:
        world.target().monitoring()
    assert "verify.prometheus" in told.value.render()


def _pods_of(world: KubernetesWorld, uids: set[str]) -> list[Object]:
    return [pod for pod in world.pods("router") if pod["metadata"]["uid"] in uids]


def _nothing_goes_on(world: KubernetesWorld) -> None:
    """What failed does not start again and again, and what it said is known to whoever asks later."""
    _until(lambda: not world.pods(str(GREEN)), "no pod of it is left")
    seen = world.target().observe().colours[GREEN]
    assert not seen.ready and seen.detail
    world.target().retire(GREEN)
    assert world.target().observe().colours == {}
    kinds = ("Deployment", "Service", "PodDisruptionBudget")
    assert [kind for kind in kinds if world.cluster.read(kind, Names(world.service).of(GREEN))] == []


def _kill_process(world: KubernetesWorld, colour: Colour) -> None:
    """SIGKILL to the serving process, which this machine sees where the node is one of its own."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            told = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if f"--service={world.service}" in told and f"--colour={colour}" in told:
                os.kill(int(entry.name), signal.SIGKILL)
                return
    pytest.skip("missing: a node whose processes this machine sees")


def _until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)


class CuttableApi:
    """The API server through a door of this test: while it is shut, what comes is cut off, and so is what was under way."""

    def __init__(self, folder: Path) -> None:
        known = yaml.safe_load(Path(kubeconfig()).read_text())
        cluster = known["clusters"][0]["cluster"]
        self._host, _, port = cluster["server"].removeprefix("https://").partition(":")
        self._port = int(port)
        self._door = socket.create_server(("127.0.0.1", 0))
        cluster["server"] = f"https://127.0.0.1:{self._door.getsockname()[1]}"
        cluster["tls-server-name"] = self._host
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(known))
        self.kubeconfig = str(file)
        self._shut_until = 0.0
        self._open: set[socket.socket] = set()

    def cut_for(self, seconds: float) -> None:
        self._shut_until = time.monotonic() + seconds
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> CuttableApi:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()
        self.cut_for(0)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            if time.monotonic() < self._shut_until:
                client.close()
                continue
            server = socket.create_connection((self._host, self._port))
            self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                sink.sendall(content)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._open.discard(end)
