"""Makes the world a verb works in, out of the real adapters. Each is imported when a verb first asks for it."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from mlpipeline.clock import SystemClock
from mlpipeline.config.model import Config
from mlpipeline.config.sections.target import Docker, Kubernetes, Local
from mlpipeline.ports import Artifact, Clock, Console, Keeper, MetricSource, Registry, Target
from mlpipeline.record.ledger import Ledger
from mlpipeline.record.places import Places, home_folder
from mlpipeline.verbs.context import Context, World
from mlpipeline.verbs.keeping import found, keeper_of

ANSWERS_COMPARED = 2000
"""That each colour keeps: at 1000 requests per second those of one look of 2 s."""
Settings = TypeVar("Settings", Local, Docker, Kubernetes)


def make_context(config: Config, project: Path, console: Console, environment: Mapping[str, str]) -> Context:
    """The context of one call of the worker."""
    home = Places(project=project.absolute(), home=home_folder(environment), service=config.service)
    places = found(home, config, environment)
    clock = SystemClock()
    secrets = _secrets(config, environment)
    for name in secrets:
        os.environ.pop(name, None)  # a training is the project's code, and would inherit it
    return Context(
        config=config,
        places=places,
        clock=clock,
        console=console,
        world=make_world(config, places, clock, environment),
        actor=actor(environment),
        environment={name: value for name, value in environment.items() if name not in secrets},
        secrets=secrets,
    )


def _secrets(config: Config, environment: Mapping[str, str]) -> dict[str, str]:
    """The signing key, its password, and what the address of the ledger is filled with."""
    names = {config.signing.key_env, config.signing.password_env, *re.findall(r"\$\{?(\w+)", config.ledger.uri)}
    return {name: environment[name] for name in sorted(names) if name in environment}


def make_world(config: Config, places: Places, clock: Clock, environment: Mapping[str, str]) -> World:
    """One adapter of each kind per call, made on first use."""

    def python_for(artifact: Artifact) -> Path:
        from mlpipeline.adapters import bundle
        from mlpipeline.adapters import environment as environments

        # What was judged and approved is what starts, however long ago it was packaged.
        bundle.verify(Path(artifact.path))
        wheelhouse = places.project / config.package.wheelhouse if config.package.wheelhouse else None
        home = Path(artifact.path).parents[1]  # of who packaged it; it may be another one than this worker's
        at = msgspec.structs.replace(places, home=home) if (home / "environments").is_dir() else places
        return environments.python_for(at, Path(artifact.path), wheelhouse=wheelhouse)

    @cache
    def target() -> Target:
        def fence() -> int:
            from mlpipeline.verbs.holding import still_held

            return still_held(places.lease)

        failover = config.target.failover
        if config.target.kind == "docker":
            from mlpipeline.adapters.docker import DockerTarget

            docker, gpus = _comparing(config, config.target.docker), config.image.gpus
            return DockerTarget(places, config.service, docker, clock, environment, gpus=gpus, fence=fence, failover=failover)

        if config.target.kind == "kubernetes":
            from mlpipeline.adapters.kubernetes import KubernetesTarget

            return KubernetesTarget(
                config.service,
                _comparing(config, config.target.kubernetes),
                clock,
                environment,
                gpus=config.image.gpus,
                project=places.project,
                fence=fence,
                failover=failover,
            )

        from mlpipeline.adapters.local import LocalTarget

        local = _comparing(config, config.target.local)
        return LocalTarget(places, config.service, local, clock, python_for, fence=fence, failover=failover)

    @cache
    def registry() -> Registry:
        from mlpipeline.adapters.mlflow.registry import MlflowRegistry

        return MlflowRegistry(config.tracking, places)

    @cache
    def metrics(url: str) -> MetricSource:
        from mlpipeline.adapters.prometheus import PrometheusSource

        return PrometheusSource(url, config.verify, environment, places.project)

    @cache
    def shared_ledger() -> Ledger:
        from mlpipeline.adapters.postgresql import PostgresqlStore

        store = PostgresqlStore(config.ledger.uri, config.service, environment)
        return Ledger(places.shared_ledger(store.name), store, before=Ledger(places.ledger))

    @cache
    def keeper() -> Keeper | None:
        return keeper_of(config, environment)

    ledger = shared_ledger if config.ledger.uri else None
    return World(target=target, registry=registry, metrics=metrics, ledger=ledger, keeper=keeper)


def _comparing(config: Config, settings: Settings) -> Settings:
    """Settings of a target whose colours keep as many answers as are compared."""
    if config.verify.disagreement.enabled and not settings.keep_answers:
        return msgspec.structs.replace(settings, keep_answers=ANSWERS_COMPARED)
    return settings


def actor(environment: Mapping[str, str]) -> str:
    """Who started the worker: Jenkins' build user, else the login name, else the name or number of the process' user."""
    for name in ("MLPIPELINE_ACTOR", "BUILD_USER_ID", "USER", "LOGNAME"):
        if environment.get(name):
            return environment[name]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
