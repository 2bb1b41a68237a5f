"""How an object of a service stands, as the cluster itself says, and who changed it last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlpipeline.core import container as labels
from mlpipeline.core.inventory import ABSENT, concealed
from mlpipeline.core.kubernetes_places import FIELD_MANAGER

_POD = {
    "nodeSelector": "node selector",
    "tolerations": "tolerations",
    "serviceAccountName": "service account",
    "securityContext": "security of the pod",
    "volumes": "volumes",
    "hostNetwork": "host network",
}
_CONTAINER = {
    "command": "command",
    "args": "arguments",
    "resources": "resources",
    "securityContext": "security",
    "volumeMounts": "mounts",
}


def deployment_facts(found: Mapping[str, Any], container: str) -> dict[str, str]:
    """What the pods of a Deployment are made of; nothing that a cluster changes by itself, and no value of a variable."""
    pod = found["spec"]["template"]["spec"]
    containers = {one["name"]: one for one in pod.get("containers") or ()}
    ours = containers.pop(container, {})
    return {
        "package": str((found["metadata"].get("annotations") or {}).get(labels.DIGEST, ABSENT)),
        "image": str(ours.get("image", ABSENT)),
        "environment": ", ".join(sorted(concealed(one["name"], str(one.get("value", ""))) for one in ours.get("env") or ())),
        "other containers": ", ".join(f"{name}: {one.get('image', '')}" for name, one in sorted(containers.items())) or "none",
        "first containers": ", ".join(str(one.get("image", "")) for one in pod.get("initContainers") or ()) or "none",
        **{what: _text(ours.get(field)) for field, what in _CONTAINER.items()},
        **{what: _text(pod.get(field)) for field, what in _POD.items()},
    }


def instance_of(found: Mapping[str, Any]) -> str:
    """Another text after each start that a release ordered."""
    told = found["metadata"].get("annotations") or {}
    names = (labels.DIGEST, labels.RUN, labels.RESTARTS)
    return " ".join([str(found["metadata"].get("uid", "")), *(str(told.get(name, "")) for name in names)])


def changed_by(found: Mapping[str, Any], *fields: str) -> str:
    """Which others changed the specification, and when, as the cluster itself notes it, the newest first; we, where nobody did.

    Args:
        fields: Of the specification; all of them when none is named.
    """
    entries = [one for one in found["metadata"].get("managedFields") or () if _touches(one, fields)]
    others = [one for one in entries if one.get("manager") != FIELD_MANAGER] or entries
    others.sort(key=lambda one: str(one.get("time", "")), reverse=True)
    return "; ".join(f"{one.get('manager', 'somebody')}, {one.get('time', '')}" for one in others)


def _touches(entry: Mapping[str, Any], fields: Sequence[str]) -> bool:
    if entry.get("subresource") == "status":
        return False
    owned = (entry.get("fieldsV1") or {}).get("f:spec", {})
    return any(f"f:{field}" in owned for field in fields) if fields else bool(owned)


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True) if value else "none"
