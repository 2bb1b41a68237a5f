"""What a cluster is asked to keep for a service, as plain data: pure functions, frozen settings in, objects out.

Every pod passes the *restricted* Pod Security level. Nothing here holds a field that the release does not decide, because the
objects are applied by server-side apply, where whatever is named is owned.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlpipeline.core import container as labels
from mlpipeline.core import envoy_files as files
from mlpipeline.core.container import ContainerImage
from mlpipeline.core.envoy_connections import KEPT_SECONDS, with_kept_for
from mlpipeline.core.image import USER
from mlpipeline.core.kubernetes_places import (
    ADMIN_PORT,
    CONTAINER,
    INSIDE_PORT,
    ROUTER,
    ROUTER_CONTAINER,
    SERVICE_PORT,
    USERS_PORT,
    Names,
    owned_labels,
)
from mlpipeline.core.traffic import Colour

Object = dict[str, object]

ROUTER_FILES = Path("/etc/mlpipeline/router")
ENDPOINTS_SECONDS = 4
"""Between the end of a pod's part in its Services and SIGTERM: kube-proxy gathers changes for up to a second, and a cluster under
load is slower."""
KILL_AFTER_DRAIN = 5
"""Seconds past its drain time-out after which a pod that will not end is killed."""
START_PROBE_SECONDS = 1
ROUTER_LEAVES_SECONDS = KEPT_SECONDS + files.ROUTE_TIMEOUT_SECONDS
"""From the last new connection of a router's pod to its last answer."""
_VERSIONS = {
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "Service": "v1",
}


class Limits(msgspec.Struct, frozen=True):
    """What a container may use, as Kubernetes writes it: ``500m``, ``2``, ``4Gi``; empty: the cluster's own default.

    Args:
        gpus: Whole devices of ``gpu_resource``; 0: none.
    """

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    gpus: int = 0
    gpu_resource: str = "nvidia.com/gpu"


