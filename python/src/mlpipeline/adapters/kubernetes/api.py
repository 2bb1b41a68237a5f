"""The API server of one cluster: objects as plain data, its errors in our words, and what to do while it does not answer.

Nothing is sent twice blindly. A read is asked again until the patience ends. A write whose outcome is unknown waits until the
server answers, asks whether this worker may still change the service, and is then sent again; every write is either the same
as before (server-side apply) or names the version that it changes, so that one that had landed is not done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.ports import Clock

FIELD_MANAGER = "mlpipeline"
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
PATIENCE_SECONDS = 90.0
"""How long a server is waited for that has answered before."""
FIRST_PATIENCE_SECONDS = 5.0
"""And one that has not yet: more likely its address is wrong."""
RETRY_SECONDS = 0.5
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
BUSY = (429, 500, 502, 503, 504)
"""Answers of a server that is starting, ending or overloaded."""
NOT_UNDERSTOOD = "failed to create typed patch object"
"""How a server speaks of a field that it does not know; with status 500, as if that would pass."""

_PLACES = {
    "Pod": ("v1", "pods"),
    "Service": ("v1", "services"),
    "ConfigMap": ("v1", "configmaps"),
    "Event": ("v1", "events"),
    "EndpointSlice": ("discovery.k8s.io/v1", "endpointslices"),
    "ServiceAccount": ("v1", "serviceaccounts"),
    "Deployment": ("apps/v1", "deployments"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "Role": ("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", "httproutes"),
}

Object = dict[str, Any]


class Conflict(Exception):
    """The object is no longer in the version that was to be changed, or is there already."""


class Refusal(Exception):
    """The server understood and said no.

    Args:
        status: Of HTTP.
        reason: Such as ``Forbidden`` or ``Invalid``.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class UnknownKind(EnvironmentFault):
    """The cluster has no objects of this kind: what defines them was never installed."""


