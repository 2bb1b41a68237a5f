"""The Prometheus of a cluster: one that is there already."""

from __future__ import annotations

from collections.abc import Mapping

from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError


class NamedPrometheus:
    """Implements :class:`mlpipeline.hosting.target.Monitoring`; it belongs to the cluster, so nothing is started or told."""

    def bound_log(self) -> None:
        """It has none here."""

    def tell(self, colours: Mapping[Colour, int], admin_port: int | None) -> None:
        """Pods are found by their labels."""
        del colours, admin_port

    def ensure(self) -> str:
        raise ConfigurationError(
            "on Kubernetes verify needs a Prometheus that scrapes the pods, and none is named",
            tries=(
                "verify.prometheus: http://prometheus.monitoring:9090",
                "kubectl port-forward --namespace monitoring service/prometheus 9090    # from outside the cluster",
            ),
        )
