"""A real cluster for tests: that of tests/cluster, or what MLPIPELINE_TEST_KUBECONFIG names. See tools/setup_kubernetes.sh."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from image_parts import until
from mlpipeline.adapters.kubernetes.api import Cluster
from mlpipeline.clock import SystemClock

SETUP = Path(__file__).resolve().parents[2] / "tools" / "setup_kubernetes.sh"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@functools.cache
def kubeconfig() -> str:
    """Path of the kubeconfig of a cluster that runs. Without one: a failure under CI, a named skip elsewhere."""
    done = subprocess.run([SETUP, "kubeconfig"], capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"missing: a Kubernetes cluster; run tools/setup_kubernetes.sh: {done.stderr.strip()[-300:]}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return done.stdout.strip()


def cluster(namespace: str, *, file: str = "", may_write: Callable[[], None] = lambda: None) -> Cluster:
    """The API as the worker speaks to it; with the rights of ``file``, else with all."""
    return Cluster(file or kubeconfig(), "", namespace, environment={}, clock=SystemClock(), may_write=may_write)


def client() -> Any:
    """The official client, with all rights."""
    from kubernetes import client, config

    configuration = client.Configuration()
    config.load_kube_config(kubeconfig(), client_configuration=configuration, persist_config=False)
    return client.ApiClient(configuration)


@contextlib.contextmanager
def own_namespace(labels: Mapping[str, str] = RESTRICTED) -> Iterator[str]:
    """A namespace that takes nothing but restricted pods; it ends with the test, some seconds later."""
    from kubernetes import client as library

    core = library.CoreV1Api(client())
    name = f"test-{uuid.uuid4().hex[:10]}"
    core.create_namespace({"metadata": {"name": name, "labels": dict(labels)}})
    try:
        until(lambda: _exists(core, name), "the namespace has its service account")
        yield name
    finally:
        core.delete_namespace(name, grace_period_seconds=0)


def _exists(core: Any, namespace: str) -> bool:
    from kubernetes.client.exceptions import ApiException

    with contextlib.suppress(ApiException):
        core.read_namespaced_service_account("default", namespace)
        return True
    return False


def load(*archives: Path) -> None:
    """Puts images on every node: docker-archives or OCI archives."""
    kubeconfig()
    done = subprocess.run([SETUP, "load", *archives], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def archived(layout: Path, archive: Path) -> Path:
    """An OCI layout as one file that nodes take."""
    with tarfile.open(archive, "w") as packed:
        for name in ("oci-layout", "index.json", "blobs"):
            packed.add(layout / name, name)
    return archive


@functools.cache
def gateway_api() -> None:
    """Makes sure that the cluster knows Gateways and their routes; no controller comes with them.

    A cluster of a person's is not changed: one without them skips.
    """
    from kubernetes import client as library

    definitions = library.ApiextensionsV1Api(client())
    known = {one.metadata.name for one in definitions.list_custom_resource_definition().items}
    wanted = {f"{plural}.gateway.networking.k8s.io" for plural in ("gatewayclasses", "gateways", "httproutes")}
    if wanted <= known:
        return
    if os.environ.get("MLPIPELINE_TEST_KUBECONFIG"):
        pytest.skip("missing: the Gateway API in the cluster of MLPIPELINE_TEST_KUBECONFIG")
    for file in _definitions():
        found = yaml.safe_load(file.read_text())
        if found["metadata"]["name"] in wanted - known:
            with contextlib.suppress(library.exceptions.ApiException):  # another test run was faster
                definitions.create_custom_resource_definition(found)
    until(lambda: all(_established(definitions, name) for name in wanted), "the Gateway API is established")


def _definitions() -> list[Path]:
    """The standard ones, out of the Go module of the Gateway API, whose sum is in tests/cluster/gateway."""
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/local/go/bin", "GOFLAGS": "-mod=mod", "GOWORK": "off"}
    module = SETUP.parents[1] / "tests" / "cluster" / "gateway"
    command = ["go", "mod", "download", "-json", "sigs.k8s.io/gateway-api"]
    try:
        done = subprocess.run(command, cwd=module, env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"missing: the Go module of the Gateway API: {getattr(error, 'stdout', '') or error}")
    return sorted((Path(json.loads(done.stdout)["Dir"]) / "config" / "crd" / "standard").glob("*.yaml"))


def _established(definitions: Any, name: str) -> bool:
    from kubernetes.client.exceptions import ApiException

    with contextlib.suppress(ApiException):
        found = definitions.read_custom_resource_definition(name)
        return any(one.type == "Established" and one.status == "True" for one in found.status.conditions or ())
    return False
