"""Configurations whose every value is right, but which make no sense together."""

from __future__ import annotations

from collections.abc import Iterator

from mlpipeline.config.combinations import (
    data,
    model_gate,
    night,
    packaging,
    records,
    rollout,
    security,
    target,
    training,
    verification,
)
from mlpipeline.config.model import Config
from mlpipeline.config.shape import Problem

_PARTS = (training, data, model_gate, rollout, verification, night, security, target, records, packaging)


def problems(config: Config) -> Iterator[Problem]:
    """What makes the configuration impossible."""
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
    rollout, verify = config.rollout, config.verify
    if rollout.bake and not rollout.control:
        yield "rollout.control is 0: the bake has no concurrent control, so its comparisons add nothing to the verdict"
    for name, seconds in (("rollout.mirror", rollout.mirror), ("rollout.step", rollout.step if rollout.steps else 0)):
        if 0 < seconds < verify.interval:
            yield f"{name} is shorter than verify.interval ({verify.interval:g} s): at most one look fits into it"
    if config.security.model_files.policy != "fail":
        yield f"security.model_files.policy is {config.security.model_files.policy}: a model that runs code would be released"
    if config.gate.holdout == "":
        yield "gate.holdout is not set: no model gate stands between a worse candidate and the users"
