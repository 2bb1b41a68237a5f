"""Where the state of a service is, told by the router that serves it on this machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from mlpipeline.config.sections.target import Local

ROUTER = ("local", "router", "envoy.yaml")


class ProcessKeeper:
    """Implements :class:`mlpipeline.ports.Keeper`: an Envoy of this service on this port was started with a file of some state
    folder, whoever did it."""

    def __init__(self, service: str, settings: Local) -> None:
        self._service, self._settings = service, settings

    def kept(self) -> Path | None:
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and (folder := self._folder_of(process)) is not None:
                return folder
        return None

    def claim(self, folder: Path) -> Path:
        """Two state folders are two targets here, until one of them has the port."""
        return folder

    def release(self) -> None:
        """Nothing was noted."""

    def _folder_of(self, process: Path) -> Path | None:
        with suppress(OSError, ValueError, KeyError, IndexError, TypeError, msgspec.DecodeError):
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            if b"--config-path" not in arguments:
                return None
            file = Path(arguments[arguments.index(b"--config-path") + 1].decode())
            if file.parts[-3:] == ROUTER and file.parts[-4] == self._service and self._same_port(file):
                return file.parents[2]
        return None

    def _same_port(self, file: Path) -> bool:
        listener = msgspec.json.decode(file.read_bytes())["static_resources"]["listeners"][0]
        return bool(listener["address"]["socket_address"]["port_value"] == self._settings.port)
