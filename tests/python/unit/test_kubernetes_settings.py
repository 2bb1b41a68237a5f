"""``target.kubernetes``: what contradicts itself is told before anything is deployed, and the rest reaches the cluster."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlpipeline.adapters.kubernetes import specification
from mlpipeline.config.combinations import problems
from mlpipeline.config.model import Config
from mlpipeline.config.sections.packaging import Image
from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.config.sections.target import Kubernetes, Serving, Target, Toleration
from mlpipeline.config.sections.training import Train
from mlpipeline.config.sections.verification import Condition, ErrorRule, LatencyRule, Verify
from mlpipeline.core.container import ContainerImage
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError
from mlpipeline.ports import Artifact

DIGEST = f"sha256:{'a' * 64}"
ENVOY = f"registry.example.org/envoy@{DIGEST}"
IMAGE = Image(base=f"registry.example.org/python@{DIGEST}", repository="registry.example.org/team/churn")
PROMETHEUS = "http://prometheus.monitoring:9090"
NAMED = Verify(prometheus=PROMETHEUS)
AT_ONCE = Rollout(strategy="all_at_once", control=0)
BY_CONDITIONS = Verify(
    prometheus=PROMETHEUS,
    errors=ErrorRule(enabled=False),
    latency=LatencyRule(enabled=False),
    conditions=(Condition(name="errors", query="vector(0)", success="result < 1"),),
)


def told(image: Image = IMAGE, service: str = "churn", **settings: Any) -> list[str]:
    """Where the problems of a configuration are."""
    kubernetes = Kubernetes(**{"router_image": ENVOY, **settings})
    train = Train(command="true")
    return _problems(Config(service=service, train=train, image=image, target=_target(kubernetes), verify=NAMED))


def _target(kubernetes: Kubernetes) -> Target:
    return Target(kind="kubernetes", kubernetes=kubernetes)


def _problems(config: Config) -> list[str]:
    return [".".join(map(str, problem.way)) for problem in problems(config)]


def test_a_whole_configuration_has_no_problem() -> None:
    assert told() == []
    assert told(router="gateway", router_image="", gateway="ingress/public", hostnames=("churn.example.org",)) == []


@pytest.mark.parametrize(
    ("settings", "way"),
    [
        ({"router_image": ""}, "router_image"),
        ({"router_image": "envoyproxy/envoy:v1.30"}, "router_image"),
        ({"router": "gateway", "gateway": "public"}, "router_image"),
        ({"router": "gateway", "router_image": ""}, "gateway"),
        ({"gateway": "public"}, "gateway"),
        ({"hostnames": ("x.example.org",)}, "hostnames"),
        ({"memory_limit": "4GB"}, "memory_limit"),
        ({"cpu_request": "half"}, "cpu_request"),
        ({"scratch": ""}, "scratch"),
        ({"memory_request": "4Gi", "memory_limit": "2G"}, "memory_limit"),
        ({"cpu_request": "2", "cpu_limit": "500m"}, "cpu_limit"),
        ({"namespace": "Team A"}, "namespace"),
        ({"pull_secrets": ("a_b",)}, "pull_secrets"),
        ({"environment": {"A-B": "1"}}, "environment"),
        ({"tolerations": (Toleration(key="gpu", operator="Exists", value="yes"),)}, "tolerations.0.value"),
        ({"tolerations": (Toleration(value="yes"),)}, "tolerations.0.key"),
        ({"manifests": "k8s", "manifests_command": "helm template churn chart"}, "manifests"),
        ({"serving": Serving(body_limit="much")}, "serving.body_limit"),
    ],
)
def test_what_a_cluster_would_refuse_is_refused_here(settings: dict[str, Any], way: str) -> None:
    assert told(**settings) == [f"target.kubernetes.{way}"]


@pytest.mark.parametrize("service", ["1churn", "a" * 56])
def test_a_service_whose_objects_could_not_be_named_is_refused(service: str) -> None:
    assert told(service=service) == ["service"]


def test_a_cluster_pulls_its_images() -> None:
    assert told(image=Image()) == ["target.kind"]
    assert told(image=Image(base=IMAGE.base)) == ["target.kind"]


def test_the_clusters_prometheus_is_named_up_front() -> None:
    kubernetes = Kubernetes(router_image=ENVOY)
    config = Config(service="churn", train=Train(command="true"), image=IMAGE, target=_target(kubernetes))
    assert _problems(config) == ["verify.prometheus"]


def test_the_selector_says_up_front_that_nobody_is_compared_with() -> None:
    selector = _target(Kubernetes(router="service"))
    train = Train(command="true")
    config = Config(service="churn", train=train, image=IMAGE, target=selector, verify=NAMED)
    assert _problems(config) == ["rollout", "verify.errors.enabled", "verify.latency.enabled"]
    words = [problem.what for problem in problems(config)]
    assert all("moves all users at once" in one for one in words)
    assert any("no concurrent control" in one for one in words)
    unjudged = msgspec.structs.replace(config, rollout=AT_ONCE, verify=msgspec.structs.replace(BY_CONDITIONS, conditions=()))
    assert _problems(unjudged) == ["verify"]
    assert _problems(msgspec.structs.replace(config, rollout=AT_ONCE, verify=BY_CONDITIONS)) == []


def test_settings_reach_the_cluster() -> None:
    settings = Kubernetes(
        cpu_request="1",
        tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists"),),
        pull_secrets=("pull",),
        environment={"A": "1"},
        serving=Serving(queue=4),
    )
    image = ContainerImage(digest=DIGEST, id=DIGEST, reference=f"r.example.org/x@{DIGEST}")
    artifact = Artifact(digest=DIGEST, path="/b", model_version="7", run="one", image=image)
    found = specification.workload(settings, "churn", "team", Colour.GREEN, artifact, gpus=1, replicas=2)
    assert (found.image, found.replicas, found.limits.gpus, found.limits.cpu_request) == (image.reference, 2, 1, "1")
    assert found.placement.tolerations == ({"key": "nvidia.com/gpu", "operator": "Exists"},)
    assert found.environment["A"] == "1"
    assert any('"queue":4' in value for value in found.environment.values())
    assert specification.router_pods(settings, "churn", "team").placement.pull_secrets == ("pull",)


def test_an_artifact_that_no_node_can_pull_is_refused() -> None:
    artifact = Artifact(digest=DIGEST, path="/b", image=ContainerImage(digest=DIGEST, id=DIGEST, source="/layout"))
    with pytest.raises(ConfigurationError, match="no image that a node could pull"):
        specification.workload(Kubernetes(), "churn", "team", Colour.BLUE, artifact)
