"""The two models that the model gate scores, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlpipeline.errors import EnvironmentFault
from mlpipeline.ports import Artifact
from mlpipeline.verbs.context import Context


@dataclass(frozen=True)
class Subject:
    """A model to be scored.

    Args:
        name: ``the candidate`` or ``the champion``.
        model: Folder of the MLflow model.
        bundle: Its bundle; absent for the candidate, which is not packaged yet.
        code: Folder its own code is imported from.
    """

    name: str
    model: Path
    bundle: Path | None = None
    code: Path | None = None


Interpreter = Callable[[Context, Subject], Path]
"""Gives the Python of a model's environment."""


def champion_of(context: Context) -> Artifact | None:
    """What users are on now, by the target's own word; raises an EnvironmentFault where that cannot be said."""
    observed = context.world.target().observe()
    if observed.plan is None:
        if observed.colours and observed.router != "up":
            raise EnvironmentFault(
                "the router is down, so nobody can say which model is the champion",
                facts={"service": context.config.service, "router": observed.router},
                likely="the machine was restarted, or the service was stopped",
                tries=("mlpipeline rollback    # starts again what users were on", "mlpipeline status"),
            )
        return None
    live = observed.colours.get(observed.plan.live)
    if live is None:
        raise EnvironmentFault(
            f"users are on {observed.plan.live}, of which the target knows nothing, so there is no champion to compare with",
            facts={"service": context.config.service},
            likely="files of the target were removed",
            tries=("mlpipeline rollback    # starts again what users were on", "mlpipeline status"),
        )
    return live.artifact


def served_environment(context: Context, subject: Subject) -> Path:
    """The environment the model is served in: the bundle's own, or the one that ``package`` will lock for the candidate."""
    from mlpipeline.adapters.bundle import verify
    from mlpipeline.adapters.environment import Environments, python_for
    from mlpipeline.verbs.package import python_version, requirements, wheelhouse

    if subject.bundle is not None:
        verify(subject.bundle)
        return python_for(context.places, subject.bundle, wheelhouse=wheelhouse(context))
    context.console.say("gate model: preparing the environment the candidate will be served in")
    environments = Environments(context.places, wheelhouse(context))
    return environments.install(environments.lock(requirements(context, subject.model), python=python_version(subject.model)))
