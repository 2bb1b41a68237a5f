"""A real cluster for tests: that of tests/cluster, or what MLPIPELINE_TEST_KUBECONFIG names. See tools/setup_kubernetes.sh."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

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
