"""Targets that cannot run a service as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlpipeline.config.combinations import kubernetes
from mlpipeline.config.model import Config
from mlpipeline.config.shape import Problem
from mlpipeline.config.text import Way


def problems(config: Config) -> Iterator[Problem]:
    yield from _serving(config)
    yield from _docker(config)
    yield from kubernetes.problems(config)


def _serving(config: Config) -> Iterator[Problem]:
    for kind in ("local", "docker", "kubernetes"):
        serving = getattr(config.target, kind).serving
        for key in ("body_limit", "sample_size"):
            size = getattr(serving, key)
            if not re.fullmatch(r"[1-9][0-9]{0,5}(KiB|MiB|GiB)", size):
                way: Way = ("target", kind, "serving", key)
                yield Problem(way, f"{'.'.join(map(str, way))} must be a size such as 64MiB", found=repr(size))
        if not serving.time_limit:
            way = ("target", kind, "serving", "time_limit")
            yield Problem(way, "a time limit of 0 refuses every request", example="time_limit: 60s")


def _docker(config: Config) -> Iterator[Problem]:
    if config.target.kind != "docker":
        return
    from mlpipeline.core.gpu import bytes_of
    from mlpipeline.core.image import is_digest

    docker, pinned = config.target.docker, "registry.example.org/envoyproxy/envoy@sha256:..."
    if not (config.image.base or config.image.dockerfile):
        yield Problem(
            ("target", "kind"),
            "target.kind is docker, but there is no image.base, so no image is made that could run there",
            example="image:\n  base: registry.example.org/debian/python@sha256:...",
        )
    if not is_digest(docker.router_image.rpartition("@")[2]):
        yield Problem(
            ("target", "docker", "router_image"),
            "target.docker.router_image must name an image of Envoy by its digest",
            found=repr(docker.router_image) if docker.router_image else "",
            example=f"target:\n  docker:\n    router_image: {pinned}",
        )
    for key in ("memory", "scratch", "log_size"):
        size = getattr(docker, key)
        try:
            fits = (not size and key == "memory") or bytes_of(size) > 0
        except ValueError:
            fits = False
        if not fits:
            yield Problem(
                ("target", "docker", key), f"target.docker.{key} must be a size such as 4GiB or 512MiB", found=repr(size)
            )
    for name in docker.environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield Problem(("target", "docker", "environment"), f"{name!r} is not the name of an environment variable")
