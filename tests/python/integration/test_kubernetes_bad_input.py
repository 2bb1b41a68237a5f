"""What a cluster cannot give is told in its own words, before the time-out where it is known; and nothing goes on trying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kubernetes_cluster import cluster, kubeconfig, own_namespace
from mlpipeline.adapters.kubernetes import KubernetesTarget
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.config.values import Duration
from mlpipeline.core.container import ContainerImage
from mlpipeline.core.kubernetes_places import Names
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import EnvironmentFault, MlpipelineError
from mlpipeline.ports import Artifact

pytestmark = pytest.mark.real
DIGEST = f"sha256:{'0' * 64}"
NOWHERE = ContainerImage(digest=DIGEST, id=DIGEST, reference=f"registry.test/nobody/made@{DIGEST}")
ARTIFACT = Artifact(digest=DIGEST, path="/b", model_version="1", run="one", image=NOWHERE)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    with own_namespace() as found:
        yield found


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpipeline.adapters.kubernetes.colours.PULL_SECONDS", 2.0)


def refused(namespace: str, service: str, gpus: int = 0, **settings: Any) -> MlpipelineError:
    """How a deployment with these settings is refused."""
    chosen = {"kubeconfig": kubeconfig(), "namespace": namespace, "router": "service", "ready_timeout": Duration(8), **settings}
    target = KubernetesTarget(service, Kubernetes(**chosen), SystemClock(), {}, gpus=gpus)
    with pytest.raises(MlpipelineError) as caught:
        target.deploy(Colour.BLUE, ARTIFACT)
    assert isinstance(caught.value, EnvironmentFault), "the candidate is not to blame"
    found = cluster(namespace).read("Deployment", Names(service).of(Colour.BLUE))
    assert found is None or found["spec"]["replicas"] == 0, "nothing goes on trying"
    return caught.value


def test_an_image_that_no_node_can_pull_and_a_secret_that_is_not_there(namespace: str) -> None:
    told = refused(namespace, "pulls", pull_secrets=("nobody-made-it",))
    assert "nobody-made-it" in told.render(), "whether the nodes' own look for the registry has ended or not"


def test_a_quota_that_is_used_up(namespace: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"requests.cpu": "1"}}}
    api = cluster(namespace)
    api.apply(quota)
    try:
        told = refused(namespace, "quota", cpu_request="64")
    finally:
        api.delete("ResourceQuota", "small")
    assert "does not let pods" in told.what
    assert "exceeded quota: small" in told.render()


@pytest.mark.parametrize(
    ("service", "settings", "words"),
    [
        ("gpus", {"gpus": 1}, "nvidia.com/gpu"),
        ("big", {"memory_request": "900Ti"}, "memory"),
        ("picky", {"node_selector": {"pool": "nobody-has-it"}}, "node"),
    ],
)
def test_no_node_takes_it(namespace: str, service: str, settings: dict[str, Any], words: str) -> None:
    told = refused(namespace, service, ready_timeout=Duration(4), **settings)
    assert "no node of the cluster takes" in told.what
    assert words in told.render().partition("likely")[0]


def test_an_account_that_is_not_there(namespace: str) -> None:
    told = refused(namespace, "account", service_account="nobody-made-it")
    assert 'serviceaccount "nobody-made-it" not found' in told.render()


@pytest.mark.parametrize(
    ("service", "pod", "words"),
    [
        ("forbidden", {"hostNetwork": True}, ("PodSecurity", "hostNetwork")),
        ("misspelt", {"hostNetwrk": True}, ("hostNetwrk",)),
    ],
)
def test_a_base_that_the_cluster_does_not_take(
    namespace: str, tmp_path: Path, service: str, pod: dict[str, Any], words: tuple[str, ...]
) -> None:
    spec = {"containers": [{"name": "model", "image": "x"}], **pod}
    base = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": {"spec": spec}}}
    (tmp_path / "base.yaml").write_bytes(msgspec.json.encode(base))
    told = refused(namespace, service, manifests=str(tmp_path / "base.yaml"))
    assert all(word in told.render() for word in words), told.render()
