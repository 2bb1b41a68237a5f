"""What the contract suite of the Target port needs to know about one kind of target.

A world makes targets, artifacts and accidents. The suite in ``contract/test_target_contract.py`` knows nothing else of the kind,
so that the same promises hold wherever green and blue run.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mlpipeline.adapters.local import LocalTarget
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.target import Local
from mlpipeline.config.values import Duration
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.hosting.machine import free_port
from mlpipeline.ports import Artifact, Target
from mlpipeline.record.places import Places
from tiny_service import Behaviour, make_bundle


class TargetWorld(Protocol):
    """One service on one kind of target, fresh for each test."""

    @property
    def address(self) -> str:
        """Where users reach the service, ``http://host:port``."""

    @property
    def router_files(self) -> Path:
        """The folder of the files that the router follows."""

    def target(self, fence: Callable[[], None] | None = None) -> Target:
        """As a worker that has just been started makes it: it remembers nothing."""

    def artifact(self, behaviour: Behaviour) -> Artifact:
        """A package whose serving process behaves so."""

    def kill_colour(self, colour: Colour) -> None:
        """The colour's process dies without warning."""

    def kill_router(self) -> None:
        """The router dies without warning."""

    def close(self) -> None:
        """Ends everything the test started."""


class LocalWorld:
    """Processes of this machine behind a real Envoy.

    Args:
        folder: Of this test alone.
        port: Where users reach the service; a free one by default.

    Attributes:
        failover: Whether one colour may answer what the other did not.
    """

    service = "contract"
    failover = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = folder
        self._settings = Local(port=port or free_port(), ready_timeout=Duration(60), drain_timeout=Duration(5))
        self.places = Places(project=folder, home=folder / "home", service=self.service)

    @property
    def address(self) -> str:
        return f"http://{self._settings.host}:{self._settings.port}"

    @property
    def router_files(self) -> Path:
        return self.places.target / "router"

    @property
    def port(self) -> int:
        return self._settings.port

    def target(self, fence: Callable[[], None] | None = None) -> LocalTarget:
        return LocalTarget(
            self.places,
            self.service,
            self._settings,
            SystemClock(),
            lambda _artifact: Path(sys.executable),
            fence=fence,
            failover=self.failover,
        )

    def artifact(self, behaviour: Behaviour) -> Artifact:
        return make_bundle(self._folder / "bundles", behaviour)

    def kill_colour(self, colour: Colour) -> None:
        self._kill(colour)

    def kill_router(self) -> None:
        self._kill("router")

    def _kill(self, name: str) -> None:
        target = self.target()
        process = target.processes()[name]
        record = process.running()
        assert record is not None, f"{name} does not run"
        os.kill(record.pid, signal.SIGKILL)
        while process.running() is not None:
            pass

    def close(self) -> None:
        self.target().shutdown()


def docker_world(folder: Path) -> TargetWorld:
    """Containers on a real engine, which is started when the first test asks for it."""
    from docker_parts import DockerWorld

    return DockerWorld(folder)


def kubernetes_world(folder: Path) -> TargetWorld:
    """Pods on a real cluster, which is started when the first test asks for it."""
    from kubernetes_parts import KubernetesWorld

    return KubernetesWorld(folder)


WORLDS: dict[str, Callable[[Path], TargetWorld]] = {"local": LocalWorld, "docker": docker_world, "kubernetes": kubernetes_world}


def made_ahead(_folder: Path) -> TargetWorld:
    """One of a cluster that is live already; the next one is made while a test runs."""
    from kubernetes_parts import live_worlds

    return live_worlds().take()


LIVE_WORLDS = {**WORLDS, "kubernetes": made_ahead}
"""For tests that begin with blue serving ``one`` to users, and ``two`` in green; elsewhere that takes no time worth saving."""


def side_by_side(world: TargetWorld) -> Target:
    """Blue serves users and answers as ``one``; green, which answers as ``two``, stands beside it."""
    target = world.target()
    target.deploy(Colour.BLUE, world.artifact(Behaviour("one")))
    target.route(TrafficPlan.all_to(Colour.BLUE))
    target.deploy(Colour.GREEN, world.artifact(Behaviour("two")))
    return target
