"""With exactly the Role that is shipped a whole release works, all of it is needed, and what is missing is named."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway_controller import Controller
from image_parts import until
from kubernetes_cluster import client, cluster, gateway_api, kubeconfig, own_namespace
from kubernetes_parts import KubernetesWorld
from mlpipeline.adapters.kubernetes import KubernetesTarget, checkup
from mlpipeline.adapters.kubernetes.api import Cluster, Conflict
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core.kubernetes_role import permissions
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, MlpipelineError
from mlpipeline.ports import Artifact
from mlpipeline.record.lease import Holder
from tiny_service import Behaviour

pytestmark = pytest.mark.real
RBAC = "rbac.authorization.k8s.io/v1"
SHIPPED = Path(__file__).resolve().parents[3] / "resources" / "mlpipeline" / "kubernetes"
KINDS = {
    "deployments": "Deployment",
    "services": "Service",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
    "leases": "Lease",
    "pods": "Pod",
    "events": "Event",
    "configmaps": "ConfigMap",
    "endpointslices": "EndpointSlice",
    "httproutes": "HTTPRoute",
}
VERSIONS = {"": "v1", "gateway.networking.k8s.io": "gateway.networking.k8s.io/v1"}
SETTINGS: dict[str, dict[str, object]] = {
    "envoy": {},
    "service": {"router_image": ""},
    "gateway": {"router_image": "", "gateway": "public", "hostnames": ("churn.example.org",)},
}
LAST_RESORT = {("", "pods", "delete")}
"""Only when a node does not answer, which a test of one node cannot have."""
_PATH = re.compile(
    r"/api(?:s/(?P<group>[^/]+))?/[^/]+/namespaces/[^/]+/(?P<kind>[a-z]+)(?:/(?P<name>[^/?]+))?(?:/(?P<sub>log|proxy))?"
)

Call = tuple[str, str, str]


class Calls:
    """What the worker asked of the API: group, resource, verb."""

    def __init__(self) -> None:
        self.seen: set[Call] = set()

    def note(self, method: str, url: str, status: int) -> None:
        found = _PATH.match(url)
        assert found is not None, url
        resource = found["kind"] + (f"/{found['sub']}" if found["sub"] else "")
        verb = {
            "GET": "get" if found["name"] else "list",
            "POST": "create",
            "PUT": "update",
            "PATCH": "patch",
            "DELETE": "delete",
        }[method]
        self.seen.add((found["group"] or "", resource, verb))
        if (method, status) == ("PATCH", 201):
            self.seen.add((found["group"] or "", resource, "create"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found, send = Calls(), Cluster._send

    def noted(self: Cluster, method: str, url: str, *arguments: Any, **options: Any) -> tuple[int, bytes]:
        status, body = send(self, method, url, *arguments, **options)
        found.note(method, url, status)
        return status, body

    monkeypatch.setattr(Cluster, "_send", noted)
    return found


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    with own_namespace() as found:
        yield found


def worker(folder: Path, namespace: str, router: str, name: str = "mlpipeline") -> Path:
    """A kubeconfig with the rights of the shipped Role, as ``kubectl apply --namespace`` gives them."""
    from kubernetes import client as library

    api = cluster(namespace)
    for found in yaml.safe_load_all((SHIPPED / f"role-{router}.yaml").read_text()):
        found["metadata"]["name"] = name
        for part in ([found["roleRef"]] if "roleRef" in found else []) + found.get("subjects", []):
            part["name"] = name
        if found["kind"] == "RoleBinding":
            found["subjects"][0]["namespace"] = namespace
        api.apply(found)
    token = library.CoreV1Api(client()).create_namespaced_service_account_token(name, namespace, {"spec": {}}).status.token
    written = yaml.safe_load(Path(kubeconfig()).read_text())
    written["users"] = [{"name": "worker", "user": {"token": token}}]
    written["contexts"] = [
        {"name": "worker", "context": {"cluster": written["clusters"][0]["name"], "user": "worker", "namespace": namespace}}
    ]
    written["current-context"] = "worker"
    file = folder / f"{name}.kubeconfig"
    file.write_text(yaml.safe_dump(written))
    return file


@pytest.mark.parametrize("router", ["envoy", "service", "gateway"])
def test_each_permission_is_given_and_is_named_where_it_is_missing(
    router: str, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mlpipeline.adapters.kubernetes.api.PATIENCE_SECONDS", 0.0
    )  # a server may call nonsense an error of its own
    if router == "gateway":
        gateway_api()
    given = cluster(namespace, file=str(worker(tmp_path, namespace, router)))
    calls = [(group, kind, verb) for (group, kind), verbs in permissions(router).items() for verb in verbs]
    bare = worker(tmp_path, namespace, router, "bare")
    cluster(namespace).apply({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": "bare"}, "rules": []})
    missing = cluster(namespace, file=str(bare))
    until(lambda: "cannot" in said_by(missing, ("", "services", "list")), "the cluster heard that the role is empty")
    for call in calls:
        group, kind, verb = call
        assert "forbidden" not in said_by(given, call), call
        complaint = said_by(missing, call)
        assert re.search(rf'cannot {verb} resource "{kind}" in API group "{re.escape(group)}"', complaint), (call, complaint)


@pytest.mark.parametrize("router", ["envoy", "service"])
def test_doctor_says_beforehand_what_this_worker_may_not(router: str, tmp_path: Path, namespace: str) -> None:
    image = "registry.test/envoy@sha256:" + "0" * 64
    settings = Kubernetes(kubeconfig=str(worker(tmp_path, namespace, router, "able")), router=router, router_image=image)  # type: ignore[arg-type]
    assert f"namespace {namespace}, with all rights" in checkup.cluster_report(settings, "churn", {}, SystemClock())
    unable = worker(tmp_path, namespace, router, "unable")
    role = cluster(namespace).read("Role", "unable")
    assert role is not None
    rules = [rule for rule in role["rules"] if rule["resources"] not in (["pods/proxy"], ["leases"])]
    cluster(namespace).apply({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": "unable"}, "rules": rules})
    lacking = Kubernetes(**{**_fields(settings), "kubeconfig": str(unable)})
    with pytest.raises(EnvironmentFault, match="may not do in the cluster what a release needs") as caught:
        until(lambda: checkup.cluster_report(lacking, "churn", {}, SystemClock()) == "", "the cluster heard of the smaller role")
    assert set(caught.value.facts["missing"].split(", ")) == {
        *("get pods/proxy", "create pods/proxy"),
        *(f"{verb} leases.coordination.k8s.io" for verb in ("get", "create", "update", "delete")),
    }


def test_a_wrong_context_namespace_or_name_is_told_before_anything_is_made(tmp_path: Path, namespace: str) -> None:
    def report(service: str = "churn", **settings: Any) -> str:
        chosen = {"kubeconfig": kubeconfig(), "namespace": namespace, **settings}
        return checkup.cluster_report(Kubernetes(**chosen), service, {}, SystemClock())

    with pytest.raises(ConfigurationError, match="kubeconfig cannot be used") as caught:
        report(context="production")
    assert caught.value.facts["context"] == "production"
    with pytest.raises(ConfigurationError, match="kubeconfig cannot be used"):
        report(kubeconfig=str(tmp_path / "gone"))
    with pytest.raises(EnvironmentFault, match="the namespace does not exist"):
        report(namespace="nobody-made-it")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken"}, "spec": {"ports": [{"port": 80}]}}
    cluster(namespace).apply(service)
    with pytest.raises(ConfigurationError, match="Service taken that mlpipeline did not make"):
        report("taken")


def said_by(api: Cluster, call: Call) -> str:
    """What comes of one call that changes nothing: its objects are not there, or cannot be as they are."""
    group, resource, verb = call
    if resource == "pods/log":
        return api.log("nobody", 1)
    kind = KINDS.get(resource, "")
    version = VERSIONS.get(group, f"{group}/v1")
    nothing = {"apiVersion": version, "kind": kind, "metadata": {"name": "nobody", "resourceVersion": "1"}}
    empty = {"apiVersion": version, "kind": kind, "metadata": {}}
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: api.read(kind, "nobody"),
        "list": lambda: api.listed(kind),
        "create": lambda: api.create(empty),
        "update": lambda: api.replace(nothing),
        "patch": lambda: api.patch(kind, "nobody", {}),
        "delete": lambda: api.delete(kind, "nobody"),
    }
    if resource == "pods/proxy":
        calls = {"get": lambda: api.ask("nobody", 80, "/"), "create": lambda: api.ask("nobody", 80, "/", b"{}")}
    try:
        calls[verb]()
    except MlpipelineError as error:
        return error.render()
    except (Conflict, OSError) as error:
        return str(error)
    return ""


def release(target: KubernetesTarget, one: Artifact, two: Artifact, broken: Artifact, plans: tuple[TrafficPlan, ...]) -> None:
    """From nothing to a switch, a refusal and nothing again."""
    target.observe()
    target.deploy(Colour.BLUE, one)
    target.route(TrafficPlan.all_to(Colour.BLUE), prove_within=30)
    with pytest.raises((Failed, EnvironmentFault)):
        target.deploy(Colour.GREEN, broken)
    target.deploy(Colour.GREEN, two)
    assert target.probe(Colour.GREEN, b"{}")[0] == 200
    for plan in plans:
        target.route(plan, prove_within=30)
        assert target.observe().plan == plan
    target.inventory()
    target.retire(Colour.BLUE)
    target.shutdown()


@pytest.mark.parametrize(
    ("router", "plans"),
    [
        ("envoy", (TrafficPlan(Colour.BLUE, mirror=True), TrafficPlan(Colour.BLUE, share=50), TrafficPlan(Colour.GREEN))),
        ("service", (TrafficPlan(Colour.BLUE, share=100), TrafficPlan(Colour.GREEN))),
        ("gateway", (TrafficPlan(Colour.BLUE, mirror=True), TrafficPlan(Colour.BLUE, share=50), TrafficPlan(Colour.GREEN))),
    ],
)
def test_the_role_is_what_a_whole_release_needs_and_no_more(
    router: str, plans: tuple[TrafficPlan, ...], tmp_path: Path, namespace: str, calls: Calls
) -> None:
    world = KubernetesWorld(tmp_path, namespace=namespace, router=router, **SETTINGS[router])
    one, two, broken = (world.artifact(behaviour) for behaviour in (Behaviour("one"), Behaviour("two"), Behaviour(exits="no")))
    file = worker(tmp_path, namespace, router)
    settings = Kubernetes(**{**_fields(world.settings), "kubeconfig": str(file)})
    calls.seen.clear()
    target = KubernetesTarget(world.service, settings, SystemClock(), {})
    with controlled(router, namespace, world.service), target.hold(Holder(1, "here", "ci", run="one", since="now")):
        release(target, one, two, broken, plans)
    allowed = {(group, kind, verb) for (group, kind), verbs in permissions(router).items() for verb in verbs}
    assert calls.seen <= allowed
    assert allowed - calls.seen <= LAST_RESORT


def controlled(router: str, namespace: str, service: str) -> contextlib.AbstractContextManager[object]:
    """A controller where the router is another one's."""
    if router != "gateway":
        return contextlib.nullcontext()
    gateway_api()
    return Controller(namespace, service)


def _fields(settings: Kubernetes) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}
