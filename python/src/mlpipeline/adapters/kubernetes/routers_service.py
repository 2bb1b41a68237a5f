"""The selector of the Service that users call as the router: it moves everybody at once, and new connections only.

A connection that a client keeps stays on the old pods for as long as they live. So the old colour is let go of: its pods end
politely, one answer with ``Connection: close`` for each connection, and others of the same version come in their place. Only then
can the old colour's counter stand still, which is the proof; that the selector was written proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipeline.adapters.kubernetes.api import Object
from mlpipeline.adapters.kubernetes.pods import Pods
from mlpipeline.adapters.kubernetes.routers_object import ObjectRouter
from mlpipeline.core import container as labels
from mlpipeline.core import kubernetes_objects as objects
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.kubernetes_places import CONTAINER
from mlpipeline.core.kubernetes_routes import written_plan
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault

CONFIRM_SECONDS = 30.0
PROXIES_SECONDS = 1.0
"""For which kube-proxy gathers changes before it makes them."""
POLL_SECONDS = 0.05
LEAVING = "mlpipeline.leaving"
"""Annotation of the Service: whether the colour that had users before stays warm, and its pods of then, by their uid."""
LET_GO = "mlpipeline.let-go"
"""Annotation of a colour's pods: the first pod that they replaced."""
WARM, ENDS = "warm", "ends"


class SelectorRouter(ObjectRouter):
    """Implements :class:`mlpipeline.hosting.target.RouterService`. The cluster's proxies, which follow it, count nothing."""

    kind = "Service"
    decides = "selector"

    def bound_log(self) -> None:
        """There is none."""

    def ensure(self) -> None:
        """Nothing of ours runs."""

    def running(self) -> bool:
        """Whether there is a Service for users: whatever forwards them is the cluster's own."""
        return self._found() is not None

    def ordered(self) -> TrafficPlan | None:
        found = self._found()
        return None if found is None else plan_of(found)

    def applied(self) -> TrafficPlan | None:
        return self.ordered()

    def set_endpoint(self, colour: Colour, address: Address | None) -> None:
        """The cluster knows which pods are ready; here only where the candidate is looked at changes."""
        plan = self.ordered()
        if address is not None and (plan is None or not plan.serves(colour)):
            self._owned.apply(objects.preview_service(self._service, self._cluster.namespace, colour))

    def apply(self, plan: TrafficPlan, *, warm: bool = False) -> None:
        del warm  # who asks whom again is decided by others
        refuse_to_divide(plan)
        self._write(plan)
        self._await_endpoints(answering(plan))
        self._let_go(plan)

    def words(self, lines: int) -> Mapping[str, object]:
        del lines
        return {"router": f"kubectl describe service --namespace {self._cluster.namespace} {self._names.active}"}

    def remove(self) -> None:
        """The Service that users call, and that of the candidate."""
        for name in (self._names.active, self._names.preview):
            self._owned.remove("Service", name)

    def _users(self, found: Object) -> str:
        return selected(found) or "nobody of ours"

    def _told(self, plan: TrafficPlan) -> str:
        return str(answering(plan))

    def _wanted(self, plan: TrafficPlan, found: Object | None, annotations: Mapping[str, str]) -> Mapping[str, Any]:
        told = {**annotations, LEAVING: self._leaving(found, plan)}
        port = self._settings.port
        return objects.active_service(self._service, self._cluster.namespace, to=answering(plan), port=port, annotations=told)

    def _leaving(self, found: Object | None, plan: TrafficPlan) -> str:
        """The pods that lose their users by this write; those of an unfinished one before it, when it moves nobody."""
        former = None if found is None else selected(found)
        if found is None or former is None or former is answering(plan):
            return str(((found or {"metadata": {}})["metadata"].get("annotations") or {}).get(LEAVING, ""))
        before = plan_of(found)
        how = WARM if before is not None and before.live is former else ENDS
        pods = Pods(self._cluster, self._service, str(former), CONTAINER).staying()
        return " ".join([how, *sorted(pod["metadata"]["uid"] for pod in pods)])

    def _await_endpoints(self, colour: Colour) -> None:
        """Until the cluster itself says that the Service is the colour's pods, and its proxies had time to hear it."""
        deadline = self._clock.monotonic() + CONFIRM_SECONDS
        pods = Pods(self._cluster, self._service, str(colour), CONTAINER)
        while not self._follows({pod["metadata"]["uid"] for pod in pods.all()}):
            if self._clock.monotonic() >= deadline:
                raise EnvironmentFault(
                    f"the cluster does not say that the Service's pods are those of {colour}",
                    facts={"Service": self._names.active, "namespace": self._cluster.namespace},
                    likely="none of them is ready, or the cluster's controllers are overloaded",
                    tries=(
                        f"kubectl get endpointslices -l kubernetes.io/service-name={self._names.active}",
                        "mlpipeline rollback",
                    ),
                )
            self._clock.sleep(POLL_SECONDS)
        self._clock.sleep(PROXIES_SECONDS)

    def _follows(self, pods: set[str]) -> bool:
        slices = self._cluster.listed("EndpointSlice", labels={"kubernetes.io/service-name": self._names.active})
        ready = [
            endpoint.get("targetRef", {}).get("uid")
            for one in slices
            for endpoint in one.get("endpoints") or ()
            if endpoint.get("conditions", {}).get("ready")
        ]
        return bool(ready) and set(ready) <= pods

    def _let_go(self, plan: TrafficPlan) -> None:
        """Ends the pods that kept connections stay on: one after the other behind successors where the colour is to stay warm,
        at once where it is a candidate that was taken back. Done already: no work."""
        found = self._found()
        annotations = (found or {"metadata": {}})["metadata"].get("annotations") or {}
        how, *uids = annotations.get(LEAVING, "").split() or [""]
        old = answering(plan).other
        staying = [
            pod for pod in Pods(self._cluster, self._service, str(old), CONTAINER).staying() if pod["metadata"]["uid"] in uids
        ]
        if staying and how == WARM:
            sign = {"metadata": {"annotations": {LET_GO: uids[0]}}}
            self._cluster.patch("Deployment", self._names.of(old), {"spec": {"template": sign}})
            return
        for pod in staying:
            self._cluster.delete("Pod", pod["metadata"]["name"], uid=pod["metadata"]["uid"])


def answering(plan: TrafficPlan) -> Colour:
    """The colour that has all users."""
    return plan.live if not plan.share else plan.live.other


def refuse_to_divide(plan: TrafficPlan) -> None:
    """Raises ConfigurationError for a plan that needs a router which looks at each request."""
    if plan.mirror or plan.share not in (0, 100) or plan.cohorts:
        what = "copies requests" if plan.mirror else "pins cohorts" if plan.cohorts else f"gives {plan.share} % of users away"
        raise ConfigurationError(
            f"the selector of a Service moves all users at once, and this plan {what}",
            likely="target.kubernetes.router is service, under which no verdict has a concurrent control",
            tries=("target.kubernetes.router: envoy    # or gateway", "rollout: {mirror: 0, steps: [], control: 0}"),
        )


def selected(found: Object) -> Colour | None:
    """Whose pods the selector finds; None for one that finds something else."""
    role = (found["spec"].get("selector") or {}).get(labels.ROLE, "")
    return Colour(role) if role in set(Colour) else None


def plan_of(found: Object | None) -> TrafficPlan | None:
    """The plan that the Service follows: what stands beside the selector, unless somebody changed the selector since."""
    if found is None or (colour := selected(found)) is None:
        return None
    written = written_plan(found["metadata"].get("annotations"))
    return written if written is not None and answering(written) is colour else TrafficPlan.all_to(colour)
