"""A real Prometheus for tests, and a page of metrics it scrapes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def find_prometheus() -> Path:
    """The binary on the PATH or in this checkout's ``.tools``. Without one: a failure under CI, a named skip elsewhere."""
    here = Path(__file__).resolve().parents[2] / ".tools" / "prometheus"
    found = shutil.which("prometheus") or (str(here) if here.is_file() else None)
    if found is None:
        message = "Prometheus is missing: run tools/setup.sh"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return Path(found)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(ready: Callable[[], object], what: str, *, seconds: float = 60.0) -> None:
    """Polls until ``ready`` is true; refusals of a server that is not up yet count as not ready."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if ready():
                return
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds:g} s")


@contextlib.contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, Mapping[str, Mapping[str, str]]], *, jobs: str = "") -> Iterator[str]:
    """Starts one that scrapes each second and yields its URL.

    Args:
        folder: Where its configuration and data go.
        targets: Job to address (``127.0.0.1:1234``) to extra labels.
        jobs: More of them, as the configuration has them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = jobs + "".join(
        f"- job_name: {job}\n  static_configs:\n"
        + "".join(f"  - targets: ['{address}']\n    labels: {{{_labels(labels)}}}\n" for address, labels in addresses.items())
        for job, addresses in targets.items()
    )
    config = folder / "prometheus.yml"
    config.write_text(f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{jobs or '[]'}")
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                find_prometheus(),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: urllib.request.urlopen(f"{url}/-/ready", timeout=5).status == 200, "Prometheus is ready")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: '{value}'" for name, value in labels.items())


class MetricsPage:
    """Serves ``text`` as an exposition; tests change it while Prometheus scrapes."""

    def __init__(self) -> None:
        self.text = ""
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = page.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, code: object = None, size: object = None) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> MetricsPage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
