"""The user's own Deployment as the base of each colour, and what an apply would change of what lives."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mlpipeline.adapters.kubernetes.manifests import Base
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core import kubernetes_objects as objects
from mlpipeline.core.kubernetes_base import model_container, model_deployment, on_base
from mlpipeline.core.kubernetes_diff import changes, conflicts_of
from mlpipeline.core.kubernetes_objects import Workload
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError, EnvironmentFault

DIGEST = f"sha256:{'a' * 64}"
WORKLOAD = Workload(
    service="churn", namespace="team", colour=Colour.GREEN, image=f"r.example.org/churn@{DIGEST}", artifact_digest=DIGEST
)
BASE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: scorer, namespace: elsewhere, labels: {team: risk}, annotations: {note: ours}}
spec:
  replicas: 7
  selector: {matchLabels: {app: scorer}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: scorer}, annotations: {prometheus.io/scrape: "true"}}
    spec:
      serviceAccountName: scorer
      terminationGracePeriodSeconds: 300
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
      initContainers: [{name: fetch, image: "fetch:1"}]
      containers:
      - name: sidecar
        image: sidecar:1
      - name: model
        image: old:1
        args: [--old]
        env: [{name: A, value: "1"}, {name: OMP_NUM_THREADS, value: "8"}]
        resources: {requests: {cpu: "3"}}
        livenessProbe: {exec: {command: ["true"]}}
        volumeMounts: [{name: cache, mountPath: /cache}]
        ports: [{name: http, containerPort: 80}, {name: debug, containerPort: 9000}]
      volumes: [{name: cache, emptyDir: {}}]
"""


def base(**more: Any) -> dict[str, Any]:
    found = yaml.safe_load(BASE)
    found["spec"]["template"]["spec"].update(more)
    return dict(found)


def shaped(workload: Workload = WORKLOAD) -> Any:
    return on_base(base(), objects.deployment(workload))


def test_what_a_release_decides_is_ours() -> None:
    found, ours = shaped(), objects.deployment(WORKLOAD)
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("churn-green", "team")
    assert found["spec"]["selector"] == ours["spec"]["selector"]  # type: ignore[index]
    container = found["spec"]["template"]["spec"]["containers"][1]
    assert (container["name"], container["image"]) == ("model", WORKLOAD.image)
    assert "--old" not in container["args"]
    assert {"name": "http", "containerPort": 8080, "protocol": "TCP"} in container["ports"]
    assert ours["metadata"]["labels"].items() <= found["metadata"]["labels"].items()  # type: ignore[index]
    wanted = ours["spec"]["template"]["metadata"]["labels"]  # type: ignore[index]
    assert wanted.items() <= found["spec"]["template"]["metadata"]["labels"].items()


def test_everything_else_is_the_users() -> None:
    found = shaped()
    pod = found["spec"]["template"]["spec"]
    sidecar, model = pod["containers"]
    assert sidecar == {"name": "sidecar", "image": "sidecar:1"}
    assert found["metadata"]["labels"]["team"] == "risk"
    assert found["spec"]["strategy"] == {"type": "Recreate"}
    assert found["spec"]["replicas"] == 7
    assert found["spec"]["template"]["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
    assert (pod["serviceAccountName"], pod["terminationGracePeriodSeconds"]) == ("scorer", 300)
    assert (len(pod["initContainers"]), len(pod["topologySpreadConstraints"])) == (1, 1)
    assert model["livenessProbe"] == {"exec": {"command": ["true"]}}, "not half of theirs and half of ours"
    assert model["readinessProbe"]["httpGet"]["path"] == "/ready", "which they did not say"
    assert model["resources"] == {"requests": {"cpu": "3"}}
    assert {one["name"]: one["value"] for one in model["env"]} == {"A": "1", "OMP_NUM_THREADS": "8"}
    assert {one["mountPath"] for one in model["volumeMounts"]} == {"/cache", "/tmp"}
    assert {one["name"] for one in pod["volumes"]} == {"cache", "scratch"}
    assert {one["containerPort"] for one in model["ports"]} == {8080, 9000}
    assert model["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_number_of_pods_of_a_base_is_left_to_an_autoscaler_too() -> None:
    assert "replicas" not in shaped(msgspec.structs.replace(WORKLOAD, replicas=None))["spec"]


def test_the_base_itself_is_not_changed() -> None:
    found = base()
    before = copy.deepcopy(found)
    on_base(found, objects.deployment(WORKLOAD))
    assert found == before


def test_the_deployment_of_the_model_is_the_only_one_or_the_labelled_one() -> None:
    other = {"kind": "Deployment", "metadata": {"name": "worker"}}
    assert model_deployment([{"kind": "Service"}, other], "churn") is other
    marked = {"kind": "Deployment", "metadata": {"name": "scorer", "labels": {"mlpipeline.service": "churn"}}}
    assert model_deployment([other, marked], "churn") is marked
    with pytest.raises(ValueError, match=r"2 Deployments could be the model's: worker, scorer; label one"):
        model_deployment([other, {**marked, "metadata": {"name": "scorer"}}], "churn")
    with pytest.raises(ValueError, match="no Deployment among them, but Job, Service"):
        model_deployment([{"kind": "Service"}, {"kind": "Job"}], "churn")


@pytest.mark.parametrize(
    ("names", "annotation", "chosen"),
    [(["only"], "", "only"), (["a", "model"], "", "model"), (["a", "model"], "a", "a"), (["a", "b"], "b", "b")],
)
def test_the_container_of_the_model(names: list[str], annotation: str, chosen: str) -> None:
    found = base(containers=[{"name": name} for name in names])
    found["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": annotation}
    assert model_container(found) == chosen


@pytest.mark.parametrize("names", [[], ["a", "b"]])
def test_a_container_that_is_not_to_be_told_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="call one model"):
        model_container(base(containers=[{"name": name} for name in names]))


def test_manifests_come_from_a_file_a_folder_or_a_command(tmp_path: Path) -> None:
    (tmp_path / "k8s").mkdir()
    (tmp_path / "k8s" / "deployment.yaml").write_text(BASE)
    (tmp_path / "k8s" / "service.yml").write_text("kind: List\nitems:\n- {kind: Service, metadata: {name: x}}\n")
    (tmp_path / "k8s" / "notes.txt").write_text("{{ not for us")
    for settings in (
        Kubernetes(manifests="k8s"),
        Kubernetes(manifests="k8s/deployment.yaml"),
        Kubernetes(manifests_command="cat k8s/deployment.yaml"),
    ):
        found = Base(settings, "churn", tmp_path, {"PATH": "/usr/bin:/bin"}).shape(objects.deployment(WORKLOAD))
        assert found["spec"]["replicas"] == 7
    ours = objects.deployment(WORKLOAD)
    assert Base(Kubernetes(), "churn", tmp_path, {}).shape(ours) is ours


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Kubernetes(manifests="gone.yaml"), "cannot be read"),
        (Kubernetes(manifests="empty"), "no manifests in the folder"),
        (Kubernetes(manifests="broken.yaml"), "are not YAML"),
        (Kubernetes(manifests="text.yaml"), "no object of a cluster"),
        (Kubernetes(manifests_command="cat 'open"), "cannot be read"),
        (Kubernetes(manifests_command="cat gone.yaml"), "failed with exit code 1"),
        (Kubernetes(manifests_command="true"), "no Deployment among them, but nothing at all"),
    ],
)
def test_manifests_that_are_none_are_told(settings: Kubernetes, words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "text.yaml").write_text("just words")
    with pytest.raises(ConfigurationError, match=words):
        Base(settings, "churn", tmp_path, {"PATH": "/usr/bin:/bin"}).shape(objects.deployment(WORKLOAD))


