"""The state of a service is where its target is: every worker that drives the same target uses the same journal and leases."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from mlpipeline.config.model import Config
from mlpipeline.errors import EnvironmentFault, Held
from mlpipeline.ports import Keeper
from mlpipeline.record.places import Places
from mlpipeline.verbs.context import Context


def keeper_of(config: Config, environment: Mapping[str, str]) -> Keeper | None:
    """Who says where the state is; nobody where every worker has the target's own word at hand."""
    if config.target.kind == "local":
        from mlpipeline.adapters.local.keeper import ProcessKeeper

        return ProcessKeeper(config.service, config.target.local)
    if config.target.kind == "docker":
        from mlpipeline.adapters.docker.keeper import VolumeKeeper

        return VolumeKeeper(config.target.docker.engine, config.service, environment)
    return None


def found(places: Places, config: Config, environment: Mapping[str, str]) -> Places:
    """The places, with the state where the target says it is. The target is asked only where this home has released nothing."""
    if any(folder.is_dir() for folder in (places.target / "router", places.docker / "router")):
        return places
    keeper = keeper_of(config, environment)
    if keeper is None:
        return places
    with suppress(EnvironmentFault):  # whoever needs the target says that it does not answer
        kept = keeper.kept()
        if kept is not None and kept != places.state and _usable(kept):
            return msgspec.structs.replace(places, kept=kept)
    return places


@contextmanager
def claimed(context: Context) -> Iterator[None]:
    """While this worker changes the service, the target says that its state is where this worker has it.

    Raises:
        Held: It says that the state is somewhere else.
    """
    keeper = context.world.keeper() if context.world.keeper is not None else None
    if keeper is None:
        yield
        return
    folder = keeper.claim(context.places.state)
    if folder != context.places.state:
        raise elsewhere(context, folder)
    try:
        yield
    finally:
        with suppress(EnvironmentFault):
            keeper.release()


def elsewhere(context: Context, folder: Path) -> Held:
    """The refusal that says where the state is."""
    reachable = folder.is_dir()
    return Held(
        "the state of this service is in another folder; nothing was changed",
        facts={"state": folder, "this worker has": context.places.state},
        likely="another worker began to release this service at the same moment"
        if reachable and _usable(folder)
        else "it was released by another user, or from inside a container, and this worker may not use that folder",
        tries=("run the same command again", f"MLPIPELINE_HOME={_home_of(folder)} mlpipeline status"),
    )


def _home_of(state: Path) -> Path:
    return state.parents[1]


def _usable(folder: Path) -> bool:
    """Whether this worker may use it, or make it where it is not there any more."""
    there = next((part for part in (folder, *folder.parents) if part.exists()), folder)
    return os.access(there, os.R_OK | os.W_OK | os.X_OK)
