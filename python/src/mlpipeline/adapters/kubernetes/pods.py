"""The pods of one role of a service: which there are, how they are, and why one is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from mlpipeline.adapters.kubernetes.api import Cluster, Object
from mlpipeline.core import container as labels

PULLING = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable")
NOT_MADE = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError")
EVENTS = 4


class Trouble(msgspec.Struct, frozen=True):
    """Why a pod does not come up.

    Args:
        kind: ``pull``, ``memory``, ``ended``, ``machine``, ``refused``, ``slow`` or ``waiting``; the last may pass by itself.
        text: In the cluster's own words.
        log: The last lines of the container that ended.
    """

    kind: str
    text: str
    log: str = ""


class Pods:
    """Found by their labels alone.

    Args:
        role: ``blue``, ``green`` or ``router``.
        container: The one that matters.
    """

    def __init__(self, cluster: Cluster, service: str, role: str, container: str) -> None:
        self._cluster, self._labels = cluster, {labels.SERVICE: service, labels.ROLE: role}
        self._container = container

    def all(self) -> list[Object]:
        """Also those that are ending."""
        return self._cluster.listed("Pod", labels=self._labels)

    def staying(self) -> list[Object]:
        """Those that nobody ends."""
        return [pod for pod in self.all() if not pod["metadata"].get("deletionTimestamp")]

    def running(self, pod: Object) -> bool:
        """Whether its container runs, ready or not."""
        return "running" in self._state(pod).get("state", {})

    def ready(self, pod: Object) -> bool:
        """Whether the cluster sends it requests."""
        conditions = pod.get("status", {}).get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def restarts(self, pods: list[Object]) -> int:
        """How often the cluster started containers of these anew."""
        return sum(int(self._state(pod).get("restartCount", 0)) for pod in pods)

    def trouble(self, pods: list[Object]) -> Trouble | None:
        """The worst of what keeps these from coming up; None when nothing is known to."""
        found = [one for pod in pods if (one := self._trouble(pod)) is not None]
        return min(found, key=lambda one: one.kind == "waiting", default=None)

    def words(self, lines: int) -> str:
        """The last words of whichever pod has any: of its former container where that one ended."""
        for pod in self.all():
            if text := self._log(pod, lines):
                return text
        return ""

    def events(self, name: str) -> str:
        """What the cluster last said of an object of this name or of those made of it."""
        found = [
            event
            for event in self._cluster.listed("Event", fields="type=Warning")
            if str(event.get("involvedObject", {}).get("name", "")).startswith(name)
        ]
        found.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        texts = dict.fromkeys(f"{event.get('reason', '')}: {event.get('message', '')}".strip() for event in found)
        return "\n".join(list(texts)[-EVENTS:])

    def _trouble(self, pod: Object) -> Trouble | None:
        if self.ready(pod):
            return None
        state = self._state(pod)
        waiting = state.get("state", {}).get("waiting", {})
        for reasons, kind in ((PULLING, "pull"), (NOT_MADE, "machine")):
            if waiting.get("reason") in reasons:
                return Trouble(kind, f"{waiting['reason']}: {waiting.get('message', '')}")
        ended = state.get("state", {}).get("terminated") or state.get("lastState", {}).get("terminated")
        return self._ended(pod, ended) if ended else _outside(pod)

    def _ended(self, pod: Object, ended: Any) -> Trouble:
        reason, code = ended.get("reason", ""), ended.get("exitCode", "unknown")
        if reason == "OOMKilled":
            return Trouble(
                "memory", f"{pod['metadata']['name']} was killed: it used more memory than its limit", self._log(pod, 12)
            )
        return Trouble("ended", f"exit code {code}", self._log(pod, 12) or str(ended.get("message", "")))

    def _log(self, pod: Object, lines: int) -> str:
        name, state = pod["metadata"]["name"], self._state(pod)
        if not state.get("containerID") and not state.get("lastState"):
            return ""
        for previous in self._turns(state):
            if text := self._cluster.log(name, lines, container=self._container, previous=previous):
                return text
        return ""

    def _turns(self, state: Object) -> Iterator[bool]:
        """A container that just came back has nothing to say of why the one before it ended."""
        if state.get("lastState", {}).get("terminated") and not state.get("state", {}).get("terminated"):
            yield True
        yield False

    def _state(self, pod: Object) -> Object:
        for state in pod.get("status", {}).get("containerStatuses") or ():
            if state["name"] == self._container:
                return dict(state)
        return {}


def _outside(pod: Object) -> Trouble | None:
    """What keeps a pod from having a container at all."""
    status = pod.get("status", {})
    if status.get("phase") == "Failed":
        return Trouble("machine", f"{status.get('reason', 'Failed')}: {status.get('message', '')}")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Trouble("waiting", f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}")
    return None
