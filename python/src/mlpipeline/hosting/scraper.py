"""The Prometheus that a target on one host brings along: detached, on a loopback port, told by files whom to scrape."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from mlpipeline.core.traffic import Colour
from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting.loopback import ask
from mlpipeline.hosting.machine import free_port
from mlpipeline.hosting.processes import ManagedProcess
from mlpipeline.hosting.router import ADMIN_FILTER
from mlpipeline.ports import Clock
from mlpipeline.record.files import write_atomically

START_SECONDS = 60.0
SCRAPE_INTERVAL = "1s"
RETENTION = "2d"
HOST = "127.0.0.1"


def find_prometheus() -> Path:
    """``$MLPIPELINE_PROMETHEUS``, ``prometheus`` on PATH, or one unpacked beside the worker's environment."""
    import shutil

    beside = Path(sys.prefix).parent / ".tools" / "prometheus"
    named = os.environ.get("MLPIPELINE_PROMETHEUS", "")
    for candidate in [named] if named else [shutil.which("prometheus") or "", str(beside)]:
        if candidate and Path(candidate).is_file() and os.access(candidate, os.X_OK):
            return Path(candidate).absolute()
    raise EnvironmentFault(
        "there is no Prometheus to verify releases with",
        facts={"$MLPIPELINE_PROMETHEUS": named} if named else {"looked at": f"PATH, {beside}"},
        likely="it is not installed on this machine",
        tries=(
            "sudo apt-get install --no-install-recommends prometheus",
            "set MLPIPELINE_PROMETHEUS to the program",
            "set verify.prometheus in mlpipeline.yaml to a server you have",
        ),
    )


class Scraper:
    """The Prometheus of one service.

    Args:
        folder: Configuration, storage and log; kept small by retention.
        service: Label of everything it scrapes.
    """

    def __init__(self, folder: Path, service: str, clock: Clock) -> None:
        self._folder = folder
        self._service = service
        self._clock = clock
        self.process = ManagedProcess(folder, f"the Prometheus of {service}", clock)

    @staticmethod
    def labels(service: str, colour: Colour | None) -> dict[str, str]:
        """Of a scraped target: the service, and the colour unless it is the router."""
        return {"service": service} if colour is None else {"service": service, "colour": str(colour)}

    def tell(self, colours: Mapping[Colour, int], admin_port: int | None) -> None:
        """Who is to be scraped from now on: ports of the colours and of the router's admin."""
        own = [
            {"targets": [f"{HOST}:{port}"], "labels": self.labels(self._service, colour)}
            for colour, port in sorted(colours.items())
        ]
        router = [{"targets": [f"{HOST}:{admin_port}"], "labels": self.labels(self._service, None)}] if admin_port else []
        for name, groups in (("colours", own), ("router", router)):
            file, content = self._folder / f"{name}.json", msgspec.json.format(msgspec.json.encode(groups)) + b"\n"
            if not file.is_file() or file.read_bytes() != content:
                write_atomically(file, content)

    def bound_log(self) -> None:
        """Keeps its log small while it goes on writing."""
        self.process.bound_log()

    def ensure(self) -> str:
        """Its URL; started when it does not run or does not answer."""
        if self.process.running() is not None and (port := self._port()) and self._ready(port):
            return f"http://{HOST}:{port}"
        program = find_prometheus()
        self.process.stop(10)
        write_atomically(self._folder / "prometheus.yaml", msgspec.json.format(msgspec.json.encode(self._configuration())))
        for last in (False, False, True):
            port = free_port()
            self.process.start(self._command(program, port))
            if self._wait(port):
                return f"http://{HOST}:{port}"
            if last or "address already in use" not in self.process.last_words():
                break
        raise EnvironmentFault(
            "Prometheus did not start",
            facts={"program": program, "log": self.process.log, "last lines": self.process.last_words(6)},
            tries=(f"remove {self._folder / 'data'} if its storage is damaged", "mlpipeline doctor"),
        )

    def _command(self, program: Path, port: int) -> list[str]:
        return [
            str(program),
            f"--config.file={self._folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--web.listen-address={HOST}:{port}",
            "--log.level=warn",
        ]

    def _configuration(self) -> dict[str, object]:
        return {
            "global": {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL},
            "scrape_configs": [
                # the process's own labels win: after a crash between two writes it still names itself rightly
                {"job_name": "mlpipeline", "honor_labels": True, **self._file("colours")},
                {
                    "job_name": "mlpipeline-router",
                    "metrics_path": "/stats/prometheus",
                    "params": {"filter": [ADMIN_FILTER]},
                    **self._file("router"),
                },
            ],
        }

    def _file(self, name: str) -> dict[str, object]:
        return {"file_sd_configs": [{"files": [str(self._folder / f"{name}.json")], "refresh_interval": "5s"}]}

    def _port(self) -> int | None:
        record = self.process.record
        for argument in record.argv if record else ():
            if argument.startswith("--web.listen-address="):
                return int(argument.rpartition(":")[2])
        return None

    def _ready(self, port: int) -> bool:
        with suppress(OSError):
            return ask(HOST, port, "/-/ready", timeout=5)[0] == 200
        return False

    def _wait(self, port: int) -> bool:
        deadline = self._clock.monotonic() + START_SECONDS
        while self._clock.monotonic() < deadline and self.process.running() is not None:
            if self._ready(port):
                return True
            self._clock.sleep(0.05)
        self.process.stop(10)
        return False
