"""A Prometheus for a moment, without data and without targets: it says whether a query can be read."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting.loopback import ask
from mlpipeline.hosting.machine import free_port
from mlpipeline.hosting.scraper import HOST, find_prometheus
from mlpipeline.ports import Clock

START_SECONDS = 30.0


@contextmanager
def momentary_prometheus(clock: Clock) -> Iterator[str]:
    """Yields its URL and ends it. Raises EnvironmentFault when there is no Prometheus or it does not start."""
    program = find_prometheus()
    with tempfile.TemporaryDirectory(prefix="mlpipeline-queries-") as folder:
        configuration = Path(folder) / "prometheus.yaml"
        configuration.write_text("{}\n")
        port = free_port()
        log = Path(folder) / "log"
        with log.open("wb") as words:
            process = subprocess.Popen(
                [
                    str(program),
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address={HOST}:{port}",
                    "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
            )
        try:
            _wait(process, port, clock, log)
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, clock: Clock, log: Path) -> None:
    deadline = clock.monotonic() + START_SECONDS
    while clock.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            if ask(HOST, port, "/-/ready", timeout=5)[0] == 200:
                return
        clock.sleep(0.05)
    raise EnvironmentFault(
        "Prometheus did not start, so the queries of verify could not be read",
        facts={"program": process.args, "last lines": log.read_text(errors="replace")[-400:]},
        tries=("set verify.prometheus in mlpipeline.yaml to a server you have",),
    )
