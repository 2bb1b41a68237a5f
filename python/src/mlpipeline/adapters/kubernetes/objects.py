"""Objects that belong to a service: applied only where nothing of somebody else's stands in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipeline.adapters.kubernetes.api import Cluster, Object
from mlpipeline.core import container as labels
from mlpipeline.errors import ConfigurationError

KINDS = ("PodDisruptionBudget", "Deployment", "Service", "ConfigMap")
"""What a service consists of, besides its lease; in the order in which it is taken away."""


class Owned:
    """The objects of one service in a namespace."""

    def __init__(self, cluster: Cluster, service: str) -> None:
        self._cluster, self._service = cluster, service

    def apply(self, wanted: Mapping[str, Any]) -> Object:
        """Raises ConfigurationError when an object of this name is not ours."""
        self.read(str(wanted["kind"]), str(wanted["metadata"]["name"]))
        return self._cluster.apply(wanted)

    def read(self, kind: str, name: str) -> Object | None:
        """None when there is none. Raises ConfigurationError when one of this name is not ours."""
        found = self._cluster.read(kind, name)
        if found is not None and not self.is_ours(found):
            raise ConfigurationError(
                f"there is a {kind} {name} that mlpipeline did not make; it is left as it is",
                facts={"namespace": self._cluster.namespace, "service": self._service, "server": self._cluster.address},
                likely="the service has the name of something that runs here already",
                tries=("set target.kubernetes.namespace to one of its own", "give the service another name"),
            )
        return found

    def is_ours(self, found: Mapping[str, Any]) -> bool:
        """Whether it carries the label of this service."""
        return (found["metadata"].get("labels") or {}).get(labels.SERVICE) == self._service

    def remove(self, kind: str, name: str) -> None:
        """Unless it is somebody else's."""
        found = self._cluster.read(kind, name)
        if found is not None and self.is_ours(found):
            self._cluster.delete(kind, name, uid=found["metadata"]["uid"])
