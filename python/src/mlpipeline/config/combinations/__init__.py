"""Configurations whose every value is right, but which make no sense together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlpipeline.config.combinations import (
    data,
    model_gate,
    night,
    packaging,
    records,
    rollout,
    security,
    staging,
    target,
    training,
    verification,
)
from mlpipeline.config.model import Config
from mlpipeline.config.rollout_plan import stages
from mlpipeline.config.shape import Problem
from mlpipeline.config.text import Way

_PARTS = (training, data, model_gate, verification, night, security, target, records, packaging)


def problems(config: Config, given: Iterable[Way] = ()) -> Iterator[Problem]:
    """What makes the configuration impossible.

    Args:
        given: Paths of everything that somebody set.
    """
    paths = frozenset(given)
    yield from rollout.problems(config, paths)
    yield from staging.problems(config, paths)
    for part in _PARTS:
        yield from part.problems(config)
    if config.approval.quorum > 1 and not config.approval.required:
        yield Problem(
            ("approval", "quorum"),
            f"approval.quorum is {config.approval.quorum}, but approval.required is false, so nobody is asked",
            example="approval:\n  required: true\n  quorum: 2",
        )


def warnings(config: Config) -> Iterator[str]:
    """What is allowed but probably not meant."""
    verify = config.verify
    if config.rollout.bake and not config.rollout.control:
        yield "rollout.control is 0: the bake has no concurrent control, so its comparisons add nothing to the verdict"
    for stage in stages(config.rollout):
        if stage.seconds < verify.interval and not stage.name.startswith("step-"):
            yield f"rollout.{stage.name} is shorter than verify.interval ({verify.interval:g} s): at most one look fits into it"
    if any(stage.name.startswith("step-") and stage.seconds < verify.interval for stage in stages(config.rollout)):
        yield f"rollout.step is shorter than verify.interval ({verify.interval:g} s): at most one look fits into it"
    if config.security.model_files.policy != "fail":
        yield f"security.model_files.policy is {config.security.model_files.policy}: a model that runs code would be released"
    if config.gate.holdout == "":
        yield "gate.holdout is not set: no model gate stands between a worse candidate and the users"
