"""Releases in a cluster from the command line: users asking all the time, workers killed, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cli_world import SERVICE, Moment
from constant_load import ConstantLoad
from docker_parts import service_image
from image_cli_world import ImageCliWorld
from kubernetes_cluster import cluster, kubeconfig, own_namespace
from kubernetes_parts import REPOSITORY, folder, on_nodes, reachable, router_image
from mlpipeline.adapters.kubernetes.api import Cluster, Object
from mlpipeline.core import container as labels
from mlpipeline.core.container import ContainerImage
from mlpipeline.core.kubernetes_places import INSIDE_PORT, SERVICE_PORT
from mlpipeline.errors import EnvironmentFault
from mlpipeline.ports import Artifact
from mlpipeline.record.files import write_atomically
from prometheus_server import running_prometheus
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

_TARGET = """
target:
  kind: kubernetes
  kubernetes:
    kubeconfig: {kubeconfig}
    namespace: {namespace}
    router_image: {router}
    router_replicas: 1
    ready_timeout: 3m
    drain_timeout: 5s
    threads: 1
"""
_JOBS = """
- job_name: mlpipeline
  honor_labels: true
  file_sd_configs: [{{files: ['{folder}/colours.json'], refresh_interval: 1s}}]
- job_name: mlpipeline-router
  metrics_path: /stats/prometheus
  file_sd_configs: [{{files: ['{folder}/router.json'], refresh_interval: 1s}}]
"""
KILLS = (
    Moment("the candidate stands, nobody knows", "mlpipeline.adapters.kubernetes.target:KubernetesTarget.deploy"),
    Moment("copies flow", "mlpipeline.adapters.kubernetes.router:EnvoyDeployment.apply", "mirror=True"),
    Moment("half of the users are moved", "mlpipeline.adapters.kubernetes.router:EnvoyDeployment.apply", "share=50"),
)


@contextlib.contextmanager
def discovered(api: Cluster, folder: Path) -> Iterator[None]:
    """What a Prometheus in the cluster finds by itself: Debian's was built without that."""
    ending = threading.Event()

    def look() -> None:
        while not ending.wait(0.5):
            with contextlib.suppress(EnvironmentFault):
                _write_targets(api.listed("Pod", labels={labels.SERVICE: SERVICE}), folder)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _write_targets(pods: list[Object], folder: Path) -> None:
    groups: dict[str, list[object]] = {"colours": [], "router": []}
    for pod in pods:
        role, ip = pod["metadata"]["labels"][labels.ROLE], pod.get("status", {}).get("podIP")
        if ip and role == "router":
            groups["router"].append({"targets": [f"{ip}:{INSIDE_PORT}"], "labels": {"service": SERVICE}})
        elif ip:
            groups["colours"].append({"targets": [f"{ip}:{SERVICE_PORT}"], "labels": {"service": SERVICE, "colour": role}})
    for name, targets in groups.items():
        write_atomically(folder / f"{name}.json", json.dumps(targets).encode())


class KubernetesCliWorld(ImageCliWorld):
    """Where it runs is a cluster.

    Args:
        prometheus: URL of one that finds the pods of the namespace.
    """

    def __init__(self, place: Path, namespace: str, prometheus: str) -> None:
        self.cluster = cluster(namespace)
        super().__init__(
            place,
            stage_seconds=3.0,
            image=f", repository: {REPOSITORY}",
            target=_TARGET.format(kubeconfig=kubeconfig(), namespace=namespace, router=router_image()),
            verify=f"prometheus: '{prometheus}', ",
        )

    def image_of(self, bundle: Artifact) -> ContainerImage:
        """On the nodes, as if ``package`` had pushed it and they had pulled it."""
        layout = folder() / "layout"
        return on_nodes(layout, service_image(layout, bundle), bundle.digest[7:19])

    def on_another_machine(self) -> None:
        """From now on workers have neither journal nor ledger of what was."""
        self.places = msgspec.structs.replace(self.places, home=self.places.home.with_name("another-home"))

    @property
    def address(self) -> str:
        found = self.cluster.read("Service", SERVICE)
        assert found is not None
        return reachable(f"http://{found['spec']['clusterIP']}:{found['spec']['ports'][0]['port']}")

    def roles(self) -> set[str]:
        """Of all pods of the service that stay."""
        pods = self.cluster.listed("Pod", labels={labels.SERVICE: SERVICE})
        return {pod["metadata"]["labels"][labels.ROLE] for pod in pods if not pod["metadata"].get("deletionTimestamp")}

    def left(self) -> list[str]:
        """Everything of the service in the cluster."""
        kinds = ("Pod", "Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "Lease")
        return [
            f"{kind} {found['metadata']['name']}"
            for kind in kinds
            for found in self.cluster.listed(kind, labels={labels.SERVICE: SERVICE})
        ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[KubernetesCliWorld]:
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(own_namespace())
        jobs = _JOBS.format(folder=tmp_path)
        stack.enter_context(discovered(cluster(namespace), tmp_path))
        prometheus = stack.enter_context(running_prometheus(tmp_path / "prometheus", {}, jobs=jobs))
        made = KubernetesCliWorld(tmp_path, namespace, prometheus)
        stack.callback(made.close)
        yield made


def test_releases_and_a_rollback_lose_no_request_and_leave_nothing(world: KubernetesCliWorld) -> None:
    first = world.prepare()
    world.release()
    assert (world.champion, world.roles()) == (first, {"blue", "router"})
    with ConstantLoad(world.address, rate=60) as load:
        assert load.wait_for("blue", 20)
        second = world.prepare()
        world.release()
        assert (world.champion, world.roles()) == (second, {"green", "router"})
        assert load.wait_for("green", 20)
        world.on_another_machine()
        assert f"{first[:19]}: a rollback returns to it" in world.call("status")
        world.call("rollback", "--reason", "complaints")
        assert (world.champion, world.roles()) == (first, {"blue", "router"})
        assert f"quarantined {second[:19]}" in world.call("status")
        told = json.loads(world.call("status", "--json"))
        assert told["evidence"]["router"] == "up"
    assert (load.failed, load.failures) == (0, [])
    assert {"blue", "green"} == set(load.by_colour())
    world.call("stop")
    assert world.left() == []


def test_a_candidate_that_does_not_start_leaves_nothing(world: KubernetesCliWorld) -> None:
    world.prepare(Behaviour("sick", exits="no such column"))
    worker = world.start("run")
    assert worker.ended() == 10, worker.told
    assert "no such column" in worker.told
    assert not world.roles()


def test_workers_killed_on_the_way_leave_users_answered_and_the_next_one_goes_on(world: KubernetesCliWorld) -> None:
    world.prepare()
    world.release()
    with ConstantLoad(world.address, rate=60) as load:
        assert load.wait_for("blue", 20)
        wanted = world.prepare()
        for moment in KILLS:
            world.start("run", dies=moment).dies()
        world.release()
        assert world.champion == wanted
        assert load.wait_for("green", 20)
    assert (load.failed, load.failures) == (0, [])
