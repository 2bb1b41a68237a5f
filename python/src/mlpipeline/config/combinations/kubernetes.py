"""Settings of a cluster that it would refuse, or that contradict each other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlpipeline.config.model import Config
from mlpipeline.config.rollout_plan import stages
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.config.shape import Problem
from mlpipeline.config.text import Way

_QUANTITY = re.compile(r"(\d+(\.\d*)?|\.\d+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WAY: Way = ("target", "kubernetes")


def problems(config: Config) -> Iterator[Problem]:
    if config.target.kind != "kubernetes":
        return
    settings = config.target.kubernetes
    yield from _image(config)
    yield from _names(config.service, settings)
    yield from _router(settings)
    yield from _sizes(settings)
    if settings.manifests and settings.manifests_command:
        yield Problem((*_WAY, "manifests"), "target.kubernetes has manifests and manifests_command; choose one")
    if not config.verify.prometheus:
        yield Problem(
            ("verify", "prometheus"),
            "target.kind is kubernetes, where the cluster's own Prometheus is asked and none is started, and none is named",
            example="verify:\n  prometheus: http://prometheus.monitoring:9090",
        )
    if settings.router == "service":
        yield from _at_once(config)


def _image(config: Config) -> Iterator[Problem]:
    if not (config.image.base or config.image.dockerfile):
        yield Problem(
            ("target", "kind"),
            "target.kind is kubernetes, but there is no image.base, so no image is made that could run there",
            example="image:\n  base: registry.example.org/python@sha256:...\n  repository: registry.example.org/team/churn",
        )
    elif not config.image.repository:
        yield Problem(
            ("target", "kind"),
            "target.kind is kubernetes, but image.repository is not set: nodes pull images, they are not handed any",
            example="image:\n  repository: registry.example.org/team/churn",
        )


def _names(service: str, settings: Kubernetes) -> Iterator[Problem]:
    from mlpipeline.core.kubernetes_places import LONGEST_SERVICE

    if len(service) > LONGEST_SERVICE or not service[0].isalpha():
        yield Problem(
            ("service",),
            f"a cluster takes names that begin with a letter, of at most {LONGEST_SERVICE} characters, not {service!r}",
            example="service: churn",
        )
    for key, names in (
        ("namespace", (settings.namespace,)),
        ("pull_secrets", settings.pull_secrets),
        ("service_account", (settings.service_account,)),
        ("gateway", settings.gateway.split("/", 1)),
    ):
        for name in names:
            if name and not _NAME.fullmatch(name):
                yield Problem((*_WAY, key), f"{name!r} is not the name of anything in a cluster", example=f"{key}: churn")
    for name in settings.environment:
        if not _VARIABLE.fullmatch(name):
            yield Problem((*_WAY, "environment"), f"{name!r} is not the name of an environment variable")
    for index, toleration in enumerate(settings.tolerations):
        way: Way = (*_WAY, "tolerations", index)
        if toleration.operator == "Exists" and toleration.value:
            yield Problem((*way, "value"), "a toleration with operator: Exists has no value", example="operator: Equal")
        if toleration.operator == "Equal" and not toleration.key:
            yield Problem((*way, "key"), "a toleration without a key must say operator: Exists", example="operator: Exists")


def _router(settings: Kubernetes) -> Iterator[Problem]:
    from mlpipeline.core.image import is_digest

    if settings.router == "envoy" and not is_digest(settings.router_image.rpartition("@")[2]):
        yield Problem(
            (*_WAY, "router_image"),
            "target.kubernetes.router_image must name an image of Envoy by its digest",
            found=repr(settings.router_image) if settings.router_image else "",
            example="target:\n  kubernetes:\n    router_image: registry.example.org/envoyproxy/envoy@sha256:...",
        )
    if settings.router != "envoy" and settings.router_image:
        yield Problem(
            (*_WAY, "router_image"), f"target.kubernetes.router is {settings.router}, which has no image; leave router_image out"
        )
    if settings.router == "gateway" and not settings.gateway:
        yield Problem(
            (*_WAY, "gateway"),
            "target.kubernetes.router is gateway, but no Gateway is named for its HTTPRoute",
            example="target:\n  kubernetes:\n    gateway: ingress/public",
        )
    for key in ("gateway", "gateway_listener", "hostnames"):
        if settings.router != "gateway" and getattr(settings, key):
            yield Problem(
                (*_WAY, key),
                f"target.kubernetes.{key} is set, but target.kubernetes.router is {settings.router}, which makes no HTTPRoute",
                example="target:\n  kubernetes:\n    router: gateway",
            )


def _sizes(settings: Kubernetes) -> Iterator[Problem]:
    for key in ("cpu_request", "cpu_limit", "memory_request", "memory_limit", "scratch"):
        size = getattr(settings, key)
        if (size or key == "scratch") and not _QUANTITY.fullmatch(size):
            example = "500m" if key.startswith("cpu") else "2Gi"
            yield Problem((*_WAY, key), f"target.kubernetes.{key} must be a quantity such as {example}", found=repr(size))
    for kind in ("cpu", "memory"):
        request, limit = getattr(settings, f"{kind}_request"), getattr(settings, f"{kind}_limit")
        if (
            request
            and limit
            and _QUANTITY.fullmatch(request)
            and _QUANTITY.fullmatch(limit)
            and _amount(request) > _amount(limit)
        ):
            yield Problem(
                (*_WAY, f"{kind}_limit"), f"{kind}_limit {limit} is less than {kind}_request {request}: no pod would be made"
            )


def _amount(quantity: str) -> float:
    found = re.fullmatch(r"([\d.]+)([A-Za-z]*)", quantity)
    if found is None:
        return 0.0
    letters = "kMGTPE"
    unit = found[2]
    if unit == "m":
        return float(found[1]) / 1000
    if not unit:
        return float(found[1])
    power = letters.lower().index(unit[0].lower()) + 1
    return float(found[1]) * float(1024**power if unit.endswith("i") else 1000**power)


def _at_once(config: Config) -> Iterator[Problem]:
    """A selector has no percent: who asks for what only a percent can give is told before anything is deployed."""
    verify = config.verify
    why = "target.kubernetes.router is service, whose selector moves all users at once"
    offer = "target:\n  kubernetes:\n    router: envoy    # or gateway: both mirror and share by percent"
    divided = [stage.name for stage in stages(config.rollout) if stage.mirror or 0 < stage.share < 100]
    if divided:
        yield Problem(
            ("rollout",),
            f"{why}: {', '.join(divided)} of this rollout need a router that divides them",
            allowed="strategy: all_at_once with control: 0; or a router that divides users",
            example=offer,
        )
    if config.rollout.cohorts:
        yield Problem(("rollout", "cohorts"), f"{why}: cohorts need a router that looks at each request", example=offer)
    for key in ("errors", "latency", "predictions"):
        if getattr(verify, key).enabled:
            yield Problem(
                ("verify", key, "enabled"),
                f"{why}: no concurrent control, so verify.{key}, which compares two colours at the same time, has no verdict",
                allowed="false, with verify.conditions of your own; or a router that divides users",
                example=offer,
            )