class Placement(msgspec.Struct, frozen=True):
    """Where pods may run, and how their images are had.

    Args:
        pull_secrets: Names of Secrets of the namespace.
        tolerations: As a pod has them.
        service_account: Whose identity the pod has; empty: none, and no token is mounted.
    """

    pull_secrets: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Mapping[str, object], ...] = ()
    service_account: str = ""
    priority_class: str = ""
    runtime_class: str = ""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One colour of a service.

    Args:
        image: ``host/name@sha256:...``.
        artifact_digest: ``sha256:...`` of the bundle.
        source: The whole of what is told of the image, to be read back.
        replicas: Pods; None leaves the number to whoever owns it, such as a HorizontalPodAutoscaler.
        ready_timeout: Seconds that a started model may take until it answers.
        drain_timeout: Seconds for requests in flight.
        scratch: Size of ``/tmp``, the only place where the container may write.
        environment: Of the serving process; no secrets.
        restarts: How often the same artifact was started anew here by a release.
    """

    service: str
    namespace: str
    colour: Colour
    image: str
    artifact_digest: str
    model_version: str = ""
    run: str = ""
    path: str = ""
    source: ContainerImage | None = None
    replicas: int | None = 1
    threads: int = 2
    ready_timeout: float = 120.0
    drain_timeout: float = 30.0
    scratch: str = "256Mi"
    environment: Mapping[str, str] = {}
    limits: Limits = Limits()
    placement: Placement = Placement()
    restarts: int = 0


class RouterPods(msgspec.Struct, frozen=True, kw_only=True):
    """Our Envoy of a service.

    Args:
        image: Of Envoy, by digest.
        replicas: Two, so that a node may go.
    """

    service: str
    namespace: str
    image: str
    replicas: int | None = 2
    limits: Limits = Limits(cpu_request="100m", memory_request="128Mi")
    placement: Placement = Placement()


def deployment(workload: Workload) -> Object:
    """The Deployment of one colour."""
    names = Names(workload.service)
    told = owned_labels(workload.service, workload.colour, workload.model_version)
    serving: Object = {
        "name": CONTAINER,
        "image": workload.image,
        "args": _arguments(workload),
        "env": [
            {"name": name, "value": value} for name, value in sorted({"OMP_NUM_THREADS": "1", **workload.environment}.items())
        ],
        "ports": [{"name": "http", "containerPort": SERVICE_PORT, "protocol": "TCP"}],
        "resources": resources(workload.limits),
        **_probes(workload.ready_timeout),
        "lifecycle": {"preStop": {"sleep": {"seconds": ENDPOINTS_SECONDS}}},
        **_restricted_container(),
    }
    pod = _pod(serving, workload.placement, scratch=workload.scratch, grace=workload.drain_timeout)
    spec: Object = {
        **({} if workload.replicas is None else {"replicas": workload.replicas}),
        "selector": {"matchLabels": _selector(workload.service, workload.colour)},
        # The release decides when a colour begins and ends; within one colour nothing is taken away before its successor answers.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "minReadySeconds": 1,
        "progressDeadlineSeconds": math.ceil(workload.ready_timeout) + 60,
        "revisionHistoryLimit": 2,
        "template": {"metadata": {"labels": told, "annotations": annotations_of(workload)}, "spec": pod},
    }
    return _object(
        "Deployment", names.of(workload.colour), workload.namespace, told, annotations=annotations_of(workload), spec=spec
    )


def colour_service(service: str, namespace: str, colour: Colour) -> Object:
    """Where one colour is reached inside the cluster, whatever users are sent to."""
    told = owned_labels(service, colour)
    return _service(Names(service).of(colour), namespace, told, _selector(service, colour))


def active_service(
    service: str, namespace: str, *, to: Colour | None, port: int = 80, annotations: Mapping[str, str] | None = None
) -> Object:
    """What users call.

    Args:
        to: The colour whose pods answer; None: our router's.
        port: On which they do.
        annotations: What a router keeps beside it.
    """
    told = owned_labels(service, "active")
    return _service(Names(service).active, namespace, told, _selector(service, to or ROUTER), port=port, annotations=annotations)


def preview_service(service: str, namespace: str, to: Colour) -> Object:
    """Where the candidate is looked at before users are."""
    return _service(Names(service).preview, namespace, owned_labels(service, "preview"), _selector(service, to))


def disruption_budget(service: str, namespace: str, role: str) -> Object:
    """At most one pod of a role ends at a time when nodes are emptied; one that is not ready anyway keeps no node."""
    spec: Object = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": _selector(service, role)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return _object("PodDisruptionBudget", Names(service).of(role), namespace, owned_labels(service, role), spec=spec)


def router_deployment(router: RouterPods) -> Object:
    """Our Envoy. Its admin page listens on loopback of the pod; what may be read of it is on a port that no Service has."""
    names = Names(router.service)
    told = owned_labels(router.service, ROUTER)
    envoy: Object = {
        "name": ROUTER_CONTAINER,
        "image": router.image,
        "command": ["envoy"],
        "args": [
            *("--config-path", str(ROUTER_FILES / "envoy.json"), "--disable-hot-restart"),
            *("--log-level", "warning", "--concurrency", "2"),
        ],
        "ports": [
            {"name": "http", "containerPort": USERS_PORT, "protocol": "TCP"},
            {"name": "inside", "containerPort": INSIDE_PORT, "protocol": "TCP"},
        ],
        "resources": resources(router.limits),
        "startupProbe": _probe("/ready", "inside", period=1, failures=60),
        "readinessProbe": _probe("/ready", "inside", period=2, failures=2),
        "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        # Envoy ends at once when told to: by then no new connection finds it, kept ones are let go of, requests are answered.
        "lifecycle": {"preStop": {"sleep": {"seconds": ENDPOINTS_SECONDS + ROUTER_LEAVES_SECONDS}}},
        **_restricted_container(),
    }
    pod = _pod(envoy, router.placement, scratch="16Mi", grace=ROUTER_LEAVES_SECONDS)
    pod["volumes"] = [*_listed(pod["volumes"]), {"name": "router", "configMap": {"name": names.router}}]
    envoy["volumeMounts"] = [
        *_listed(envoy["volumeMounts"]),
        {"name": "router", "mountPath": str(ROUTER_FILES), "readOnly": True},
    ]
    spec: Object = {
        **({} if router.replicas is None else {"replicas": router.replicas}),
        "selector": {"matchLabels": _selector(router.service, ROUTER)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "revisionHistoryLimit": 2,
        "template": {"metadata": {"labels": told}, "spec": pod},
    }
    return _object("Deployment", names.router, router.namespace, told, spec=spec)


def router_files(service: str, namespace: str, contents: Mapping[str, Mapping[str, object]], *, failover: bool = True) -> Object:
    """The ConfigMap of the router: its bootstrap and the files it watches, the same as on every other target.

    Args:
        contents: By file name; the bootstrap is added.
        failover: Whether one colour may answer what the other did not.
    """
    texts = {"envoy.json": router_bootstrap(failover=failover), **contents}
    data = {name: json.dumps(content, sort_keys=True, indent=1) for name, content in sorted(texts.items())}
    return _object("ConfigMap", Names(service).router, namespace, owned_labels(service, ROUTER), data=data)


def router_bootstrap(*, failover: bool = True) -> Object:
    """What the router's Envoy starts with: that of every target, and a listener for those who may only read."""
    users, admin = ("0.0.0.0", USERS_PORT), ("127.0.0.1", ADMIN_PORT)  # noqa: S104 - in a pod
    found = files.bootstrap(ROUTER_FILES, users, admin, failover=failover)
    checked = files.with_checks(with_kept_for(found, KEPT_SECONDS), "/ready")
    return files.with_readers(checked, ("0.0.0.0", INSIDE_PORT), ADMIN_PORT)  # noqa: S104 - in a pod


