"""The real process with a real model, started from a copy of the serving code alone, as a package carries it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import mlpipeline.serving
from tiny_model import COLUMNS, save_tiny_model, tiny_request

pytestmark = pytest.mark.real

PATIENCE = 300.0
"""Seconds until a wait is given up; nothing is expected to take so long."""
WAITING_MODEL = '''
import os
import time

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Waiting(PythonModel):
    """Answers a row when the file that it names exists; a row that names none at once."""

    def predict(self, context, model_input):
        for path in model_input["wait_for"]:
            while path and not os.path.exists(path):
                time.sleep(0.01)
        return ["done"] * len(model_input)


set_model(Waiting())
'''


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


class Colour:
    """One serving process and what it wrote to standard error."""

    def __init__(self, folder: Path, model: Path, *arguments: str, port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.library = folder / "lib"
        shutil.copytree(
            Path(mlpipeline.serving.__file__).parent,
            self.library / "mlpipeline/serving",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        (self.library / "mlpipeline/__init__.py").touch()
        self.errors = folder / "stderr"
        command = [sys.executable, "-m", "mlpipeline.serving", "--model", str(model), "--port", str(port), "--service", "flights"]
        self.work = folder / "work"
        self.work.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(self.library), "PYTHONDONTWRITEBYTECODE": "1"}
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, "--colour", "blue", "--model-version", "3", "--digest", "sha256:0", *arguments],
                stderr=errors,
                env=environment,
                cwd=self.work,
            )

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.errors.read_text().splitlines(keepends=True) if line.endswith("}\n")]

    def event(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def seen() -> bool:
            found.extend(event for event in self.events() if event["event"] == name)
            assert found or self.process.poll() is None, self.errors.read_text()
            return bool(found)

        until(seen, f"the log says {name}")
        return found[0]

    @property
    def port(self) -> int:
        return int(self.event("listening")["port"])

    def ready(self) -> Colour:
        self.event("ready")
        return self

    def ask(
        self, body: bytes = b"", path: str = "/invocations", connection: http.client.HTTPConnection | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        given = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request("POST" if body else "GET", path, body or None, given)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def samples(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.ask(path="/metrics")[2].decode())
        wanted = {"service": "flights", "colour": "blue", "model_version": "3", "traffic": "live", **labels}
        values = [s.value for f in families for s in f.samples if s.name == name and wanted.items() <= s.labels.items()]
        assert len(values) == 1, (name, labels)
        return float(values[0])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


Start = Callable[..., Colour]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Colour] = []

    def begin(model: Path, *arguments: str, port: int = 0) -> Colour:
        started.append(Colour(tmp_path / f"process{len(started)}", model, *arguments, port=port))
        return started[-1]

    yield begin
    for colour in started:
        colour.end()


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Colour, Path]]:
    folder = tmp_path_factory.mktemp("serving")
    model = save_tiny_model(folder / "model", broken=True)
    colour = Colour(folder / "process", model, "--threads", "2")
    try:
        yield colour.ready(), model
    finally:
        colour.end()


@pytest.fixture(scope="module")
def waiting_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    folder = tmp_path_factory.mktemp("waiting")
    (folder / "waiting.py").write_text(WAITING_MODEL)
    signature = ModelSignature(Schema([ColSpec("string", "wait_for")]))
    mlflow.pyfunc.save_model(
        str(folder / "model"), python_model=str(folder / "waiting.py"), signature=signature, pip_requirements=["mlflow"]
    )
    return folder / "model"


def waiting_for(path: Path | str) -> bytes:
    return json.dumps({"dataframe_records": [{"wait_for": str(path)}]}).encode()


def test_answers_mlflows_own_client(tiny: tuple[Colour, Path]) -> None:
    import pandas
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient
    from mlflow.version import VERSION

    client = ScoringServerClient("127.0.0.1", tiny[0].port)
    client.wait_server_ready(timeout=60)
    assert client.get_version() == VERSION
    frame = pandas.DataFrame([[100.0, -20.0, 7.0], [100.0, 90.0, 7.0]], columns=list(COLUMNS))
    assert client.invoke(frame).get_predictions()[0].tolist() == ["punctual", "late"]


def test_answers_every_path_and_counts_only_scoring(tiny: tuple[Colour, Path]) -> None:
    colour = tiny[0]
    before = colour.samples("mlpipeline_requests_total", code="2xx")
    assert [colour.ask(path=path)[0] for path in ("/ping", "/health", "/ready", "/version", "/metrics")] == [200] * 5
    assert colour.samples("mlpipeline_requests_total", code="2xx") == before
    connection = http.client.HTTPConnection("127.0.0.1", colour.port, timeout=PATIENCE)
    for _ in range(3):
        status, _, body = colour.ask(tiny_request(2), connection=connection)
        assert (status, len(json.loads(body)["predictions"])) == (200, 2)
    connection.close()
    assert colour.samples("mlpipeline_requests_total", code="2xx") == before + 3
    assert (
        b'mlpipeline_model_info{colour="blue",digest="sha256:0",model_version="3",service="flights"} 1.0'
        in colour.ask(path="/metrics")[2]
    )


def test_a_request_that_does_not_fit_the_signature_is_a_400_in_mlflows_shape(tiny: tuple[Colour, Path]) -> None:
    colour = tiny[0]
    before = colour.samples("mlpipeline_requests_total", code="4xx")
    status, _, body = colour.ask(b'{"dataframe_records": [{"distance": "far"}]}')
    assert status == 400
    assert set(json.loads(body)) == {"error_code", "message"}
    assert json.loads(body)["error_code"] == "BAD_REQUEST"
    assert colour.ask(b"<xml/>", Content_Type="application/xml")[0] == 415
    assert colour.samples("mlpipeline_requests_total", code="4xx") == before + 2


def test_a_null_that_breaks_the_model_is_a_500_counted_and_logged(tiny: tuple[Colour, Path]) -> None:
    colour = tiny[0]
    nulls = colour.samples("mlpipeline_input_nulls_total", column="delay", traffic="mirror")
    failed = colour.samples("mlpipeline_requests_total", code="5xx", traffic="mirror")
    status, headers, body = colour.ask(tiny_request(nulls=True), Host="flights-shadow:80", X_Request_Id="night-7")
    assert (status, headers["x-request-id"], json.loads(body)["error_code"]) == (500, "night-7", "INTERNAL_ERROR")
    assert colour.samples("mlpipeline_input_nulls_total", column="delay", traffic="mirror") == nulls + 1
    assert colour.samples("mlpipeline_requests_total", code="5xx", traffic="mirror") == failed + 1
    logged = next(event for event in colour.events() if event.get("request_id") == "night-7")
    assert (logged["status"], logged["traffic"], logged["colour"]) == (500, "mirror", "blue")
    assert "Traceback" in logged["details"]


def test_writes_nothing_beside_its_log(tiny: tuple[Colour, Path]) -> None:
    colour, model = tiny
    before = listing(model), listing(colour.library)
    assert colour.ask(tiny_request())[0] == 200
    assert (listing(model), listing(colour.library)) == before
    assert not [name for name in (*before[0], *before[1]) if "__pycache__" in name]
    assert list(colour.work.iterdir()) == []


def test_a_port_in_use_is_said_in_one_line_with_exit_code_3(tiny: tuple[Colour, Path], start: Start) -> None:
    second = start(tiny[1], port=tiny[0].port)
    assert second.process.wait(PATIENCE) == 3
    assert second.errors.read_text() == f"mlpipeline.serving: 127.0.0.1:{tiny[0].port} is in use by another process\n"


def test_a_folder_without_a_model_is_said_with_exit_code_10(start: Start, tmp_path: Path) -> None:
    colour = start(tmp_path)
    assert colour.process.wait(PATIENCE) == 10
    assert "no file named MLmodel" in colour.event("model cannot be loaded")["message"]


def test_a_model_that_cannot_answer_its_own_example_never_gets_ready(start: Start, waiting_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(waiting_model, model)
    (model / "serving_input_example.json").write_text('{"dataframe_records": [{"wrong": 1}]}')
    colour = start(model)
    assert colour.process.wait(PATIENCE) == 10
    assert "its own input example" in colour.event("model cannot be loaded")["message"]
    assert not [event for event in colour.events() if event["event"] == "ready"]


def test_a_stop_while_the_model_is_loaded_ends_at_once(start: Start, waiting_model: Path) -> None:
    colour = start(waiting_model)
    colour.event("listening")
    assert colour.ask(path="/ready")[0] in {200, 503}
    colour.process.send_signal(signal.SIGTERM)
    assert colour.process.wait(PATIENCE) == 0


def in_background(colour: Colour, body: bytes) -> tuple[threading.Thread, list[tuple[int, http.client.HTTPMessage, bytes]]]:
    answers: list[tuple[int, http.client.HTTPMessage, bytes]] = []
    thread = threading.Thread(target=lambda: answers.append(colour.ask(body)))
    thread.start()
    until(lambda: colour.samples("mlpipeline_requests_in_flight") == 1, "the request is in flight")
    return thread, answers


def test_a_stop_drains_politely(start: Start, waiting_model: Path, tmp_path: Path) -> None:
    colour = start(waiting_model, "--drain-timeout", str(PATIENCE)).ready()
    idle = http.client.HTTPConnection("127.0.0.1", colour.port, timeout=PATIENCE)
    _, headers, _ = colour.ask(waiting_for(""), connection=idle)
    assert headers["connection"] is None
    thread, answers = in_background(colour, waiting_for(tmp_path / "go"))
    colour.process.send_signal(signal.SIGTERM)
    until(lambda: colour.ask(path="/ready")[0] == 503, "the process is no longer ready")
    status, headers, _ = colour.ask(waiting_for(""), connection=idle)
    assert (status, headers["connection"]) == (200, "close")
    assert colour.process.poll() is None
    (tmp_path / "go").touch()
    thread.join(PATIENCE)
    status, headers, body = answers[0]
    assert (status, headers["connection"], json.loads(body)) == (200, "close", {"predictions": ["done"]})
    assert colour.process.wait(PATIENCE) == 0
    assert colour.event("stopped")["exit_code"] == 0


def test_what_is_not_finished_in_time_is_answered_and_said(start: Start, waiting_model: Path, tmp_path: Path) -> None:
    colour = start(waiting_model, "--drain-timeout", "0.5").ready()
    thread, answers = in_background(colour, waiting_for(tmp_path / "never"))
    colour.process.send_signal(signal.SIGTERM)
    assert colour.process.wait(PATIENCE) == 1
    thread.join(PATIENCE)
    assert answers[0][0] == 503
    assert colour.event("cut off")["in_flight"] == 1
