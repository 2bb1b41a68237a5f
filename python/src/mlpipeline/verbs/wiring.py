"""Makes the world a verb works in, out of the real adapters. Each is imported when a verb first asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mlpipeline.clock import SystemClock
from mlpipeline.config.model import Config
from mlpipeline.ports import Console, MetricSource, Registry, Target
from mlpipeline.record.places import Places, home_folder
from mlpipeline.verbs.context import Context, World


def make_context(config: Config, project: Path, console: Console, environment: Mapping[str, str]) -> Context:
    """The context of one call of the worker."""
    places = Places(project=project.absolute(), home=home_folder(environment), service=config.service)
    return Context(
        config=config,
        places=places,
        clock=SystemClock(),
        console=console,
        world=make_world(config, places),
        actor=actor(environment),
        environment=environment,
    )


def make_world(config: Config, places: Places) -> World:
    """One adapter of each kind per call, made on first use."""

    @cache
    def target() -> Target:
        from mlpipeline.adapters.local import LocalTarget

        return LocalTarget(config, places)

    @cache
    def registry() -> Registry:
        from mlpipeline.adapters.mlflow import MlflowRegistry

        return MlflowRegistry(config.tracking, places)

    @cache
    def metrics(url: str) -> MetricSource:
        from mlpipeline.adapters.prometheus import PrometheusSource

        return PrometheusSource(url, config.verify)

    return World(target=target, registry=registry, metrics=metrics)


def actor(environment: Mapping[str, str]) -> str:
    """Who started the worker, as far as the environment tells: Jenkins' build user, else the login name."""
    for name in ("MLPIPELINE_ACTOR", "BUILD_USER_ID", "USER", "LOGNAME"):
        if environment.get(name):
            return environment[name]
    return ""
