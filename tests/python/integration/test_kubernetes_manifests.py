"""The user's own manifests as the base, fields of others beside ours, and the difference before it is made; on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubernetes_parts import KubernetesWorld
from mlpipeline.adapters.kubernetes import KubernetesTarget
from mlpipeline.clock import SystemClock
from mlpipeline.core.kubernetes_places import Names
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError
from tiny_service import Behaviour

pytestmark = pytest.mark.real
BASE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: scorer, labels: {team: risk}}
spec:
  selector: {matchLabels: {app: scorer}}
  template:
    metadata: {labels: {app: scorer}}
    spec:
      containers:
      - name: scorer
        image: replaced:1
        env: [{name: FROM_THE_BASE, value: "yes"}]
        resources: {requests: {cpu: 10m}}
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[KubernetesWorld]:
    (tmp_path / "base.yaml").write_text(BASE)
    found = KubernetesWorld(tmp_path, router="service", router_image="", manifests_command="cat base.yaml")
    try:
        yield found
    finally:
        found.close()


def test_a_colour_is_made_of_the_base_and_of_others_fields_nothing_is_lost(world: KubernetesWorld, tmp_path: Path) -> None:
    target = KubernetesTarget(world.service, world.settings, SystemClock(), {"PATH": "/usr/bin:/bin"}, project=tmp_path)
    name, one, two = Names(world.service).of(Colour.BLUE), world.artifact(Behaviour("one")), world.artifact(Behaviour("two"))

    assert [str(change) for change in target.changes(Colour.BLUE, one)] == [
        f"{kind} {name}: the object: nothing -> made anew" for kind in ("Service", "PodDisruptionBudget", "Deployment")
    ]
    assert world.cluster.read("Deployment", name) is None, "a plan makes nothing"

    target.deploy(Colour.BLUE, one)
    container = deployed(world, name)["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "FROM_THE_BASE", "value": "yes"} in container["env"]
    assert (container["name"], container["resources"]) == ("model", {"requests": {"cpu": "10m"}})
    assert [change for change in target.changes(Colour.BLUE, one) if change.field != ""] == [], "what stands needs no change"

    by_hand(world, name, {"metadata": {"labels": {"cost-centre": "7"}}, "spec": {"paused": False, "minReadySeconds": 2}})
    planned = {change.field: change for change in target.changes(Colour.BLUE, two)}
    assert planned["spec.template.spec.containers[model].image"].after == two.image.reference  # type: ignore[union-attr]
    assert planned["spec.minReadySeconds"].foreign
    assert planned["spec.minReadySeconds"].owners.startswith("a-person")
    assert "metadata.labels[cost-centre]" not in planned

    with pytest.raises(ConfigurationError, match="sets what others manage: 1 field") as caught:
        target.deploy(Colour.BLUE, two)
    assert caught.value.facts[".spec.minReadySeconds"] == "managed by a-person"

    by_hand(world, name, {"spec": {"minReadySeconds": 1}})  # what we apply anyway is no conflict
    target.deploy(Colour.BLUE, two)
    assert deployed(world, name)["metadata"]["labels"]["cost-centre"] == "7"


def test_an_autoscaler_keeps_the_number_of_pods(world: KubernetesWorld, tmp_path: Path) -> None:
    target = KubernetesTarget(world.service, world.settings, SystemClock(), {"PATH": "/usr/bin:/bin"}, project=tmp_path)
    name, one, two = Names(world.service).of(Colour.BLUE), world.artifact(Behaviour("one")), world.artifact(Behaviour("two"))
    target.deploy(Colour.BLUE, one)
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "labels": {"mlpipeline.service": world.service}},
        "spec": {
            "minReplicas": 2,
            "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
            ],
        },
    }
    world.cluster.create(scaler)
    try:
        by_hand(world, name, {"spec": {"replicas": 2}}, "kube-controller-manager")  # as the autoscaler does, some 15 s later
        assert not [change for change in target.changes(Colour.BLUE, one) if change.field == "spec.replicas"]
        target.deploy(Colour.BLUE, two)
        assert deployed(world, name)["spec"]["replicas"] == 2, "it starts with what the autoscaler wants at least"
        assert not [change for change in target.changes(Colour.BLUE, two) if change.field == "spec.replicas"]
    finally:
        world.cluster.delete("HorizontalPodAutoscaler", name)


def deployed(world: KubernetesWorld, name: str) -> dict[str, Any]:
    found = world.cluster.read("Deployment", name)
    assert found is not None
    return found


def by_hand(world: KubernetesWorld, name: str, change: dict[str, Any], who: str = "a-person") -> None:
    """As ``kubectl edit`` would."""
    path = world.cluster._path("Deployment", name)
    world.cluster._object("PATCH", path, {"fieldManager": who}, body=change, kind="application/merge-patch+json")