class Cluster:
    """One namespace of a cluster.

    Args:
        kubeconfig: Path; empty: as kubectl would find it, or the service account of the pod that this worker runs in.
        context: Of the kubeconfig; empty: its current one.
        namespace: Empty: that of the context, else ``default``.
        environment: ``KUBECONFIG``, where no path is given.
        may_write: Called right before each write is sent, also again; raises Held.
    """

    def __init__(
        self,
        kubeconfig: str,
        context: str,
        namespace: str,
        *,
        environment: Mapping[str, str],
        clock: Clock,
        may_write: Callable[[], None] = lambda: None,
    ) -> None:
        self._kubeconfig, self._context, self._namespace = kubeconfig, context, namespace
        self._environment, self._clock = environment, clock
        self._reached = False
        self.may_write = may_write

    @cached_property
    def _loaded(self) -> tuple[Any, str]:
        """The client and the namespace of its context. Nothing is asked yet."""
        from kubernetes import client, config

        configuration = client.Configuration()
        file = self._kubeconfig or self._environment.get("KUBECONFIG", "")
        namespace = ""
        try:
            if not file and self._environment.get("KUBERNETES_SERVICE_HOST") and not self._context:
                config.load_incluster_config(client_configuration=configuration)
                namespace = _own_namespace()
            else:
                config.load_kube_config(file or None, self._context or None, configuration, persist_config=False)
                contexts, current = config.list_kube_config_contexts(file or None)
                chosen = next((one for one in contexts if one["name"] == self._context), current)
                namespace = chosen["context"].get("namespace", "")
        except (config.ConfigException, OSError) as error:
            raise ConfigurationError(
                "the kubeconfig cannot be used",
                facts={"file": file or "~/.kube/config", "context": self._context or "the current one", "found": error},
                likely="the file is not there or not whole, or has no such context",
                tries=("kubectl config get-contexts", "set target.kubernetes.kubeconfig and target.kubernetes.context"),
            ) from error
        configuration.retries = False
        return client.ApiClient(configuration), namespace

    @property
    def namespace(self) -> str:
        """Where everything of the service is."""
        return self._namespace or self._loaded[1] or "default"

    @property
    def address(self) -> str:
        """Of the API server, for messages."""
        return str(self._loaded[0].configuration.host)

    # Objects

    def read(self, kind: str, name: str) -> Object | None:
        """None when there is none."""
        with suppress(_NotFound):
            return self._object("GET", self._path(kind, name))
        return None

    def listed(self, kind: str, *, labels: Mapping[str, str] | None = None, fields: str = "") -> list[Object]:
        """Those with these labels."""
        selector = ",".join(f"{name}={value}" for name, value in (labels or {}).items())
        query = {name: text for name, text in (("labelSelector", selector), ("fieldSelector", fields)) if text}
        found = self._object("GET", self._path(kind), query)
        return list(found.get("items") or ())

    def apply(self, wanted: Mapping[str, Any], *, dry_run: bool = False, force: bool = True) -> Object:
        """Server-side apply: our fields become as wanted, those of others stay. With ``metadata.resourceVersion`` only in
        that version, or Conflict.

        Args:
            force: Whether fields of ours that others manage are taken; else Conflict, which names them.
        """
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower(), **({"dryRun": "All"} if dry_run else {})}
        path = self._path(wanted["kind"], wanted["metadata"]["name"], wanted["apiVersion"])
        return self._object("PATCH", path, query, body=wanted, kind=APPLY, writes=not dry_run)

    def create(self, wanted: Mapping[str, Any]) -> Object:
        """Raises Conflict when there is one of this name."""
        path = self._path(wanted["kind"], "", wanted["apiVersion"])
        return self._object("POST", path, {"fieldManager": FIELD_MANAGER}, body=wanted, writes=True)

    def replace(self, wanted: Mapping[str, Any]) -> Object:
        """Compare and swap, by ``metadata.resourceVersion``. Raises Conflict."""
        path = self._path(wanted["kind"], wanted["metadata"]["name"], wanted["apiVersion"])
        try:
            return self._object("PUT", path, {"fieldManager": FIELD_MANAGER}, body=wanted, writes=True)
        except _NotFound as error:
            raise Conflict(str(error)) from error

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> Object | None:
        """Changes some fields of an object; None when it is gone."""
        with suppress(_NotFound):
            query = {"fieldManager": FIELD_MANAGER}
            return self._object("PATCH", self._path(kind, name), query, body=change, kind=MERGE, writes=True)
        return None

    def delete(self, kind: str, name: str, *, grace_seconds: int | None = None, uid: str = "") -> None:
        """With everything that it owns. Gone already is as well.

        Args:
            uid: Only the very object that was seen.
        """
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        if uid:
            body["preconditions"] = {"uid": uid}
        with suppress(_NotFound, Conflict):
            self._object("DELETE", self._path(kind, name), body=body, writes=True)

    def whole(self, path: str, body: Mapping[str, Any] | None = None) -> Object:
        """What the server says of itself, or of this worker, in no namespace: GET, or POST of a question that changes nothing."""
        return self._object("GET" if body is None else "POST", path, body=body)

    def log(self, pod: str, lines: int, *, container: str = "", previous: bool = False) -> str:
        """The end of what a container wrote, or why this worker may not see it; empty when nothing can be read."""
        query = {"tailLines": str(lines), "previous": str(previous).lower(), **({"container": container} if container else {})}
        with suppress(OSError, Refusal, _NotFound):
            status, body = self._send("GET", f"{self._path('Pod', pod)}/log?{urlencode(query)}", read_seconds=5.0)
            if status == 403 and (complaint := _complaint(body)) is not None:
                return complaint.message
            return body.decode(errors="replace").strip() if status == 200 else ""
        return ""

    def ask(self, pod: str, port: int, path: str, body: bytes | None = None, timeout: float = 2.0) -> tuple[int, bytes]:
        """One HTTP request to a pod, through the API server. Raises OSError when the pod does not answer."""
        url = f"{self._path('Pod', f'{pod}:{port}')}/proxy{path}"
        status, answer = self._send("GET" if body is None else "POST", url, body, read_seconds=timeout)
        if status >= 400 and (complaint := _complaint(answer)) is not None:
            if status in (401, 403):
                raise self._fault(Refusal(status, complaint.reason, complaint.message), "GET", url)
            raise ConnectionError(complaint.message[:300])
        return status, answer

    # The conversation

    def _path(self, kind: str, name: str = "", version: str = "") -> str:
        known, plural = _PLACES.get(kind, ("v1", f"{kind.lower()}s"))
        version = version or known
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        return f"{group}/namespaces/{quote(self.namespace)}/{plural}" + (f"/{quote(name)}" if name else "")

    def _object(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
        writes: bool = False,
    ) -> Object:
        url = f"{path}?{urlencode(query)}" if query else path
        content = None if body is None else msgspec.json.encode(body)
        deadline = self._clock.monotonic() + (PATIENCE_SECONDS if self._reached else FIRST_PATIENCE_SECONDS)
        while True:
            if writes:
                self.may_write()
            try:
                return self._answered(*self._send(method, url, content, kind=kind))
            except Refusal as refusal:
                if refusal.status not in BUSY or NOT_UNDERSTOOD in str(refusal) or self._clock.monotonic() >= deadline:
                    raise self._fault(refusal, method, path) from refusal
            except OSError as error:
                if self._clock.monotonic() >= deadline:
                    raise self._unreachable(error) from error
            self._clock.sleep(RETRY_SECONDS)

    def _answered(self, status: int, body: bytes) -> Object:
        if status < 300:
            self._reached = True
            return dict(msgspec.json.decode(body))
        complaint = _complaint(body) or _Status(message=body[:200].decode(errors="replace"))
        if status == 404 and complaint.details.name and complaint.details.kind != "namespaces":
            raise _NotFound(complaint.message)
        if status == 409:
            raise Conflict(complaint.message)
        raise Refusal(status, complaint.reason, complaint.message)

    def _send(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        *,
        kind: str = "application/json",
        read_seconds: float = READ_SECONDS,
    ) -> tuple[int, bytes]:
        import urllib3

        client = self._loaded[0]
        headers = {"Accept": "application/json, */*", "User-Agent": FIELD_MANAGER}
        if body is not None:
            headers["Content-Type"] = kind
        client.update_params_for_auth(headers, [], ["BearerToken"], url, method, body)
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds)
        try:
            answer = client.rest_client.pool_manager.request(
                method, f"{client.configuration.host}{url}", body=body, headers=headers, timeout=timeout, retries=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(str(error)) from error
        return int(answer.status), bytes(answer.data)

    def _unreachable(self, error: BaseException) -> EnvironmentFault:
        return EnvironmentFault(
            "the Kubernetes API does not answer",
            facts={"server": self.address, "context": self._context or "the current one", "found": error},
            likely="the cluster is down or not reachable from here, or the kubeconfig names another one",
            tries=("kubectl cluster-info", "run the same command again: it reads back what was done"),
        )

    def _fault(self, refusal: Refusal, method: str, path: str) -> EnvironmentFault:
        facts = {"server": self.address, "namespace": self.namespace, "found": str(refusal)[:500]}
        if refusal.status == 401:
            return EnvironmentFault(
                "the Kubernetes API does not know this worker",
                facts=facts,
                likely="the token or certificate of the kubeconfig has expired",
                tries=("kubectl auth whoami", "get a new kubeconfig"),
            )
        if refusal.status == 403 and "quota" not in str(refusal) and "PodSecurity" not in str(refusal):
            return EnvironmentFault(
                "this worker may not do that in the cluster",
                facts=facts,
                likely="its role is not bound in this namespace, or lacks this permission",
                tries=(f"kubectl auth can-i --list --namespace {self.namespace}", "apply the role that mlpipeline ships"),
            )
        if refusal.status == 404 and "namespace" in str(refusal):
            return EnvironmentFault(
                "the namespace does not exist",
                facts=facts,
                tries=(f"kubectl create namespace {self.namespace}", "set target.kubernetes.namespace"),
            )
        if refusal.status == 404:
            return UnknownKind("the cluster does not know this kind of object", facts={**facts, "asked": f"{method} {path}"})
        return EnvironmentFault(
            f"the Kubernetes API refused: {refusal.reason or refusal.status}",
            facts={**facts, "asked": f"{method} {path}"},
            tries=("mlpipeline doctor",),
        )


class _NotFound(Exception):
    """No such object."""


class _Details(msgspec.Struct):
    name: str = ""
    kind: str = ""


class _Status(msgspec.Struct):
    """How the API server itself answers; whoever is asked through it does not look like this."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    details: _Details = msgspec.field(default_factory=_Details)


def _complaint(body: bytes) -> _Status | None:
    with suppress(msgspec.DecodeError):
        found = msgspec.json.decode(body, type=_Status)
        return found if found.kind == "Status" else None
    return None


def _own_namespace() -> str:
    with suppress(OSError), open("/var/run/secrets/kubernetes.io/serviceaccount/namespace", encoding="ascii") as file:
        return file.read().strip()
    return ""
