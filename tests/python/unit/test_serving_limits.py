"""The limits of the serving process: how they reach it, what a full queue answers, and what it keeps of requests."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlpipeline.config.load import load
from mlpipeline.config.sections.target import Serving
from mlpipeline.config.serving import variables
from mlpipeline.config.values import Duration
from mlpipeline.errors import ConfigurationError
from mlpipeline.serving.app import App
from mlpipeline.serving.logs import Log
from mlpipeline.serving.metrics import Metrics, Seen
from mlpipeline.serving.samples import LARGEST, Samples
from mlpipeline.serving.scoring import Reply, Scorer
from mlpipeline.serving.settings import OPTIONS, Settings, parse


class Echo(Scorer):
    """Answers with what it got; blocks while ``gate`` is closed."""

    def __init__(self) -> None:
        self.columns = ()
        self.gate = threading.Event()
        self.gate.set()

    def score(self, body: bytes, content_type: str) -> Reply:
        assert self.gate.wait(60)
        return Reply(400, body, problem="bad") if body == b"bad" else Reply(200, body)


def app_of(scorer: Scorer, **more: Any) -> App:
    settings = Settings(model=Path("model"), **more)
    metrics = Metrics(settings)
    metrics.expect([], Seen())
    app = App(settings, metrics, Log({}))
    app.serve(scorer)
    return app


async def ask(app: App, body: bytes, request_id: str = "r-1") -> tuple[int, dict[str, str], bytes]:
    messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode()), (b"host", b"x")]
    await app({"type": "http", "method": "POST", "path": "/invocations", "headers": headers}, receive, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}, sent[1]["body"]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("status", [503, 429])
def test_a_full_queue_answers_as_it_is_told_and_says_when_to_come_back(status: int) -> None:
    async def scenario() -> None:
        echo = Echo()
        echo.gate.clear()
        app = app_of(echo, threads=1, queue=0, when_full=status)
        waiting = asyncio.create_task(ask(app, b"{}"))
        while not app.busy_threads:
            await asyncio.sleep(0.001)
        refused, headers, body = await ask(app, b"{}")
        assert refused == status
        assert headers["retry-after"] == "1"
        assert json.loads(body)["error_code"] == "RESOURCE_EXHAUSTED"
        echo.gate.set()
        assert (await waiting)[0] == 200

    asyncio.run(scenario())


def test_every_request_is_a_line_with_its_id_when_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for asked in (True, False):
        status, headers, _ = asyncio.run(ask(app_of(Echo(), log_requests=asked), b"{}", request_id="abc-1"))
        assert (status, headers["x-request-id"]) == (200, "abc-1")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [(one["event"], one["request_id"], one["status"]) for one in lines] == (
            [("request", "abc-1", 200)] if asked else []
        )


# --- samples ----------------------------------------------------------------------------------------------------------


def test_a_sample_is_kept_with_id_body_and_answer_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "requests.jsonl"
    app = app_of(Echo(), sample_file=file, sample_share=1.0)

    async def scenario() -> None:
        for number, body in enumerate((b'{"a": 1}', b"\xff\xfe", b"bad")):
            await ask(app, body, request_id=f"r-{number}")

    asyncio.run(scenario())
    app.close()
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one["request_id"] for one in kept] == ["r-0", "r-1"]
    assert (kept[0]["body"], kept[0]["answer"], kept[0]["traffic"]) == ('{"a": 1}', '{"a": 1}', "live")
    assert "body_base64" in kept[1]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nothing_is_kept_unless_asked_for(tmp_path: Path) -> None:
    app = app_of(Echo(), sample_file=tmp_path / "requests.jsonl")
    asyncio.run(ask(app, b"{}"))
    app.close()
    assert not list(tmp_path.iterdir())


def offered(samples: Samples, number: int, size: int = 100) -> None:
    samples.offer(request_id=str(number).encode(), traffic="live", content_type="x", body=b"b" * size, answer=b"a")


def test_the_files_never_grow_beyond_their_limit_and_hold_the_newest(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    samples = Samples(file, 1.0, 4000, Log({}))
    for number in range(200):
        offered(samples, number)
        until(lambda: samples._waiting.qsize() < 100)
    samples.close()
    until(lambda: not samples._thread.is_alive())
    files = [Path(f"{file}.1"), file]
    assert sum(one.stat().st_size for one in files) <= 4000 + 2 * 300
    kept = [json.loads(line)["request_id"] for one in files for line in one.read_text().splitlines()]
    assert kept == [str(number) for number in range(200 - len(kept), 200)]


def test_a_share_is_about_that_share(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    samples = Samples(file, 0.1, 1 << 20, Log({}))
    for number in range(3000):
        offered(samples, number)
        until(lambda: samples._waiting.qsize() < 200)
    samples.close()
    until(lambda: not samples._thread.is_alive())
    assert 200 < len(file.read_text().splitlines()) < 420


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    samples = Samples(file, 1.0, 1 << 20, Log({}))
    offered(samples, 1, LARGEST + 1)
    offered(samples, 2)
    samples.close()
    until(lambda: not samples._thread.is_alive())
    assert json.loads(file.read_text())["left_out_before"] == 1


def test_a_disk_that_takes_nothing_ends_the_sampling_and_not_the_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    app = app_of(Echo(), sample_file=tmp_path / "file" / "requests.jsonl", sample_share=1.0)
    assert asyncio.run(ask(app, b"{}"))[0] == 200
    until(lambda: app._samples is not None and not app._samples._thread.is_alive())
    assert asyncio.run(ask(app, b"{}"))[0] == 200
    assert "sampling ended" in capsys.readouterr().err


# --- how the limits reach the process ---------------------------------------------------------------------------------


def test_the_configuration_reaches_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    serving = Serving(
        queue=3,
        when_full="too-many-requests",
        body_limit="1MiB",
        time_limit=Duration(2.5),
        log_requests=True,
        sample=0.5,
        sample_size="2MiB",
    )
    for name, value in variables(serving, "/state/requests.jsonl").items():
        monkeypatch.setenv(name, value)
    settings = parse(["--model", "m"])
    assert (settings.queue, settings.when_full, settings.body_limit, settings.time_limit) == (3, 429, 1 << 20, 2.5)
    assert (settings.log_requests, settings.sample_share, settings.sample_bytes) == (True, 0.5, 2 << 20)
    assert settings.sample_file == Path("/state/requests.jsonl")
    assert parse(["--model", "m", "--queue", "9"]).queue == 9


def test_the_defaults_of_both_sides_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert variables(Serving(), "x") == {}
    changed = variables(Serving(log_requests=True), "x")
    monkeypatch.setenv(OPTIONS, changed[OPTIONS])
    known, own = parse(["--model", "m"]), Settings(model=Path("m"), log_requests=True)
    assert known == own


def test_what_another_version_says_is_passed_over_and_nonsense_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(OPTIONS, '{"of_the_future": 1, "queue": 5}')
    assert parse(["--model", "m"]).queue == 5
    for wrong in ("[1]", "{", '{"queue": "many"}', '{"queue": true}'):
        monkeypatch.setenv(OPTIONS, wrong)
        with pytest.raises(SystemExit) as ended:
            parse(["--model", "m"])
        assert ended.value.code == 2
        assert OPTIONS in capsys.readouterr().err


@pytest.mark.parametrize("line", ["body_limit: 64", "body_limit: 0MiB", "sample_size: huge", "time_limit: 0s", "sample: 2"])
def test_impossible_limits_are_refused_where_they_stand(tmp_path: Path, line: str) -> None:
    text = f"service: s\ntrain: {{command: x}}\ntarget:\n  local:\n    serving:\n      {line}\n"
    (tmp_path / "mlpipeline.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, environment={})
    assert line.partition(":")[0] in refused.value.render()
