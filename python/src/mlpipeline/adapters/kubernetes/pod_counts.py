"""What colours count of themselves, for routers that do not count: the serving process of each pod, through the API server."""

from __future__ import annotations

import re
from contextlib import suppress

from mlpipeline.adapters.kubernetes.api import Cluster, Object
from mlpipeline.adapters.kubernetes.pods import Pods
from mlpipeline.core.kubernetes_places import CONTAINER, SERVICE_PORT
from mlpipeline.core.traffic import Colour
from mlpipeline.ports import RouterCounts

_SAMPLE = re.compile(r"^(mlpipeline_requests_total|mlpipeline_requests_in_flight)\{([^}]*)\} (\S+)$", re.M)


def counts_of(text: str) -> RouterCounts:
    """User requests in one page of metrics; mirrored copies count only as active."""
    completed = failed = active = 0
    for name, labels, number in _SAMPLE.findall(text):
        if name.endswith("in_flight"):
            active += int(float(number))
        elif 'traffic="live"' in labels:
            completed += int(float(number))
            failed += int(float(number)) if 'code="5xx"' in labels else 0
    return RouterCounts(completed=completed, failed=failed, active=active)


class PodCounts:
    """The counters of both colours since this worker first looked; what a pod had counted when it ended stays counted."""

    def __init__(self, cluster: Cluster, service: str) -> None:
        self._cluster = cluster
        self._pods = {colour: Pods(cluster, service, str(colour), CONTAINER) for colour in Colour}
        self._seen: dict[Colour, dict[str, RouterCounts]] = {colour: {} for colour in Colour}

    def read(self) -> dict[Colour, RouterCounts]:
        """Asks every pod that runs, those that are ending too: these still answer users."""
        return {colour: self._of(colour) for colour in Colour}

    def _of(self, colour: Colour) -> RouterCounts:
        seen, now = self._seen[colour], {}
        for pod in self._pods[colour].all():
            if self._pods[colour].running(pod):
                with suppress(OSError):
                    status, body = self._cluster.ask(pod["metadata"]["name"], SERVICE_PORT, "/metrics", timeout=5.0)
                    if status == 200:
                        now[_start_of(pod)] = counts_of(body.decode(errors="replace"))
        seen.update(now)
        return RouterCounts(
            completed=sum(one.completed for one in seen.values()),
            failed=sum(one.failed for one in seen.values()),
            active=sum(one.active for one in now.values()),
        )


def _start_of(pod: Object) -> str:
    """Which start of which pod counted: a container that comes back counts from zero."""
    states = pod.get("status", {}).get("containerStatuses") or ()
    return f"{pod['metadata']['uid']}/{sum(int(state.get('restartCount', 0)) for state in states)}"
