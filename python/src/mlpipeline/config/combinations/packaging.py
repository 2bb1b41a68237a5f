"""Images that cannot be made as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlpipeline.config.model import Config
from mlpipeline.config.shape import Problem

_SEMANTIC_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)


def problems(config: Config) -> Iterator[Problem]:
    image = config.image
    if image.base and image.dockerfile:
        yield Problem(("image", "dockerfile"), "image.base and image.dockerfile are both set; an image is built in one way")
    if not image.base and not image.dockerfile:
        for key in ("repository", "layout", "archive"):
            if getattr(image, key):
                yield Problem(
                    ("image", key),
                    f"image.{key} is set, but there is no image.base, so no image is made",
                    example="image:\n  base: registry.example.org/debian/python@sha256:...",
                )
    if image.repository:
        from mlpipeline.core.image import repository

        try:
            repository(image.repository)
        except ValueError as error:
            yield Problem(("image", "repository"), str(error), example="image:\n  repository: registry.example.org/team/churn")
    if image.version and (not _SEMANTIC_VERSION.fullmatch(image.version) or len(image.version) > 100):
        yield Problem(
            ("image", "version"),
            f"image.version is not a semantic version: {image.version!r}",
            example="image:\n  version: 1.4.0",
        )
    for name in image.environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield Problem(("image", "environment"), f"{name!r} is not the name of an environment variable")
