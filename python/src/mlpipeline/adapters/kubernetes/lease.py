"""One writer per service, whatever machine it is on: a Lease of the cluster.

Whether its holder still lives is judged by whether the Lease changes, on this machine's own monotonic clock; times that other
machines wrote are never compared. The number of holders it had is the fencing token: it only grows.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.kubernetes.api import Cluster, Conflict, Object
from mlpipeline.core import container as labels
from mlpipeline.core.kubernetes_places import FIELD_MANAGER, MANAGED_BY
from mlpipeline.errors import EnvironmentFault, Held
from mlpipeline.hosting.detached import boot_id, start_time
from mlpipeline.ports import Clock
from mlpipeline.record.lease import TRAFFIC, Holder, Right, held_by

LASTS_SECONDS = 15
"""How long a Lease must stand still until somebody else may take it."""
RENEW_SECONDS = 4.0
POLL_SECONDS = 0.5
HOLDER = "mlpipeline.holder"
PROCESS = "mlpipeline.process"
"""Annotations: who holds it, for people; and which process of which machine, so that its death is seen there at once."""


class ServiceLease:
    """Held from :meth:`acquire` to :meth:`release`, and renewed in between by a thread of this process.

    Args:
        cluster: One that asks nobody before it writes.
        name: Of the Lease.
        renew: Seconds between two renewals.
        lasts: Seconds without any, after which it is anybody's.
    """

    def __init__(
        self,
        cluster: Cluster,
        service: str,
        name: str,
        clock: Clock,
        *,
        right: Right = TRAFFIC,
        renew: float = RENEW_SECONDS,
        lasts: int = LASTS_SECONDS,
    ) -> None:
        self._cluster, self._service, self._name, self._clock, self._right = cluster, service, name, clock, right
        self._renew_seconds, self._lasts = renew, lasts
        self._identity = ""
        self._ending = threading.Event()
        self.token = 0

    @property
    def held(self) -> bool:
        """Whether this process took it and did not give it back; it may have lost it."""
        return bool(self._identity)

    def acquire(self, holder: Holder, *, after: Callable[[], int] = lambda: 0) -> int:
        """Takes it, and gives the fencing token.

        Args:
            after: A token that was used, should the Lease have been removed.

        Raises:
            Held: Another worker has it and lives; the message names it.
        """
        identity = f"{holder.host}/{holder.pid}/{uuid.uuid4().hex[:8]}"
        seen, since = "", self._clock.monotonic()
        while True:
            found = self._read()
            version = found["metadata"]["resourceVersion"] if found else ""
            if found is None or _free(found) or self._clock.monotonic() - since > _lasts(found):
                with suppress(Conflict):
                    token = max(_token(found), 0 if found else after()) + 1
                    self._write(found, identity, token, holder)
                    self._identity, self.token = identity, token
                    self._start_renewing()
                    return token
            elif seen and version != seen:
                raise held_by(_holder(found), self._where, self._right)
            seen = version
            self._clock.sleep(POLL_SECONDS)

    def check(self) -> None:
        """To be called right before a change of the service; nothing while this process never took the Lease.

        Raises:
            Held: Another worker has taken it since.
        """
        if not self.held:
            return
        found = self._read()
        if found is None or found["spec"].get("holderIdentity") != self._identity or _token(found) != self.token:
            known = _holder(found) if found and not _free(found) else None
            raise Held(
                "this worker lost its hold on the service; nothing more is changed",
                facts={"lease": self._where, "held by": known or "nobody"},
                likely="this worker slept, or was cut off from the cluster, for longer than its lease",
                tries=("mlpipeline status",),
            )

    def release(self) -> None:
        """Frees it; its number stays. A cluster that does not answer finds out by itself."""
        self._ending.set()
        identity, self._identity, self.token = self._identity, "", 0
        with suppress(Conflict, EnvironmentFault):
            found = self._read()
            if found is not None and found["spec"].get("holderIdentity") == identity:
                annotations = {
                    name: text for name, text in found["metadata"]["annotations"].items() if name not in (HOLDER, PROCESS)
                }
                metadata = {**found["metadata"], "annotations": annotations}
                self._cluster.replace({**found, "metadata": metadata, "spec": {**found["spec"], "holderIdentity": ""}})

    def remove(self) -> None:
        """Takes it away unless somebody holds it."""
        with suppress(EnvironmentFault):
            found = self._read()
            if found is not None and _free(found):
                self._cluster.delete("Lease", self._name, uid=found["metadata"]["uid"])

    def holder(self) -> Holder | None:
        """Who has it now; None when nobody does, as far as is seen from here."""
        found = self._read()
        return None if found is None or _free(found) else _holder(found)

    @property
    def _where(self) -> Path:
        return Path(self._cluster.namespace) / self._name

    def _read(self) -> Object | None:
        return self._cluster.read("Lease", self._name)

    def _write(self, found: Object | None, identity: str, token: int, holder: Holder) -> None:
        now = self._now()
        spec: dict[str, Any] = {
            "holderIdentity": identity,
            "leaseDurationSeconds": self._lasts,
            "leaseTransitions": token,
            "acquireTime": now,
            "renewTime": now,
        }
        named = msgspec.structs.replace(holder, token=token)
        told = {HOLDER: msgspec.json.encode(named).decode(), PROCESS: _this_process()}
        metadata: dict[str, Any] = {
            "name": self._name,
            "labels": {MANAGED_BY: FIELD_MANAGER, labels.SERVICE: self._service},
            "annotations": told,
        }
        wanted = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        if found is None:
            self._cluster.create(wanted)
        else:
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
            self._cluster.replace(wanted)

    def _start_renewing(self) -> None:
        self._ending = threading.Event()
        threading.Thread(
            target=self._renew, args=(self._ending, self._identity, self.token), name="mlpipeline lease", daemon=True
        ).start()

    def _renew(self, ending: threading.Event, identity: str, token: int) -> None:
        """Until it is given back or lost; a cluster that does not answer is asked again."""
        while not ending.wait(self._renew_seconds):
            with suppress(Conflict, EnvironmentFault):
                found = self._read()
                if found is None or found["spec"].get("holderIdentity") != identity or _token(found) != token:
                    return
                self._cluster.replace({**found, "spec": {**found["spec"], "renewTime": self._now()}})

    def _now(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _free(found: Object) -> bool:
    """Nobody holds it, or a process of this machine that is no more."""
    return not found["spec"].get("holderIdentity") or _is_dead((found["metadata"].get("annotations") or {}).get(PROCESS, ""))


def _token(found: Object | None) -> int:
    return int(found["spec"].get("leaseTransitions") or 0) if found else 0


def _lasts(found: Object) -> float:
    return float(found["spec"].get("leaseDurationSeconds") or LASTS_SECONDS)


def _holder(found: Object) -> Holder:
    with suppress(KeyError, TypeError, msgspec.DecodeError):
        return msgspec.json.decode(found["metadata"]["annotations"][HOLDER], type=Holder)
    return Holder(pid=0, host=str(found["spec"].get("holderIdentity", "")), user="", run="", since="")


def _this_process() -> str:
    return f"{_this_machine()} {os.getpid()} {start_time(os.getpid())}"


def _this_machine() -> str:
    """Processes are told apart by their number only where both are seen: same start of the same kernel, same namespace."""
    with suppress(OSError):
        return f"{boot_id() or uuid.uuid4()} {Path('/proc/self/ns/pid').readlink()}"
    return str(uuid.uuid4())


def _is_dead(process: str) -> bool:
    machine, *numbers = process.rsplit(" ", 2)
    if machine != _this_machine() or len(numbers) != 2:
        return False
    try:
        return start_time(int(numbers[0])) != int(numbers[1])
    except (OSError, ValueError):
        return True
