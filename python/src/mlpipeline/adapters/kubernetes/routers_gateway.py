"""An HTTPRoute of the Gateway API as the router: whichever controller the cluster has divides users and copies requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from mlpipeline.adapters.kubernetes.api import Cluster, Conflict, Object, UnknownKind
from mlpipeline.adapters.kubernetes.fencing import TOKEN, latest_of, refuse_if_taken_over
from mlpipeline.adapters.kubernetes.objects import Owned
from mlpipeline.adapters.kubernetes.pod_counts import PodCounts
from mlpipeline.adapters.kubernetes.routers_service import changed_by
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.inventory import Part
from mlpipeline.core.kubernetes_places import Names
from mlpipeline.core.kubernetes_routes import Parent, http_route, plan_of, written_plan
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.ports import Clock, RouterCounts

CONFIRM_SECONDS = 60.0
POLL_SECONDS = 0.05
CONFLICTS = 10
ASKED = ("Accepted", "ResolvedRefs")
"""Conditions in which a controller says whether it follows the route."""


class GatewayRouter:
    """Implements :class:`mlpipeline.hosting.target.RouterService`.

    Args:
        token: The fencing token of this worker; 0 while it holds nothing.
    """

    def __init__(
        self, cluster: Cluster, service: str, *, settings: Kubernetes, clock: Clock, token: Callable[[], int] = lambda: 0
    ) -> None:
        self._cluster, self._service, self._clock = cluster, service, clock
        self._parent = Parent(settings.gateway, settings.gateway_listener, settings.hostnames)
        self._name, self._owned = Names(service).active, Owned(cluster, service)
        self._counts = PodCounts(cluster, service)
        self._token = token

    def bound_log(self) -> None:
        """The controller's own."""

    def known(self) -> bool:
        return self._found() is not None

    def running(self) -> bool:
        """Whether a controller follows the route as it stands now."""
        found = self._found()
        return found is not None and _confirmed(found, self._parent) is True

    def require_port(self) -> None:
        """Raises ConfigurationError when a route of this name is somebody else's, or the cluster knows no routes."""
        self._found()

    def admin_port(self) -> int | None:
        """The controller's own."""
        return None

    def ordered(self) -> TrafficPlan | None:
        found = self._found()
        try:
            return None if found is None else plan_of(self._service, found)
        except ValueError as error:
            raise EnvironmentFault(
                "the HTTPRoute is not one that mlpipeline could have written",
                facts={"HTTPRoute": self._name, "namespace": self._cluster.namespace, "found": error},
                likely=f"somebody changed it: {changed_by(found or {'metadata': {}}, 'rules') or 'nobody knows who'}",
                tries=("mlpipeline rollback",),
            ) from error

    def applied(self) -> TrafficPlan | None:
        """What the route says, once a controller says that it follows it."""
        return self.ordered() if self.running() else None

    def plans(self) -> list[TrafficPlan]:
        found = self.ordered()
        return [] if found is None else [found]

    def ensure(self) -> None:
        """Nothing of ours runs."""

    def set_endpoint(self, colour: Colour, address: Address | None) -> None:
        """The Service of each colour says which pods are ready."""
        del colour, address

    def apply(self, plan: TrafficPlan) -> None:
        former = self.ordered()
        written = self._write(plan)
        try:
            self._await(written)
        except EnvironmentFault:
            if former is not None:
                self._write(former)
            raise

    def counts(self) -> Mapping[Colour, RouterCounts]:
        return self._counts.read()

    def words(self, lines: int) -> Mapping[str, object]:
        del lines
        found = self._found()
        said = "; ".join(_said(found, self._parent)) if found else ""
        return {
            "router": f"kubectl describe httproute --namespace {self._cluster.namespace} {self._name}",
            **({"found": said} if said else {}),
        }

    def inventory(self, addresses: Mapping[Colour, Address | None]) -> Part:
        """Whom the route's weights name, against the plan that was written beside it."""
        del addresses
        found = self._found()
        if found is None:
            return Part({"state": "down"}, {"state": "up"})
        written = written_plan(found["metadata"].get("annotations"))
        try:
            plan = plan_of(self._service, found)
        except ValueError as error:
            plan, words = None, str(error)
        else:
            words = _words(plan)
        facts = {"state": "up" if self.running() else "down", "users": words}
        wanted = {"state": "up"} | ({"users": _words(written)} if written else {})
        return Part(facts, wanted, changed=changed_by(found, "rules"))

    def stamp(self, token: int) -> None:
        """Makes every write that an earlier holder of the service still has in hand impossible."""
        plan = self.ordered()
        if plan is not None:
            self._write(plan, token)

    def latest_token(self) -> int:
        """Of whoever wrote last."""
        return latest_of(self._found())

    def remove(self) -> None:
        with self._known_kind():
            self._owned.remove("HTTPRoute", self._name)

    def _found(self) -> Object | None:
        with self._known_kind():
            return self._owned.read("HTTPRoute", self._name)

    @contextmanager
    def _known_kind(self) -> Iterator[None]:
        try:
            yield
        except UnknownKind as error:
            raise ConfigurationError(
                "target.kubernetes.router is gateway, but this cluster has no Gateway API",
                facts={"server": self._cluster.address, "missing": "gateway.networking.k8s.io/v1 HTTPRoute"},
                likely="no controller of gateways was installed, or one without the standard definitions",
                tries=("kubectl get crd httproutes.gateway.networking.k8s.io", "target.kubernetes.router: envoy"),
            ) from error

    def _write(self, plan: TrafficPlan, token: int | None = None) -> Object:
        """Compare and swap: only over the version that was read, and never over the word of a later holder."""
        token = self._token() if token is None else token
        for _ in range(CONFLICTS):
            found = self._found()
            annotations = (found or {"metadata": {}})["metadata"].get("annotations") or {}
            latest = refuse_if_taken_over(annotations, token, f"HTTPRoute {self._name}")
            told = {TOKEN: str(max(token, latest))}
            wanted = http_route(self._service, self._cluster.namespace, plan, self._parent, told)
            metadata = msgspec.convert(wanted["metadata"], dict[str, Any])
            if found is not None:
                metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
            try:
                return self._cluster.apply({**wanted, "metadata": metadata})
            except Conflict:
                continue
        raise EnvironmentFault(
            "the HTTPRoute could not be changed: something else keeps changing it",
            facts={"HTTPRoute": self._name, "namespace": self._cluster.namespace},
            tries=(f"kubectl get httproute {self._name} --show-managed-fields -o yaml", "mlpipeline status"),
        )

    def _await(self, written: Object) -> None:
        """Until a controller says that it follows this very version. Raises EnvironmentFault with its words when it refuses."""
        deadline = self._clock.monotonic() + CONFIRM_SECONDS
        generation = int(written["metadata"].get("generation", 0))
        found: Object | None = written
        while self._clock.monotonic() < deadline:
            found = self._found()
            if found is None:
                break
            answer = _confirmed(found, self._parent, generation)
            if answer is True:
                return
            if answer is False:
                raise EnvironmentFault(
                    "the controller of the Gateway refuses the traffic plan",
                    facts={"gateway": self._parent.gateway, "found": "; ".join(_said(found, self._parent))},
                    likely="it lacks a feature such as mirroring, or its listener takes no routes of this namespace or host name",
                    tries=(f"kubectl describe httproute --namespace {self._cluster.namespace} {self._name}",),
                )
            self._clock.sleep(POLL_SECONDS)
        said = "; ".join(_said(found, self._parent)) if found else "the route is gone"
        raise EnvironmentFault(
            "no controller took over the traffic plan",
            facts={"gateway": self._parent.gateway, "HTTPRoute": self._name, "found": said or "no controller said anything"},
            likely="there is no such Gateway, or its controller does not run",
            tries=("kubectl get gateways --all-namespaces", "set target.kubernetes.gateway"),
        )


