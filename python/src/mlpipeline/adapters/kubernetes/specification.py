"""From ``target.kubernetes`` to what a cluster is asked for."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.config.serving import answering, variables
from mlpipeline.core.kubernetes_objects import Limits, Placement, RouterPods, Workload
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError
from mlpipeline.ports import Artifact


def workload(
    settings: Kubernetes,
    service: str,
    namespace: str,
    colour: Colour,
    artifact: Artifact,
    *,
    gpus: int = 0,
    replicas: int | None = None,
    restarts: int = 0,
    answers_key: str = "",
) -> Workload:
    """What one colour is to be.

    Args:
        gpus: Devices that the image needs.
        replicas: None where somebody else, such as a HorizontalPodAutoscaler, owns their number.
        answers_key: By which its pods tell their answers.

    Raises:
        ConfigurationError: The artifact has no image that a node could pull.
    """
    if artifact.image is None or not artifact.image.reference:
        raise ConfigurationError(
            "this release has no image that a node could pull",
            facts={"digest": artifact.digest, "image": artifact.image.source if artifact.image else "none was made"},
            likely="it was packaged before image.repository was set",
            tries=("set image.repository", "mlpipeline package"),
        )
    return Workload(
        service=service,
        namespace=namespace,
        colour=colour,
        image=artifact.image.reference,
        artifact_digest=artifact.digest,
        model_version=artifact.model_version,
        run=artifact.run,
        path=artifact.path,
        source=artifact.image,
        replicas=replicas,
        threads=settings.threads,
        ready_timeout=float(settings.ready_timeout),
        drain_timeout=float(settings.drain_timeout),
        scratch=settings.scratch,
        environment={
            **variables(settings.serving, "/tmp/requests.jsonl"),  # noqa: S108 - a container's own
            **answering(settings.keep_answers, answers_key),
            **settings.environment,
        },
        limits=Limits(
            cpu_request=settings.cpu_request,
            cpu_limit=settings.cpu_limit,
            memory_request=settings.memory_request,
            memory_limit=settings.memory_limit,
            gpus=gpus,
            gpu_resource=settings.gpu_resource,
        ),
        placement=Placement(
            pull_secrets=settings.pull_secrets,
            node_selector=settings.node_selector,
            tolerations=tuple(_toleration(msgspec.to_builtins(toleration)) for toleration in settings.tolerations),
            service_account=settings.service_account,
            priority_class=settings.priority_class,
            runtime_class=settings.runtime_class,
        ),
        restarts=restarts,
    )


def router_pods(settings: Kubernetes, service: str, namespace: str) -> RouterPods:
    """What our Envoy is to be; it runs where nodes are not kept for models."""
    placement = Placement(pull_secrets=settings.pull_secrets)
    return RouterPods(
        service=service,
        namespace=namespace,
        image=settings.router_image,
        replicas=settings.router_replicas,
        placement=placement,
    )


def _toleration(written: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in written.items() if value}
