"""How a request that one colour gave no answer to is asked of the other, within the same request. Pure.

For each colour Envoy knows a cluster that has no address of its own: it asks the colour, and once more, when the colour did
not answer, the other one. What it counts counts as the colour's: the failed attempts as ``upstream_rq_retry_success``.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from mlpipeline.core.traffic import Colour, TrafficPlan

FIRST = "-first"
CLUSTER_TYPE = "type.googleapis.com/envoy.extensions.clusters.composite.v3.ClusterConfig"
CLUSTER_NAME = "envoy.clusters.composite"
NEEDS = "1.37"
"""The first Envoy that knows such clusters."""
REPEATED_BYTES = 4 << 20
"""A longer request is not repeated: Envoy keeps what it may have to send again in memory."""
UNANSWERED = "connect-failure,refused-stream,reset"
"""Whatever ended without a status; an answer, also an error, stays the answer."""


class Backup(StrEnum):
    """Which colour may answer for the other in a plan."""

    NONE = "none"
    USERS = "users"
    """One that the plan gives users."""
    WARM = "warm"
    """Also the one without users: it is the version before, which stays warm."""


def first(colour: Colour) -> str:
    """The cluster that asks this colour first."""
    return f"{colour}{FIRST}"


def colour_of(cluster: str) -> Colour:
    """Raises ValueError for a cluster that is not one of ours."""
    return Colour(cluster.removesuffix(FIRST))


def may_answer_for(colour: Colour, plan: TrafficPlan, backup: Backup) -> bool:
    """Whether requests that this colour gave no answer to are asked of the other one.

    The colour that a rollback returns to may always; one that only gets copies is not proven, and may not.
    """
    if backup is Backup.NONE:
        return False
    return colour is not plan.live or plan.share > 0 or backup is Backup.WARM


def cluster_for(colour: Colour, plan: TrafficPlan, backup: Backup) -> str:
    return first(colour) if may_answer_for(colour, plan, backup) else str(colour)


def retries(cluster: str) -> dict[str, object]:
    """What a route to this cluster does with a request that got no answer."""
    if not cluster.endswith(FIRST):
        # Only what cannot have reached the model, of the same colour: nobody else may answer.
        return {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2}
    at_once = {"base_interval": "0.001s", "max_interval": "0.002s"}
    return {"retry_on": UNANSWERED, "num_retries": 1, "retry_back_off": at_once}


def clusters(limits: dict[str, object], connect_timeout: str) -> Iterator[dict[str, object]]:
    """Both of them, for the bootstrap.

    Args:
        limits: Circuit breakers, those of the colours.
    """
    for colour in Colour:
        order = {"@type": CLUSTER_TYPE, "clusters": [{"name": colour}, {"name": colour.other}]}
        yield {
            "name": first(colour),
            # what is asked of the colour first counts as the colour's, whoever answered
            "alt_stat_name": str(colour),
            "connect_timeout": connect_timeout,
            "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": {"name": CLUSTER_NAME, "typed_config": order},
            "circuit_breakers": limits,
        }