def test_a_program_that_is_not_there_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="does not run"):
        Base(Kubernetes(manifests_command="no-such-helm template"), "churn", tmp_path, {}).shape(objects.deployment(WORKLOAD))


# The difference


def test_a_change_names_the_field_and_who_manages_it() -> None:
    live = {
        "metadata": {
            "name": "x",
            "resourceVersion": "1",
            "managedFields": [
                {
                    "manager": "kubectl-edit",
                    "time": "2026-03-01T03:12:00Z",
                    "fieldsV1": {
                        "f:spec": {
                            "f:replicas": {},
                            "f:containers": {'k:{"name":"model"}': {"f:env": {'k:{"name":"A"}': {"f:value": {}}}}},
                        }
                    },
                },
                {"manager": "mlpipeline", "fieldsV1": {"f:spec": {"f:containers": {'k:{"name":"model"}': {"f:image": {}}}}}},
            ],
        },
        "spec": {
            "replicas": 1,
            "containers": [{"name": "model", "image": "old", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}],
        },
        "status": {"replicas": 1},
    }
    after = copy.deepcopy(live)
    after["metadata"]["resourceVersion"] = "2"
    after["spec"]["replicas"] = 3
    after["spec"]["containers"][0] |= {"image": "new", "env": [{"name": "A", "value": "9"}], "args": ["--x"]}
    found = {one.field: one for one in changes("Deployment x", live, after, "mlpipeline")}
    assert set(found) == {
        *("spec.replicas", "spec.containers[model].image", "spec.containers[model].env[A].value"),
        *("spec.containers[model].env[B]", "spec.containers[model].args"),
    }
    assert (
        str(found["spec.replicas"]) == "Deployment x: spec.replicas: 1 -> 3 (managed by kubectl-edit since 2026-03-01T03:12:00Z)"
    )
    assert [name for name, one in found.items() if one.foreign] == ["spec.replicas", "spec.containers[model].env[A].value"]
    assert found["spec.containers[model].env[B]"].after == "nothing"
    assert changes("Deployment x", live, copy.deepcopy(live), "mlpipeline") == []
    assert str(changes("Deployment x", None, after, "mlpipeline")[0]) == "Deployment x: the object: nothing -> made anew"


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            'Apply failed with 1 conflict: conflict with "kubectl-edit" using apps/v1: .spec.replicas',
            [("kubectl-edit", ".spec.replicas")],
        ),
        (
            'Apply failed with 3 conflicts: conflicts with "helm" using apps/v1:\n- .spec.paused\n'
            '- .spec.template.spec.containers[name="model"].image\nconflicts with "hpa" using autoscaling/v2:\n- .spec.replicas',
            [
                ("helm", ".spec.paused"),
                ("helm", '.spec.template.spec.containers[name="model"].image'),
                ("hpa", ".spec.replicas"),
            ],
        ),
        ("the object has been modified; please apply your changes to the latest version", []),
    ],
)
def test_a_conflict_is_read_as_the_server_tells_it(message: str, found: list[tuple[str, str]]) -> None:
    assert conflicts_of(message) == found
