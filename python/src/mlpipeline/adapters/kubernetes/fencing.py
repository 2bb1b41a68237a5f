"""What stands beside what a router was told: the fencing token, by which who holds the service later has the last word, and a
note for workers that have nothing but the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipeline.errors import Held

TOKEN = "mlpipeline.token"
"""Annotation of what a router was told: the fencing token of whoever wrote last."""

NOTE = "mlpipeline.note"
"""Annotation beside it: what the last worker wanted another one to know."""


def note_of(found: Mapping[str, Any] | None) -> str:
    """Empty when there is none."""
    return str((found["metadata"].get("annotations") or {}).get(NOTE, "")) if found else ""


def latest_of(found: Mapping[str, Any] | None) -> int:
    """The token of whoever wrote an object last; 0 when there is none."""
    return int((found["metadata"].get("annotations") or {}).get(TOKEN, "0")) if found else 0


def refuse_if_taken_over(annotations: Mapping[str, str], token: int, what: str) -> int:
    """The latest token that stands there. Raises Held when it is later than this worker's.

    Args:
        token: Of this worker; 0 while it holds nothing.
        what: The object, for the message.
    """
    latest = int(annotations.get(TOKEN, "0"))
    if token and latest > token:
        raise Held(
            "another worker took over this service; nothing was changed",
            facts={"token of this worker": token, "latest": latest, "found on": what},
            likely="this worker slept, or was cut off from the cluster, for longer than its lease",
            tries=("mlpipeline status",),
        )
    return latest
