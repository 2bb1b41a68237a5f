"""The router of one service as a container that reads its files from a folder of the host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.docker import specification
from mlpipeline.adapters.docker.engine import Engine
from mlpipeline.adapters.docker.images import Images
from mlpipeline.adapters.docker.inventory import container_part
from mlpipeline.adapters.docker.network import ADMIN_PORT, LOOPBACK, Network
from mlpipeline.config.sections.target import Docker
from mlpipeline.core import container as labels
from mlpipeline.core import envoy_files as files
from mlpipeline.core.inventory import Part
from mlpipeline.hosting.machine import free_port
from mlpipeline.hosting.router import Router
from mlpipeline.ports import Clock
from mlpipeline.record.files import write_atomically

ROLE = "router"
INSIDE = Path("/etc/mlpipeline/router")
OWN_PORT = 9902
"""Of the page on which Envoy can be told to stop: on loopback of its container alone."""
READABLE = 0o644
"""Envoy is not the worker's user."""


class EnvoyContainer(Router):
    """The router's container.

    Args:
        folder: Where its files are to be; a router that runs already says itself where they are.
        failover: Whether one colour may answer what the other did not.
    """

    def __init__(
        self,
        engine: Engine,
        images: Images,
        network: Network,
        service: str,
        folder: Path,
        *,
        settings: Docker,
        clock: Clock,
        failover: bool = True,
    ) -> None:
        users = (settings.host, settings.port)
        super().__init__(folder, users, service, clock, key="target.docker", mode=READABLE, failover=failover)
        self._engine, self._images, self._network, self._settings = engine, images, network, settings

    @property
    def folder(self) -> Path:
        """A worker with another state folder must not write where nobody reads."""
        found = self._found()
        for mount in (found or {}).get("Mounts", ()):
            if mount["Destination"] == str(INSIDE):
                return Path(mount["Source"])
        return self._own_folder

    def alive(self) -> bool:
        found = self._found()
        return found is not None and bool(found["State"]["Running"])

    def known(self) -> bool:
        return self._found() is not None

    def admin_port(self) -> int | None:
        found = self._found()
        if found is None or not found["State"]["Running"]:
            return None
        return int(found["Config"]["Labels"][labels.PORT])

    def stop(self, patience: float) -> None:
        found = self._found()
        if found is not None:
            self._engine.stop(found["Id"], patience)

    def remove(self) -> None:
        """Ends it and forgets that it was."""
        found = self._found()
        if found is not None:
            self._engine.remove(found["Id"])

    def bound_log(self) -> None:
        """The engine does that."""

    def words(self, lines: int) -> Mapping[str, object]:
        found = self._found()
        name = labels.container_name(self._service, ROLE)
        return {"log": f"docker logs {name}", "last lines": self._engine.logs(found["Id"], lines) if found else ""}

    def part(self) -> Part:
        found = self._found()
        if found is None:
            return Part()
        known = container_part(self._engine, found)
        facts = {what: text for what, text in known.facts.items() if what not in {"package", "state"}}
        return Part(facts, {}, known.changed, known.instance)

    def _found(self) -> dict[str, Any] | None:
        return self._engine.container(self._service, ROLE)

    def _start(self) -> None:
        image = self._images.ensure_pinned(self._settings.router_image, "target.docker.router_image")
        folder = self.folder
        self.remove()
        admin = free_port()
        users = self._network.users(self._users)
        listens = self._network.listens(admin, ADMIN_PORT)
        if self._network.bridged:
            # A model's container reaches every port here: it may read what the router counts, and change nothing of it.
            own = files.bootstrap(INSIDE, users, (LOOPBACK, OWN_PORT), failover=self._failover)
            bootstrap = files.with_readers(own, listens, OWN_PORT)
        else:
            bootstrap = files.bootstrap(INSIDE, users, listens, failover=self._failover)
        write_atomically(folder / "envoy.yaml", msgspec.json.format(msgspec.json.encode(bootstrap)) + b"\n", mode=READABLE)
        folder.chmod(0o755)
        of_config, of_host = self._network.options(ROLE, {users[1]: self._users, listens[1]: (LOOPBACK, admin)})
        _, user = self._images.entrypoint(image)
        options = ("--disable-hot-restart", "--log-level", "warning", "--concurrency", str(files.workers()))
        mount = {"Type": "bind", "Source": str(folder), "Target": str(INSIDE), "ReadOnly": True}
        config: dict[str, object] = {
            "Image": image,
            "Entrypoint": ["envoy"],
            "Cmd": ["--config-path", str(INSIDE / "envoy.yaml"), *options],
            "User": specification.user_of(user),
            "Labels": {labels.SERVICE: self._service, labels.ROLE: ROLE, labels.PORT: str(admin)},
            "StopTimeout": 10,
            **of_config,
            "HostConfig": {**specification.hardened(self._settings, limited=False), "Mounts": [mount], **of_host},
        }
        name = labels.container_name(self._service, ROLE)
        with self._engine.asked("the router could not be started", name=name, image=self._settings.router_image):
            made = self._engine.client.create_container_from_config(config, name)
            self._engine.client.start(made["Id"])

    def _wait_until_live(self) -> None:
        super()._wait_until_live()
        found = self._found()
        if found is not None:
            self._engine.restart_by_itself(found["Id"], self._settings.restart)
