"""An HTTPRoute of the Gateway API as the router: whichever controller the cluster has divides users and copies requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlpipeline.adapters.kubernetes.api import Cluster, Object, UnknownKind
from mlpipeline.adapters.kubernetes.inventory import changed_by
from mlpipeline.adapters.kubernetes.routers_object import ObjectRouter
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.kubernetes_routes import Parent, http_route, plan_of
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.ports import Clock

CONFIRM_SECONDS = 60.0
POLL_SECONDS = 0.05
ASKED = ("Accepted", "ResolvedRefs")
"""Conditions in which a controller says whether it follows the route."""


class GatewayRouter(ObjectRouter):
    """Implements :class:`mlpipeline.hosting.target.RouterService`. What the controller counts is its own."""

    kind = "HTTPRoute"
    decides = "rules"

    def __init__(
        self, cluster: Cluster, service: str, *, settings: Kubernetes, clock: Clock, token: Callable[[], int] = lambda: 0
    ) -> None:
        super().__init__(cluster, service, settings=settings, clock=clock, token=token)
        self._parent = Parent(settings.gateway, settings.gateway_listener, settings.hostnames)

    def bound_log(self) -> None:
        """The controller's own."""

    def ensure(self) -> None:
        """Nothing of ours runs."""

    def running(self) -> bool:
        """Whether a controller follows the route as it stands now."""
        found = self._found()
        return found is not None and _confirmed(found, self._parent) is True

    def ordered(self) -> TrafficPlan | None:
        found = self._found()
        try:
            return None if found is None else plan_of(self._service, found)
        except ValueError as error:
            raise EnvironmentFault(
                "the HTTPRoute is not one that mlpipeline could have written",
                facts={"HTTPRoute": self._names.active, "namespace": self._cluster.namespace, "found": error},
                likely=f"somebody changed it: {changed_by(found or {'metadata': {}}, 'rules') or 'nobody knows who'}",
                tries=("mlpipeline rollback",),
            ) from error

    def applied(self) -> TrafficPlan | None:
        """What the route says, once a controller says that it follows it."""
        return self.ordered() if self.running() else None

    def set_endpoint(self, colour: Colour, address: Address | None) -> None:
        """The Service of each colour says which pods are ready."""
        del colour, address

    def apply(self, plan: TrafficPlan, *, warm: bool = False) -> None:
        del warm  # who asks whom again is decided by others
        former = self.ordered()
        written = self._write(plan)
        try:
            self._await(written)
        except EnvironmentFault:
            if former is not None:
                self._write(former)
            raise

    def words(self, lines: int) -> Mapping[str, object]:
        del lines
        found = self._found()
        said = "; ".join(_said(found, self._parent)) if found else ""
        return {
            "router": f"kubectl describe httproute --namespace {self._cluster.namespace} {self._names.active}",
            **({"found": said} if said else {}),
        }

    def remove(self) -> None:
        with self._known_kind():
            self._owned.remove("HTTPRoute", self._names.active)

    def _found(self) -> Object | None:
        with self._known_kind():
            return super()._found()

    def _users(self, found: Object) -> str:
        try:
            return _words(plan_of(self._service, found))
        except ValueError as error:
            return str(error)

    def _told(self, plan: TrafficPlan) -> str:
        return _words(plan)

    def _wanted(self, plan: TrafficPlan, found: Object | None, annotations: Mapping[str, str]) -> Mapping[str, Any]:
        del found
        return http_route(self._service, self._cluster.namespace, plan, self._parent, annotations)

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
                    tries=(f"kubectl describe httproute --namespace {self._cluster.namespace} {self._names.active}",),
                )
            self._clock.sleep(POLL_SECONDS)
        said = "; ".join(_said(found, self._parent)) if found else "the route is gone"
        raise EnvironmentFault(
            "no controller took over the traffic plan",
            facts={
                "gateway": self._parent.gateway,
                "HTTPRoute": self._names.active,
                "found": said or "no controller said anything",
            },
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
