"""What a real cluster tells of objects that somebody changed behind mlpipeline's back, and who it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from changed_parts import SECRET, changed, release
from image_parts import until
from kubernetes_cluster import cluster
from kubernetes_parts import KubernetesWorld
from mlpipeline.adapters.kubernetes.api import MERGE
from mlpipeline.core.inventory import Part
from mlpipeline.core.kubernetes_places import Names

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesWorld]:
    with closing(KubernetesWorld(tmp_path_factory.mktemp("released"), environment={"TOKEN": SECRET})) as made:
        release(made)
        yield made


@pytest.fixture(scope="module")
def released(world: KubernetesWorld) -> Mapping[str, Part]:
    return world.target().inventory()


def change(world: KubernetesWorld, who: str, kind: str, name: str, what: Mapping[str, Any]) -> None:
    """As another field manager does it."""
    api = cluster(world.settings.namespace)
    api._object("PATCH", api._path(kind, name), {"fieldManager": who}, body=what, kind=MERGE)


def test_what_nobody_touched_does_not_differ_and_tells_no_secret(world: KubernetesWorld, released: Mapping[str, Part]) -> None:
    assert set(released) == {"blue", "router"}
    assert "TOKEN#" in released["blue"].facts["environment"]
    assert SECRET not in str(released)
    assert not changed(world, released)


def test_pods_that_somebody_scaled_are_named_with_who_and_when(world: KubernetesWorld, released: Mapping[str, Part]) -> None:
    change(world, "somebody-at-night", "Deployment", Names(world.service).of("blue"), {"spec": {"replicas": 2}})
    try:
        one = changed(world, released)["blue", "replicas"]
        assert (one.released, one.found) == ("1", "2")
        assert one.changed.startswith("somebody-at-night, 20")
    finally:
        change(world, "mlpipeline", "Deployment", Names(world.service).of("blue"), {"spec": {"replicas": 1}})
        until(lambda: not changed(world, released), "it is as it was released")


def test_an_image_and_a_variable_that_somebody_set_are_named(world: KubernetesWorld, released: Mapping[str, Part]) -> None:
    """A merge patch replaces the list of containers, as a careless ``kubectl patch`` does."""
    name = Names(world.service).of("blue")
    found = world.cluster.read("Deployment", name)
    assert found is not None
    (container,) = found["spec"]["template"]["spec"]["containers"]
    evil = {**container, "image": "registry.test/evil@sha256:" + "1" * 64, "env": [{"name": "TOKEN", "value": "another"}]}
    stranger = {"name": "sidecar", "image": "registry.test/stranger@sha256:" + "2" * 64}
    containers = {"spec": {"template": {"spec": {"containers": [evil, stranger]}}}}
    change(world, "kubectl-patch", "Deployment", name, containers)
    found_now = changed(world, released)
    assert found_now["blue", "image"].found == evil["image"]
    assert "stranger" in found_now["blue", "other containers"].found
    assert found_now["blue", "environment"].changed.startswith("kubectl-patch, 20")
    assert "another" not in str(found_now)


def test_users_whom_somebody_sent_past_the_router_are_named(world: KubernetesWorld, released: Mapping[str, Part]) -> None:
    past = {"spec": {"selector": {"mlpipeline.role": "green"}}}
    change(world, "kubectl-edit", "Service", Names(world.service).active, past)
    one = changed(world, released)["router", "users reach"]
    assert "mlpipeline.role=green" in one.found
    assert "kubectl-edit, 20" in one.changed
