"""A traffic plan as an HTTPRoute of the Gateway API, and back. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlpipeline.core.envoy_files import ROUTE_TIMEOUT_SECONDS
from mlpipeline.core.kubernetes_places import Names, owned_labels
from mlpipeline.core.traffic import Colour, Pinned, TrafficPlan

VERSION = "gateway.networking.k8s.io/v1"
PLAN = "mlpipeline.plan"
"""Annotation of what routes users: the whole plan, of which the object itself may tell only a part."""
SERVICE_PORT = 80


class Parent(msgspec.Struct, frozen=True):
    """The Gateway that users come through.

    Args:
        gateway: Its name, or ``namespace/name``.
        listener: Name of one of its listeners; empty: all that take the route.
        hostnames: Empty: those of the listener.
    """

    gateway: str
    listener: str = ""
    hostnames: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.gateway.rpartition("/")[2]

    @property
    def namespace(self) -> str:
        """Empty: that of the route."""
        return self.gateway.rpartition("/")[0]


def http_route(
    service: str, namespace: str, plan: TrafficPlan, parent: Parent, annotations: Mapping[str, str] | None = None
) -> dict[str, object]:
    """The route of a service. Cohorts come first, because the first rule that matches as exactly decides."""
    metadata = {
        "name": Names(service).active,
        "namespace": namespace,
        "labels": owned_labels(service, "active"),
        "annotations": {PLAN: encoded(plan), **(annotations or {})},
    }
    reference = {"name": parent.name, "namespace": parent.namespace, "sectionName": parent.listener}
    spec: dict[str, object] = {
        "parentRefs": [{name: text for name, text in reference.items() if text}],
        "rules": [*(_cohort(service, cohort) for cohort in plan.cohorts), _users(service, plan)],
    }
    if parent.hostnames:
        spec["hostnames"] = [*parent.hostnames]
    return {"apiVersion": VERSION, "kind": "HTTPRoute", "metadata": metadata, "spec": spec}


def encoded(plan: TrafficPlan) -> str:
    """As it stands in an annotation."""
    return msgspec.json.encode(plan).decode()


def written_plan(annotations: Mapping[str, str] | None) -> TrafficPlan | None:
    """The plan of the annotations; None where there is none, or one that nobody of us wrote."""
    try:
        return msgspec.json.decode((annotations or {}).get(PLAN, ""), type=TrafficPlan)
    except (msgspec.DecodeError, ValueError):
        return None


def plan_of(service: str, route: Mapping[str, Any]) -> TrafficPlan | None:
    """The plan that a route is: what stands beside it, unless somebody changed its weights since. Raises ValueError for a
    route of which none can be read."""
    written = written_plan(route["metadata"].get("annotations"))
    rules = route["spec"].get("rules") or ()
    if not rules:
        return None
    if written is not None and _divided(_users(service, written)) == _divided(rules[-1]):
        return written
    weights, mirrored = _divided(rules[-1])
    shares = {colour: weights.get(Names(service).of(colour), 0) for colour in Colour}
    total = sum(weights.values())
    if not total or sum(shares.values()) != total:
        raise ValueError(f"its last rule sends users to {', '.join(weights) or 'nobody'}")
    live = max(Colour, key=lambda colour: (shares[colour], colour))
    share = round(100 * shares[live.other] / total)
    return TrafficPlan(live=live, share=share, mirror=bool(mirrored) and not share)


def _divided(rule: Mapping[str, Any]) -> tuple[dict[str, int], set[str]]:
    """Weights by Service, and the Services that get copies."""
    weights = {str(one["name"]): int(one.get("weight", 1)) for one in rule.get("backendRefs") or ()}
    filters = [one for one in rule.get("filters") or () if one.get("type") == "RequestMirror"]
    return {name: weight for name, weight in weights.items() if weight}, {
        str(one["requestMirror"]["backendRef"]["name"]) for one in filters
    }


def _users(service: str, plan: TrafficPlan) -> dict[str, object]:
    rule: dict[str, object] = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [_backend(service, colour, plan.percent(colour)) for colour in Colour],
        "timeouts": {"request": f"{ROUTE_TIMEOUT_SECONDS}s"},
    }
    if plan.mirror:
        mirror = {"backendRef": _backend(service, plan.live.other)}
        rule["filters"] = [{"type": "RequestMirror", "requestMirror": mirror}]
    return rule


def _cohort(service: str, cohort: Pinned) -> dict[str, object]:
    header = (
        {"type": "Exact", "name": cohort.header, "value": cohort.value}
        if cohort.header
        else {"type": "RegularExpression", "name": "Cookie", "value": _cookie(cohort)}
    )
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [header]}],
        "backendRefs": [_backend(service, cohort.colour, 100)],
        "timeouts": {"request": f"{ROUTE_TIMEOUT_SECONDS}s"},
    }


def _cookie(cohort: Pinned) -> str:
    return rf"(?:.*;)?[ \t]*{re.escape(cohort.cookie)}={re.escape(cohort.value)}[ \t]*(?:;.*)?"


def _backend(service: str, colour: Colour, weight: int | None = None) -> dict[str, object]:
    found: dict[str, object] = {"name": Names(service).of(colour), "port": SERVICE_PORT}
    return found if weight is None else {**found, "weight": weight}
