"""What a deployment would change, as the server itself says, and whose fields it would take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlpipeline.adapters.kubernetes.api import Cluster, Conflict
from mlpipeline.core.kubernetes_diff import FieldChange, changes, conflicts_of
from mlpipeline.core.kubernetes_places import FIELD_MANAGER
from mlpipeline.errors import ConfigurationError


def planned(cluster: Cluster, wanted: Iterable[Mapping[str, Any]]) -> list[FieldChange]:
    """Field by field, by a server-side dry run of each object. Nothing is changed."""
    found = []
    for one in wanted:
        kind, name = str(one["kind"]), str(one["metadata"]["name"])
        found += changes(f"{kind} {name}", cluster.read(kind, name), cluster.apply(one, dry_run=True), FIELD_MANAGER)
    return found


def refuse_to_take(cluster: Cluster, wanted: Mapping[str, Any]) -> None:
    """Raises ConfigurationError, naming them, when others manage fields that this would change. Nothing is changed."""
    try:
        cluster.apply(wanted, dry_run=True, force=False)
    except Conflict as error:
        taken = [(manager, field) for manager, field in conflicts_of(str(error)) if manager != FIELD_MANAGER]
        if not taken:
            return
        raise ConfigurationError(
            f"this release sets what others manage: {len(taken)} field{'s' if len(taken) > 1 else ''}",
            facts={
                "object": f"{wanted['kind']} {wanted['metadata']['name']}",
                "namespace": cluster.namespace,
                **{field: f"managed by {manager}" for manager, field in taken},
            },
            likely="somebody edited the object by hand, or another tool applies it too",
            tries=(
                "mlpipeline deploy --plan    # what would change, field by field",
                "put the value into mlpipeline.yaml or target.kubernetes.manifests, and take it out of the other tool",
            ),
        ) from error
