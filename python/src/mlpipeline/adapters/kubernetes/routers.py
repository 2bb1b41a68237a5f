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
    cluster: Cluster, service: str, *, settings: Kubernetes, clock: Clock, token: Callable[[], int] = lambda: 0
) -> ClusterRouter:
    """The router that ``target.kubernetes.router`` names.

    Args:
        token: The fencing token of this worker; 0 while it holds nothing.
    """
    kinds: dict[str, type[ClusterRouter]] = {"envoy": EnvoyDeployment, "service": SelectorRouter, "gateway": GatewayRouter}
    return kinds[settings.router](cluster, service, settings=settings, clock=clock, token=token)