def resources(limits: Limits) -> Object:
    """Requests and limits of a container; a device is always both."""
    requests = {"cpu": limits.cpu_request, "memory": limits.memory_request}
    most = {"cpu": limits.cpu_limit, "memory": limits.memory_limit}
    device = {limits.gpu_resource: str(limits.gpus)} if limits.gpus else {}
    found = {
        "requests": {**{name: value for name, value in requests.items() if value}, **device},
        "limits": {**{name: value for name, value in most.items() if value}, **device},
    }
    return {name: values for name, values in found.items() if values}


def annotations_of(workload: Workload) -> dict[str, str]:
    """What a colour says of itself, exactly; labels hold only what fits into one."""
    told = {
        labels.DIGEST: workload.artifact_digest,
        labels.MODEL_VERSION: workload.model_version,
        labels.RUN: workload.run,
        labels.PATH: workload.path,
        labels.RESTARTS: str(workload.restarts),
    }
    return {**told, **(labels.image_labels(workload.source) if workload.source else {})}


def _arguments(workload: Workload) -> list[str]:
    options: tuple[tuple[str, object], ...] = (
        ("host", "0.0.0.0"),  # noqa: S104 - in a pod, whose address nobody knows before
        ("port", SERVICE_PORT),
        ("service", workload.service),
        ("colour", workload.colour),
        ("model-version", workload.model_version),
        ("digest", workload.artifact_digest),
        ("threads", workload.threads),
        ("drain-timeout", float(workload.drain_timeout)),
    )
    # One word each: a value may be empty, and must not be taken for the next option.
    return [f"--{name}={value}" for name, value in options]


def _probes(ready_timeout: float) -> Object:
    return {
        "startupProbe": _probe(
            "/ready", "http", period=START_PROBE_SECONDS, failures=math.ceil(ready_timeout / START_PROBE_SECONDS)
        ),
        "readinessProbe": _probe("/ready", "http", period=2, failures=2),
        "livenessProbe": _probe("/ping", "http", period=10, failures=6),
    }


def _probe(path: str, port: str, *, period: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": max(1, failures),
    }


def _restricted_container() -> Object:
    return {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 - a container's own
    }


def _pod(container: Object, placement: Placement, *, scratch: str, grace: float) -> Object:
    user, _, group = USER.partition(":")
    found: Object = {
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": scratch}}],
        "terminationGracePeriodSeconds": ENDPOINTS_SECONDS + math.ceil(grace) + KILL_AFTER_DRAIN,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": int(user),
            "runAsGroup": int(group),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": bool(placement.service_account),
        # Its environment would name every other Service of the namespace.
        "enableServiceLinks": False,
    }
    chosen: Object = {
        "serviceAccountName": placement.service_account,
        "imagePullSecrets": [{"name": name} for name in placement.pull_secrets],
        "nodeSelector": dict(placement.node_selector),
        "tolerations": [dict(toleration) for toleration in placement.tolerations],
        "priorityClassName": placement.priority_class,
        "runtimeClassName": placement.runtime_class,
    }
    return {**found, **{name: value for name, value in chosen.items() if value}}


def _service(
    name: str,
    namespace: str,
    told: Mapping[str, str],
    selector: Mapping[str, str],
    *,
    port: int = 80,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    listens = {"name": "http", "port": port, "targetPort": "http", "protocol": "TCP"}
    spec = {"selector": dict(selector), "ports": [listens]}
    return _object("Service", name, namespace, told, annotations=dict(annotations or {}), spec=spec)


def _selector(service: str, role: str) -> dict[str, str]:
    return {labels.SERVICE: service, labels.ROLE: str(role)}


def _object(kind: str, name: str, namespace: str, told: Mapping[str, str], **parts: object) -> Object:
    """``annotations`` go with the labels; everything else, such as ``spec``, is the object's own."""
    annotations = parts.pop("annotations", None)
    metadata: Object = {"name": name, "namespace": namespace, "labels": dict(told)}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": _VERSIONS[kind], "kind": kind, "metadata": metadata, **parts}


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
