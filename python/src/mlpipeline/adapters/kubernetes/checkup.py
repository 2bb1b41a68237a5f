"""Whether a cluster can do what a release will ask of it. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mlpipeline.adapters.kubernetes.api import Cluster
from mlpipeline.adapters.kubernetes.objects import Owned
from mlpipeline.adapters.kubernetes.routers_gateway import GatewayRouter
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core.kubernetes_objects import colour_service
from mlpipeline.core.kubernetes_places import Names
from mlpipeline.core.kubernetes_role import permissions
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import EnvironmentFault
from mlpipeline.ports import Clock

OLDEST = (1, 30)
"""From which on a container may be let wait before it is told to end, without a program of its own for that."""


def cluster_report(settings: Kubernetes, service: str, environment: Mapping[str, str], clock: Clock) -> str:
    """Version, namespace and rights, in one line.

    Raises:
        EnvironmentFault: It does not answer, is too old, has no such namespace, or does not let this worker do its work.
        ConfigurationError: The kubeconfig cannot be used, or something else has the name of the service.
    """
    cluster = Cluster(settings.kubeconfig, settings.context, settings.namespace, environment=environment, clock=clock)
    version = str(cluster.whole("/version").get("gitVersion", ""))
    found = re.match(r"v(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        raise EnvironmentFault(
            f"the cluster is Kubernetes {version}, older than {'.'.join(map(str, OLDEST))}", facts={"server": cluster.address}
        )
    missing = missing_rights(cluster, settings.router)
    if missing:
        raise EnvironmentFault(
            "this worker may not do in the cluster what a release needs",
            facts={"server": cluster.address, "namespace": cluster.namespace, "missing": ", ".join(missing)},
            likely="the Role is not bound to this worker in this namespace, or is that of another router",
            tries=(f"kubectl apply --namespace {cluster.namespace} --filename role-{settings.router}.yaml",),
        )
    Owned(cluster, service).read("Service", Names(service).active)
    # Only a write is told that its namespace is not there.
    cluster.apply(colour_service(service, cluster.namespace, Colour.BLUE), dry_run=True)
    return (
        f"Kubernetes {version} answers at {cluster.address}, namespace {cluster.namespace}, with all rights that a release needs"
    )


def router_report(settings: Kubernetes, service: str, environment: Mapping[str, str], clock: Clock) -> str:
    """What will divide users, and what it cannot do, in one line."""
    if settings.router == "service":
        return (
            "the Service's selector moves all users at once: no concurrent control, so no verdict compares two colours; "
            "router: envoy or gateway divides users"
        )
    if settings.router == "gateway":
        cluster = Cluster(settings.kubeconfig, settings.context, settings.namespace, environment=environment, clock=clock)
        GatewayRouter(cluster, service, settings=settings, clock=clock).require_port()
        return f"the cluster knows HTTPRoutes; users come through Gateway {settings.gateway}"
    return f"our Envoy divides users, of the image {settings.router_image[-19:]}, {settings.router_replicas} pods"


def missing_rights(cluster: Cluster, router: str) -> list[str]:
    """What the server itself says that this worker may not, as ``verb resource``; nothing where it does not tell."""
    question = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": cluster.namespace},
    }
    answer = cluster.whole("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", question).get("status", {})
    rules = answer.get("resourceRules") or ()
    if answer.get("incomplete") and not rules:
        return []
    return [
        f"{verb} {resource}{f'.{group}' if group else ''}"
        for (group, resource), verbs in permissions(router).items()
        for verb in verbs
        if not _allowed(rules, group, resource, verb)
    ]


def _allowed(rules: Iterable[Mapping[str, Any]], group: str, resource: str, verb: str) -> bool:
    def has(rule: Mapping[str, Any], key: str, wanted: str) -> bool:
        return bool({wanted, "*"} & set(rule.get(key) or ()))

    return any(
        has(rule, "apiGroups", group) and has(rule, "resources", resource) and has(rule, "verbs", verb)
        for rule in rules
        if not rule.get("resourceNames")
    )
