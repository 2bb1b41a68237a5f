"""Staging environments that could not stand beside production, or would say nothing."""

from __future__ import annotations

from collections.abc import Iterator

from mlpipeline.config.combinations import rollout, target, verification
from mlpipeline.config.model import Config
from mlpipeline.config.rollout_plan import stages
from mlpipeline.config.sections.target import Target
from mlpipeline.config.shape import Problem
from mlpipeline.config.staging_layer import service, staged
from mlpipeline.config.text import Way

_LONGEST_NAME = 63


def problems(config: Config, given: frozenset[Way] = frozenset()) -> Iterator[Problem]:
    """What cannot be done. ``given``: as for the rollout."""
    if config.staging is None:
        return
    if len(service(config.service)) > _LONGEST_NAME:
        yield Problem(
            ("staging",),
            f"the name {service(config.service)} is longer than {_LONGEST_NAME} characters",
            example="service: churn",
        )
    yield from _place(config)
    made = staged(config)
    watched = bool(stages(made.rollout))
    if not watched and not made.deploy.golden.file:
        yield Problem(
            ("staging",),
            "staging would verify nothing: no golden requests, and no bake in which conditions are watched",
            allowed="deploy.golden.file, or staging.rollout.bake and staging.verify.conditions",
            example="deploy:\n  golden: {file: golden.jsonl}",
        )
    own = frozenset(way[1:] for way in given if way[:1] == ("staging",) and way[1:] not in given)
    parts = [rollout.problems(made, own, compared=False), target.problems(made)]
    for part in (*parts, verification.problems(made)) if watched else parts:
        for problem in part:
            yield Problem(
                ("staging", *problem.way),
                f"in staging: {problem.what}",
                problem.nearest,
                problem.allowed,
                _below(problem.example),
            )


def _place(config: Config) -> Iterator[Problem]:
    assert config.staging is not None, "problems has looked"  # noqa: S101
    ours, theirs = config.target, config.staging.target
    mine, other = _port(ours), _port(theirs)
    if mine and mine == other:
        yield Problem(
            ("staging", "target", theirs.kind, "port"),
            f"staging would listen on port {other}, where production's users come",
            example=f"staging:\n  target:\n    {theirs.kind}: {{port: {other + 1 if other < 65535 else other - 1}}}",
        )


def _port(target: Target) -> int:
    """On this machine; 0 where the service is elsewhere."""
    return {"local": target.local.port, "docker": target.docker.port}.get(target.kind, 0)


def _below(example: str) -> str:
    return "staging:\n" + "\n".join(f"  {line}" for line in example.splitlines()) if example else ""
