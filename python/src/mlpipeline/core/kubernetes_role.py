"""What a worker may do in its namespace: as much as a release needs with one of the routers, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NAME = "mlpipeline"

Permissions = Mapping[tuple[str, str], Sequence[str]]
"""API group and resource to verbs."""

_OWNED = ("get", "list", "create", "patch", "delete")
_EVERYWHERE: Permissions = {
    ("apps", "deployments"): _OWNED,
    ("", "services"): _OWNED,
    ("policy", "poddisruptionbudgets"): _OWNED,
    # to see whether somebody else scales a colour
    ("autoscaling", "horizontalpodautoscalers"): ("list",),
    # one worker per service
    ("coordination.k8s.io", "leases"): ("get", "create", "update", "delete"),
    # a pod whose node is gone is removed by hand
    ("", "pods"): ("list", "delete"),
    # the last words of what did not start
    ("", "pods/log"): ("get",),
    ("", "events"): ("list",),
    # probes and scoring requests to a colour that has no users yet, and what pods count
    ("", "pods/proxy"): ("get", "create"),
}
_BY_ROUTER: Mapping[str, Permissions] = {
    # its files are a ConfigMap, and an annotation of its pods makes nodes look at once
    "envoy": {("", "configmaps"): ("get", "list", "create", "update", "delete"), ("", "pods"): ("patch",)},
    "service": {("", "configmaps"): ("list",), ("discovery.k8s.io", "endpointslices"): ("list",)},
    "gateway": {
        ("", "configmaps"): ("list",),
        ("gateway.networking.k8s.io", "httproutes"): ("get", "create", "patch", "delete"),
    },
}
ROUTERS = tuple(_BY_ROUTER)


def permissions(router: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """What a worker with this router may do."""
    found = {key: tuple(verbs) for key, verbs in _EVERYWHERE.items()}
    for key, verbs in _BY_ROUTER[router].items():
        found[key] = (*found.get(key, ()), *verbs)
    return found


def role(router: str) -> dict[str, object]:
    """The Role, without a namespace: ``kubectl apply --namespace`` says where."""
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
        for (group, resource), verbs in permissions(router).items()
    ]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": NAME},
        "rules": rules,
    }


def account() -> list[dict[str, object]]:
    """Somebody who has the Role."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": NAME},
            "roleRef": reference,
            "subjects": [{"kind": "ServiceAccount", "name": NAME}],
        },
    ]
