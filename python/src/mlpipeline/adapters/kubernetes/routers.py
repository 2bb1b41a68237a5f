"""The routers that a cluster may have, by configuration."""

from __future__ import annotations

from collections.abc import Callable

from mlpipeline.adapters.kubernetes.api import Cluster
from mlpipeline.adapters.kubernetes.router import EnvoyDeployment
from mlpipeline.adapters.kubernetes.routers_gateway import GatewayRouter
from mlpipeline.adapters.kubernetes.routers_service import SelectorRouter
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.ports import Clock

ClusterRouter = EnvoyDeployment | SelectorRouter | GatewayRouter


def router_of(
    cluster: Cluster,
    service: str,
    *,
    settings: Kubernetes,
    clock: Clock,
    token: Callable[[], int] = lambda: 0,
    failover: bool = True,
) -> ClusterRouter:
    """The router that ``target.kubernetes.router`` names.

    Args:
        token: The fencing token of this worker; 0 while it holds nothing.
        failover: Whether one colour may answer what the other did not; only our Envoy can.
    """
    if settings.router == "envoy":
        return EnvoyDeployment(cluster, service, settings=settings, clock=clock, token=token, failover=failover)
    kinds: dict[str, type[SelectorRouter | GatewayRouter]] = {"service": SelectorRouter, "gateway": GatewayRouter}
    return kinds[settings.router](cluster, service, settings=settings, clock=clock, token=token)
