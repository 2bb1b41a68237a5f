"""What the serving application promises around the model: limits, the queue, draining, counting. The model is a fake here."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mlpipeline.serving.app import App
from mlpipeline.serving.logs import Log
from mlpipeline.serving.metrics import Metrics, Seen
from mlpipeline.serving.scoring import Reply, Scorer
from mlpipeline.serving.settings import Settings


class FakeScorer(Scorer):
    """Answers with what it got; blocks while ``gate`` is closed."""

    def __init__(self) -> None:
        self.mlflow_version = "9.9.9"
        self.columns = ("delay",)
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.reply: Callable[[bytes], Reply] = lambda body: Reply(200, body, seen=Seen(nulls={"delay": 1}, labels={"late": 2}))

    def score(self, body: bytes, content_type: str) -> Reply:
        self.started.release()
        assert self.gate.wait(60)
        return self.reply(body)


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


class Server:
    """The application and a client in one."""

    def __init__(self, *, loaded: bool = True, **settings: Any) -> None:
        self.settings = Settings(model=Path("model"), service="churn", colour="green", model_version="7", **settings)
        self.metrics = Metrics(self.settings)
        self.metrics.expect(["delay"], Seen(labels={"late": 0, "punctual": 0}))
        self.scorer = FakeScorer()
        self.app = App(self.settings, self.metrics, Log({"service": "churn"}))
        if loaded:
            self.app.serve(self.scorer)

    async def ask(
        self,
        path: str = "/invocations",
        body: bytes = b"{}",
        *,
        method: str = "POST",
        chunks: list[bytes] | None = None,
        **headers: str,
    ) -> Answer:
        given = {
            "host": "localhost:80",
            "content-type": "application/json",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        if chunks is None:
            given.setdefault("content-length", str(len(body)))
        parts = chunks if chunks is not None else [body]
        messages = [
            {"type": "http.request", "body": part, "more_body": index < len(parts) - 1} for index, part in enumerate(parts)
        ]
        messages.append({"type": "http.disconnect"})
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        }
        await self.app(scope, receive, send)
        if not sent:
            return Answer(0, {}, b"")
        head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], head, sent[1]["body"])

    async def get(self, path: str) -> Answer:
        return await self.ask(path, b"", method="GET")

    def sample(self, name: str, **labels: str) -> float:
        wanted = {"service": "churn", "colour": "green", "model_version": "7", "traffic": "live", **labels}
        found = [
            s.value for m in self.metrics.collect() for s in m.samples if s.name == name and wanted.items() <= s.labels.items()
        ]
        assert len(found) == 1, (name, labels, found)
        return found[0]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_answers_and_counts_a_request() -> None:
    async def scenario() -> None:
        server = Server()
        answer = await server.ask(body=b'{"inputs": [1]}')
        assert (answer.status, answer.body) == (200, b'{"inputs": [1]}')
        assert answer.headers["content-length"] == "15"
        assert server.sample("mlpipeline_requests_total", code="2xx") == 1
        assert server.sample("mlpipeline_request_seconds_count") == 1
        assert server.sample("mlpipeline_predictions_total", label="late") == 2
        assert server.sample("mlpipeline_predictions_total", label="punctual") == 0
        assert server.sample("mlpipeline_input_nulls_total", column="delay") == 1
        assert server.sample("mlpipeline_requests_in_flight") == 0
        assert server.sample("mlpipeline_requests_total", code="2xx", traffic="mirror") == 0

    run(scenario)


@pytest.mark.parametrize("host", ["flights-shadow", "127.0.0.1-shadow:8080", "127.0.0.1:8080-shadow"])
def test_mirrored_requests_are_counted_apart(host: str) -> None:
    async def scenario() -> None:
        server = Server()
        await server.ask(host=host)
        assert server.sample("mlpipeline_requests_total", code="2xx", traffic="mirror") == 1
        assert server.sample("mlpipeline_requests_total", code="2xx", traffic="live") == 0

    run(scenario)


def test_other_paths_are_not_counted_as_requests() -> None:
    async def scenario() -> None:
        server = Server()
        answers = [await server.get(path) for path in ("/ping", "/health", "/ready", "/version", "/metrics", "/nothing")]
        assert [answer.status for answer in answers] == [200, 200, 200, 200, 200, 404]
        assert answers[0].body == b"\n"
        assert answers[3].body == b"9.9.9"
        assert b'mlpipeline_requests_total{code="2xx",colour="green"' in answers[4].body
        assert server.sample("mlpipeline_request_seconds_count") == 0

    run(scenario)


def test_before_the_model_is_loaded_nothing_is_ready() -> None:
    async def scenario() -> None:
        server = Server(loaded=False)
        assert [(await server.get(path)).status for path in ("/ping", "/ready", "/version")] == [503, 503, 503]
        answer = await server.ask()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")

    run(scenario)


def test_wrong_methods_are_told_the_right_one() -> None:
    async def scenario() -> None:
        server = Server()
        assert (await server.ask(method="GET")).headers["allow"] == "POST"
        assert (await server.ask("/ready", method="POST")).headers["allow"] == "GET, HEAD"

    run(scenario)


def test_a_body_over_the_limit_is_refused_by_its_announced_and_by_its_real_size() -> None:
    async def scenario() -> None:
        server = Server(body_limit=10)
        for answer in (await server.ask(body=b"x" * 11), await server.ask(chunks=[b"x" * 6, b"x" * 6])):
            assert answer.status == 413
            assert answer.headers["connection"] == "close"
            assert json.loads(answer.body)["error_code"] == "BAD_REQUEST"
        assert (await server.ask(chunks=[b"x" * 5, b"x" * 5])).body == b"x" * 10
        assert server.sample("mlpipeline_requests_total", code="4xx") == 2

    run(scenario)


def test_a_client_that_goes_away_while_sending_gets_no_answer() -> None:
    async def scenario() -> None:
        server = Server()
        assert (await server.ask(chunks=[])).status == 0
        assert server.sample("mlpipeline_requests_total", code="4xx") == 1
        assert server.sample("mlpipeline_requests_in_flight") == 0

    run(scenario)


def test_a_full_queue_answers_503_at_once_and_opens_again() -> None:
    async def scenario() -> None:
        server = Server(threads=1, queue=1)
        server.scorer.gate.clear()
        waiting = [asyncio.create_task(server.ask()) for _ in range(2)]
        await until(lambda: server.app.busy_threads == 2)
        refused = await server.ask()
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert json.loads(refused.body)["error_code"] == "RESOURCE_EXHAUSTED"
        assert server.sample("mlpipeline_requests_in_flight") == 2
        server.scorer.gate.set()
        assert [(await task).status for task in waiting] == [200, 200]
        assert (await server.ask()).status == 200
        assert server.sample("mlpipeline_requests_total", code="5xx") == 1

    run(scenario)


def test_a_hung_model_is_answered_for_and_keeps_its_thread_until_it_returns() -> None:
    async def scenario() -> None:
        server = Server(threads=1, queue=1, time_limit=0.05)
        server.scorer.gate.clear()
        answers = await asyncio.gather(server.ask(), server.ask())
        assert [answer.status for answer in answers] == [504, 504]
        assert server.app.in_flight == 0
        await until(lambda: server.app.busy_threads == 1)  # the waiting one was taken back, the running one cannot be
        server.scorer.gate.set()
        await until(lambda: server.app.busy_threads == 0)

    run(scenario)


def test_draining_answers_and_asks_clients_to_leave() -> None:
    async def scenario() -> None:
        server = Server()
        server.app.draining = True
        ready = await server.get("/ready")
        assert (ready.status, json.loads(ready.body)) == (503, {"ready": False, "why": "draining"})
        answer = await server.ask()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert (await server.get("/ping")).status == 200

    run(scenario)


def test_cut_off_answers_everything_in_flight_with_503() -> None:
    async def scenario() -> None:
        server = Server()
        server.scorer.gate.clear()
        waiting = asyncio.create_task(server.ask())
        await until(lambda: server.app.busy_threads == 1)
        server.app.cut_off()
        assert (await waiting).status == 503
        server.scorer.gate.set()
        await until(lambda: server.app.busy_threads == 0)

    run(scenario)


def test_the_request_id_comes_back_and_stands_in_the_log_of_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        server = Server()
        assert (await server.ask(x_request_id="abc-1")).headers["x-request-id"] == "abc-1"
        assert capsys.readouterr().err == ""
        server.scorer.reply = lambda _: Reply(500, b"{}", problem="INTERNAL_ERROR: broken", details="Traceback")
        await server.ask(x_request_id="abc-2")
        line = json.loads(capsys.readouterr().err)
        assert (line["event"], line["request_id"], line["status"]) == ("request failed", "abc-2", 500)
        assert (line["message"], line["details"], line["traffic"]) == ("INTERNAL_ERROR: broken", "Traceback", "live")

    run(scenario)


@pytest.mark.parametrize("given", ["a" * 129, "tab\tinside", "umlaut-ü", ""])
def test_an_unsafe_request_id_is_replaced(given: str) -> None:
    async def scenario() -> None:
        answer = await Server().ask(x_request_id=given)
        assert len(answer.headers["x-request-id"]) == 32
        assert answer.headers["x-request-id"] != given

    run(scenario)
