"""The kubernetes target: both colours as Deployments of one namespace, users routed by one of three routers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlpipeline.adapters.kubernetes.api import Cluster, Object
from mlpipeline.adapters.kubernetes.colours import ColourDeployment
from mlpipeline.adapters.kubernetes.lease import ServiceLease
from mlpipeline.adapters.kubernetes.manifests import Base
from mlpipeline.adapters.kubernetes.monitoring import NamedPrometheus
from mlpipeline.adapters.kubernetes.objects import KINDS, Owned
from mlpipeline.adapters.kubernetes.planning import planned
from mlpipeline.adapters.kubernetes.routers import router_of
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core import container as labels
from mlpipeline.core.kubernetes_diff import FieldChange
from mlpipeline.core.kubernetes_places import ROUTER, Names
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting.target import HostTarget
from mlpipeline.ports import Artifact, Clock
from mlpipeline.record.lease import MAKING, TRAFFIC, Holder, Right

END_SECONDS = 120.0
POLL_SECONDS = 0.1


class KubernetesTarget(HostTarget):
    """Implements :class:`mlpipeline.ports.Target` in a cluster; everything is found again by its labels and by nothing else.

    Args:
        environment: ``KUBECONFIG``, where the settings name none.
        gpus: How many devices the image needs.
        project: What paths of the settings are relative to.
        failover: Whether one colour may answer what the other did not.
        fence: Called right before each write; raises Held when this worker no longer may change the service.
    """

    def __init__(
        self,
        service: str,
        settings: Kubernetes,
        clock: Clock,
        environment: Mapping[str, str],
        *,
        gpus: int = 0,
        project: Path = Path(),
        fence: Callable[[], object] | None = None,
        failover: bool = True,
    ) -> None:
        self._cluster = _cluster(settings, environment, clock)
        self._service, self._settings = service, settings
        self._owned = Owned(self._cluster, service)
        leases = _cluster(settings, environment, clock)
        names = Names(service)
        self._leases = {
            right: ServiceLease(leases, service, name, clock, right=right)
            for right, name in ((TRAFFIC, names.lease), (MAKING, names.making))
        }
        self._over = False
        self._cluster.may_write = self._may_write
        self._base = Base(settings, service, project, environment)
        self._envoy = router_of(self._cluster, service, settings=settings, clock=clock, token=self._token, failover=failover)
        colours = {
            colour: ColourDeployment(
                self._cluster, service, colour, settings=settings, gpus=gpus, clock=clock, shape=self._base.shape
            )
            for colour in Colour
        }
        self._deployments = colours
        super().__init__(
            ("", 0), self._envoy, colours, NamedPrometheus(), clock, drain_timeout=settings.drain_timeout, fence=fence
        )

    @property
    def address(self) -> str:
        """Where users inside the cluster reach the service."""
        found = self._cluster.read("Service", Names(self._service).active)
        if found is None:
            return f"http://{Names(self._service).active}.{self._cluster.namespace}"
        return f"http://{found['spec']['clusterIP']}:{found['spec']['ports'][0]['port']}"

    def changes(self, colour: Colour, artifact: Artifact) -> Sequence[FieldChange]:
        """By a server-side dry run of every object of the colour. Other objects of the user's manifests stay the user's."""
        return planned(self._cluster, self._deployments[colour].wanted(artifact))

    def ask_as_user(self, request: bytes) -> tuple[int, bytes]:
        """Users come by a Service, an Ingress or a Gateway, which a worker outside the cluster cannot reach."""
        del request
        return 0, b""

    @contextmanager
    def hold(self, holder: Holder, right: Right = TRAFFIC) -> Iterator[None]:
        """Makes this worker the only one of all machines. From its first moment on, what an earlier holder still has in hand is
        refused: its token stands where routes are written."""
        lease = self._leases[right]
        token = lease.acquire(holder, after=self._envoy.latest_token)
        try:
            if right == TRAFFIC:
                self._envoy.stamp(token)
            yield
        finally:
            lease.release()
            if self._over:
                for one in self._leases.values():
                    one.remove()

    def holder(self, right: Right = TRAFFIC) -> Holder | None:
        """Who holds the service, whatever machine it is on."""
        return self._leases[right].holder()

    def remember(self, note: str) -> None:
        self._fence()
        self._envoy.remember(note)

    def remembered(self) -> str:
        return self._envoy.remembered()

    def shutdown(self) -> None:
        """Removes every object of this service, its leases when this worker gives them back; requests in flight are lost."""
        self._fence()
        self._over = True
        mine = {labels.SERVICE: self._service}
        self._envoy.remove()
        for kind in KINDS:
            for found in self._cluster.listed(kind, labels=mine):
                self._cluster.delete(kind, found["metadata"]["name"], uid=found["metadata"]["uid"])
        deadline = self._clock.monotonic() + END_SECONDS
        while pods := self._cluster.listed("Pod", labels=mine):
            self._hurry(pods)
            if self._clock.monotonic() >= deadline:
                raise EnvironmentFault(
                    "pods of the service have not ended",
                    facts={"namespace": self._cluster.namespace, "service": self._service},
                    likely="their node does not answer",
                    tries=(f"kubectl get pods --namespace {self._cluster.namespace}",),
                )
            self._clock.sleep(POLL_SECONDS)

    def _hurry(self, pods: Sequence[Object]) -> None:
        """The router's pods wait for users to leave, of whom there are none any more."""
        for pod in pods:
            if (
                pod["metadata"]["labels"].get(labels.ROLE) == ROUTER
                and (pod["metadata"].get("deletionGracePeriodSeconds") or 9) > 1
            ):
                self._cluster.delete("Pod", pod["metadata"]["name"], grace_seconds=1, uid=pod["metadata"]["uid"])

    def _token(self) -> int:
        """Of the cluster's Lease, which counts the holders of all machines; else of whatever fence this worker was given."""
        token = self._leases[TRAFFIC].token or self._fence()
        return token if isinstance(token, int) else 0

    def _may_write(self) -> None:
        for lease in self._leases.values():
            lease.check()

    def _refuse_while_used(self, colour: Colour, refusal: str) -> None:
        for plan in self._envoy.plans():
            if plan.live is colour or plan.serves(colour):
                raise EnvironmentFault(
                    f"{refusal}: users are routed to it",
                    facts={"plan": f"live {plan.live}, {plan.share} % to {plan.live.other}"},
                    tries=("mlpipeline rollback", "deploy to the other colour"),
                )


def _cluster(settings: Kubernetes, environment: Mapping[str, str], clock: Clock) -> Cluster:
    return Cluster(settings.kubeconfig, settings.context, settings.namespace, environment=environment, clock=clock)
