"""Rollouts that cannot be done as they stand."""

from __future__ import annotations

from collections.abc import Iterator

from mlpipeline.config.model import Config
from mlpipeline.config.shape import Problem


def problems(config: Config) -> Iterator[Problem]:
    rollout = config.rollout
    if list(rollout.steps) != sorted(set(rollout.steps)):
        yield Problem(
            ("rollout", "steps"),
            f"rollout.steps must grow from step to step, not {list(rollout.steps)}",
            example=f"rollout:\n  steps: {sorted(set(rollout.steps))}",
        )
    if rollout.steps and not rollout.step:
        yield Problem(("rollout", "step"), "rollout.step is 0, so a step could not be judged", example="rollout:\n  step: 30s")
    at_once = config.target.kind == "kubernetes" and config.target.kubernetes.router == "service"
    if not at_once and not rollout.mirror and not rollout.steps and not (rollout.bake and rollout.control):
        yield Problem(
            ("rollout",),
            "this rollout never has candidate and champion at work at the same time, so verification could not compare them",
            allowed="mirror above 0, or steps, or bake and control above 0",
            example="rollout:\n  mirror: 30s\n  steps: [10, 50]",
        )
