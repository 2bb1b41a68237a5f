"""Where the state of a service is, told by the engine: a volume whose label names the folder, made by whoever came first."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipeline.adapters.docker.engine import Engine
from mlpipeline.core.container import FOLDER, HOST, ROLE, SERVICE, container_name

NAME = "state"
QUESTION_SECONDS = 10
"""An engine that hangs must not hold up verbs that only ask where things are."""


class VolumeKeeper:
    """Implements :class:`mlpipeline.ports.Keeper`. An engine makes a volume of a name once, also when two ask at the same moment,
    and tells both whose labels it has.

    Args:
        address: Of the engine, as the configuration says.
        environment: ``DOCKER_HOST`` and its like.
    """

    def __init__(self, address: str, service: str, environment: Mapping[str, str]) -> None:
        self._engine = Engine(address, environment, timeout=QUESTION_SECONDS)
        self._service = service

    def kept(self) -> Path | None:
        volume = self._volume()
        folder = _folder_of(volume) if volume is not None else self._of_an_older_router()
        return folder if folder is None or folder.is_dir() or self._engine.containers(self._service) else None

    def claim(self, folder: Path) -> Path:
        volume = self._volume()
        if volume is not None and not _folder_of(volume).is_dir() and not self._engine.containers(self._service):
            self._remove()  # of a state folder that is no more, and of which nothing runs
        labels = {SERVICE: self._service, ROLE: NAME, FOLDER: str(folder), HOST: socket.gethostname()}
        with self._engine.asked("the engine could not note where the state of this service is", service=self._service):
            made = self._engine.client.create_volume(container_name(self._service, NAME), labels=labels)
        return _folder_of(made)

    def release(self) -> None:
        if not self._engine.containers(self._service):
            self._remove()

    def _remove(self) -> None:
        import docker

        with self._engine.asked("a volume could not be removed", service=self._service):
            try:
                self._engine.client.remove_volume(container_name(self._service, NAME))
            except docker.errors.NotFound:
                return

    def _volume(self) -> dict[str, Any] | None:
        with self._engine.asked("the engine does not tell where the state of this service is", service=self._service):
            found = self._engine.client.volumes(filters={"label": [f"{SERVICE}={self._service}", f"{ROLE}={NAME}"]})
        return next(iter(found.get("Volumes") or ()), None)

    def _of_an_older_router(self) -> Path | None:
        """Earlier versions noted nothing; what their router reads lies in the state folder too."""
        router = self._engine.container(self._service, "router")
        mounts = [Path(mount["Source"]) for mount in (router or {}).get("Mounts", ()) if mount.get("Type") == "bind"]
        return mounts[0].parents[1] if mounts else None


def _folder_of(volume: Mapping[str, Any]) -> Path:
    return Path((volume.get("Labels") or {}).get(FOLDER, "/nowhere"))