def _words(plan: TrafficPlan | None) -> str:
    if plan is None:
        return "nobody"
    return f"{plan.percent(Colour.BLUE)} % blue, {plan.percent(Colour.GREEN)} % green{', copied' if plan.mirror else ''}"


def _conditions(found: Object, parent: Parent) -> Iterator[Mapping[str, Any]]:
    """What controllers say of the route under this Gateway."""
    for one in found.get("status", {}).get("parents") or ():
        if one.get("parentRef", {}).get("name") == parent.name:
            yield from one.get("conditions") or ()


def _confirmed(found: Object, parent: Parent, generation: int | None = None) -> bool | None:
    """Whether a controller follows this version of the route; None while it has not said."""
    generation = int(found["metadata"].get("generation", 0)) if generation is None else generation
    now = {
        one["type"]: one["status"] == "True"
        for one in _conditions(found, parent)
        if one["type"] in ASKED and int(one.get("observedGeneration", 0)) >= generation
    }
    return None if len(now) < len(ASKED) and all(now.values()) else all(now.values())


def _said(found: Object, parent: Parent) -> list[str]:
    """The complaints among these."""
    return [
        f"{one['type']}: {one.get('reason', '')}: {one.get('message', '')}"
        for one in _conditions(found, parent)
        if one["status"] != "True"
    ]
