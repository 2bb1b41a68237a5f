"""Routers that are one object of the cluster, on which the plan and the fencing token stand; others follow it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from mlpipeline.adapters.kubernetes.api import Cluster, Conflict, Object
from mlpipeline.adapters.kubernetes.fencing import NOTE, TOKEN, latest_of, note_of, refuse_if_taken_over
from mlpipeline.adapters.kubernetes.inventory import changed_by
from mlpipeline.adapters.kubernetes.objects import Owned
from mlpipeline.adapters.kubernetes.pod_counts import PodCounts
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.inventory import Part
from mlpipeline.core.kubernetes_places import Names
from mlpipeline.core.kubernetes_routes import PLAN, encoded, written_plan
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault
from mlpipeline.ports import Clock, RouterCounts

CONFLICTS = 10


class ObjectRouter(ABC):
    """What a Service's selector and an HTTPRoute have in common as implementations of
    :class:`mlpipeline.hosting.target.RouterService`.

    Args:
        token: The fencing token of this worker; 0 while it holds nothing.
    """

    kind: ClassVar[str]
    decides: ClassVar[str]
    """The field of its specification that says where users go."""

    def __init__(
        self, cluster: Cluster, service: str, *, settings: Kubernetes, clock: Clock, token: Callable[[], int] = lambda: 0
    ) -> None:
        self._cluster, self._service, self._settings, self._clock = cluster, service, settings, clock
        self._names, self._owned = Names(service), Owned(cluster, service)
        self._counts = PodCounts(cluster, service)
        self._token = token

    def known(self) -> bool:
        return self._found() is not None

    @abstractmethod
    def running(self) -> bool:
        """Whether somebody follows the object as it stands now."""

    def require_port(self) -> None:
        """Raises ConfigurationError when an object of this name is somebody else's, or the cluster knows none of its kind."""
        self._found()

    def admin_port(self) -> int | None:
        """Whoever follows the object has its own, or counts nothing."""
        return None

    @abstractmethod
    def ordered(self) -> TrafficPlan | None:
        """What the object says."""

    def plans(self) -> list[TrafficPlan]:
        found = self.ordered()
        return [] if found is None else [found]

    def leave_out(self, colour: Colour) -> None:
        """Whoever follows the object asks one colour, and no other after it."""
        del colour

    def knows(self, colour: Colour, address: Address | None) -> bool:
        """The cluster does, by itself."""
        del colour, address
        return True

    def counts(self) -> Mapping[Colour, RouterCounts]:
        return self._counts.read()

    def inventory(self, addresses: Mapping[Colour, Address | None]) -> Part:
        """Whom the object itself sends users to, against the plan that was written beside it."""
        del addresses
        found = self._found()
        if found is None:
            return Part({"state": "down"}, {"state": "up"})
        written = written_plan(found["metadata"].get("annotations"))
        facts = {"state": "up" if self.running() else "down", "users": self._users(found)}
        wanted = {"state": "up"} | ({"users": self._told(written)} if written else {})
        return Part(facts, wanted, changed=changed_by(found, self.decides))

    def stamp(self, token: int) -> None:
        """Makes every write that an earlier holder of the service still has in hand impossible."""
        plan = self.ordered()
        if plan is not None:
            self._write(plan, token)

    def remember(self, note: str) -> None:
        """Beside the plan, as long as there is one."""
        plan = self.ordered()
        if plan is not None:
            self._write(plan, note=note)

    def remembered(self) -> str:
        return note_of(self._found())

    def latest_token(self) -> int:
        """Of whoever wrote last."""
        return latest_of(self._found())

    def _found(self) -> Object | None:
        return self._owned.read(self.kind, self._names.active)

    @abstractmethod
    def _users(self, found: Object) -> str:
        """Whom the object sends users to, in words."""

    @abstractmethod
    def _told(self, plan: TrafficPlan) -> str:
        """Whom a plan does, in the same words."""

    @abstractmethod
    def _wanted(self, plan: TrafficPlan, found: Object | None, annotations: Mapping[str, str]) -> Mapping[str, Any]:
        """The object of a plan."""

    def _write(self, plan: TrafficPlan, token: int | None = None, note: str = "") -> Object:
        """Compare and swap: only over the version that was read, and never over the word of a later holder."""
        token = self._token() if token is None else token
        for _ in range(CONFLICTS):
            found = self._found()
            before = (found or {"metadata": {}})["metadata"].get("annotations") or {}
            latest = refuse_if_taken_over(before, token, f"{self.kind} {self._names.active}")
            told = {PLAN: encoded(plan), TOKEN: str(max(token, latest)), NOTE: note or note_of(found)}
            wanted = self._wanted(plan, found, told)
            metadata = msgspec.convert(wanted["metadata"], dict[str, Any])
            if found is not None:
                metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
            try:
                return self._cluster.apply({**wanted, "metadata": metadata})
            except Conflict:
                continue
        raise EnvironmentFault(
            f"where users go could not be changed: something else keeps changing the {self.kind}",
            facts={self.kind: self._names.active, "namespace": self._cluster.namespace},
            tries=(f"kubectl get {self.kind.lower()} {self._names.active} --show-managed-fields -o yaml", "mlpipeline status"),
        )
