"""The ASGI application: paths, limits, the queue in front of the model, draining.

It is plain ASGI without a framework: six fixed paths need none, and a framework's request and response objects would cost more
per request than this whole module. Everything here runs in the event loop's thread; only ``Scorer.score`` runs in the pool's.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, perf_counter
from typing import Any

from mlpipeline.serving.answers import ANSWERS_PATH, Kept, is_direct, is_key
from mlpipeline.serving.batches import BODY_LIMIT, Batcher
from mlpipeline.serving.logs import Log
from mlpipeline.serving.metrics import Counts, Metrics
from mlpipeline.serving.samples import Samples
from mlpipeline.serving.scoring import JSON, Reply, Scorer, refusal
from mlpipeline.serving.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
SCORING_PATH = "/invocations"
MIRROR_SUFFIX = b"-shadow"
"""What Envoy appends to the host of a mirrored request."""
REQUEST_ID_LIMIT = 128
KEY_SECONDS = 5.0
DISCARDED_BYTES = 4 << 30
"""The most of a refused body that is still taken."""
COLOUR_HEADER = b"x-mlpipeline-colour"
"""Names the colour that answered, so that a client can see a switch."""


class Gone(Exception):
    """The client went away before its request was complete."""


class App:
    """Answers requests.

    Args:
        settings: The process's settings.
        metrics: Where requests are counted.
        log: Where problems are written.
    """

    def __init__(self, settings: Settings, metrics: Metrics, log: Log) -> None:
        self.draining = False
        self.last_request = monotonic()
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._scorer: Scorer | None = None
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="score")
        self._admitted = 0
        self._batcher = Batcher(self._pool, max(1, settings.threads // 2), self._release)
        self._samples = (
            Samples(settings.sample_file, settings.sample_share, settings.sample_bytes, log)
            if settings.sample_file is not None and settings.sample_share > 0
            else None
        )
        self._deadlines: set[asyncio.Timeout] = set()
        self._cut_off = False
        self._kept = Kept(settings.keep_answers) if settings.keep_answers else None
        self._paths: dict[str, Callable[[], Reply]] = {
            "/ping": self._health,
            "/health": self._health,
            "/ready": self._ready,
            "/version": self._version,
            "/metrics": self._render_metrics,
        }

    def serve(self, scorer: Scorer) -> None:
        """From now on requests are scored and ``/ready`` says 200."""
        self._scorer = scorer

    @property
    def in_flight(self) -> int:
        """Scoring requests that were not yet answered."""
        return self._metrics.live.in_flight + self._metrics.mirror.in_flight

    @property
    def busy_threads(self) -> int:
        """Predictions that run or wait, also those whose client was already told that it took too long."""
        return self._admitted

    def close(self) -> None:
        """Writes what is sampled and not yet on the disk."""
        if self._samples is not None:
            self._samples.close()

    def cut_off(self) -> None:
        """Answers everything in flight with 503 now: its time to finish after the stop signal is over."""
        self._cut_off = True
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            deadline.reschedule(now)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI 3 hands it over."""
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b""))
        if scope["path"] == SCORING_PATH:
            counts = self._metrics.mirror if _is_mirrored(headers.get(b"host", b"")) else self._metrics.live
            traffic = "mirror" if counts is self._metrics.mirror else "live"
            answer = self._answer(scope["method"], headers, receive, request_id=request_id, traffic=traffic)
            await self._score(counts, answer, request_id, send)
            return
        if self._kept is not None and scope["path"] == ANSWERS_PATH and await self._may_ask(scope, headers, receive):
            await self._send(send, Reply(200, self._kept.render()), request_id)
            return
        await self._send(send, self._simple(scope["method"], scope["path"]), request_id)

    async def _may_ask(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bool:
        """Whether it is told what was answered. Nothing is read but what has the length of the key."""
        if is_direct(scope.get("client"), headers):
            return True
        key = self._settings.answers_key
        if scope["method"] != "POST" or headers.get(b"content-length") != str(len(key)).encode():
            return False
        try:
            async with asyncio.timeout(KEY_SECONDS):
                return is_key(key, await self._read(headers, receive) or b"")
        except (Gone, TimeoutError):
            return False

    async def _score(self, counts: Counts, answer: Awaitable[Reply], request_id: bytes, send: Send) -> None:
        start = perf_counter()
        self.last_request = monotonic()
        counts.in_flight += 1
        try:
            reply = await answer
            counts.answered(reply.status, perf_counter() - start)
            if reply.seen is not None:
                counts.add(reply.seen)
            if self._kept is not None and reply.status == 200:
                self._kept.add(request_id, reply.body)
            if reply.problem:
                self._tell(reply, request_id, counts)
            elif self._settings.log_requests:
                self._note(reply, request_id, counts, perf_counter() - start)
            await self._send(send, reply, request_id)
        except Gone:
            counts.answered(499, perf_counter() - start)
        finally:
            counts.in_flight -= 1

    async def _answer(
        self, method: str, headers: dict[bytes, bytes], receive: Receive, *, request_id: bytes, traffic: str
    ) -> Reply:
        if method != "POST":
            return refusal(405, "BAD_REQUEST", f"{SCORING_PATH} takes POST, not {method}", allow="POST")
        scorer = self._scorer
        if scorer is None:
            return refusal(503, "TEMPORARILY_UNAVAILABLE", "The model is still being loaded.")
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        body: bytes | None = None
        deadline = asyncio.timeout(self._settings.time_limit)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                body = await self._read(headers, receive)
                if body is None:
                    return refusal(413, "BAD_REQUEST", f"The body is larger than {self._settings.body_limit} bytes.")
                reply = await self._queue(scorer, body, content_type)
                if self._samples is not None and reply.status == 200:
                    self._samples.offer(
                        request_id=request_id, traffic=traffic, content_type=content_type, body=body, answer=reply.body
                    )
                return reply
        except TimeoutError:
            return self._too_late(received=body is not None)
        finally:
            self._deadlines.discard(deadline)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The body, or nothing when it is too large, which is known from its announced length if there is one."""
        limit = self._settings.body_limit
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            if headers.get(b"expect", b"").lower() != b"100-continue":  # a client that asks first has not sent anything
                await self._discard(receive)
            return None
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            chunk: bytes = message.get("body", b"")
            body = body + chunk if body else chunk
            if len(body) > limit:
                if message.get("more_body", False):
                    await self._discard(receive)
                return None
            if not message.get("more_body", False):
                return body

    async def _discard(self, receive: Receive) -> None:
        """Takes the rest of a body that is refused: whoever still sends when the connection is closed gets a reset, never the
        answer. One that sends without end is not waited for."""
        left = DISCARDED_BYTES
        while left > 0:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                return

    async def _queue(self, scorer: Scorer, body: bytes, content_type: str) -> Reply:
        if self._admitted >= self._settings.threads + self._settings.queue:
            return refusal(
                self._settings.when_full, "RESOURCE_EXHAUSTED", f"{self._admitted} requests are already waiting for the model."
            )
        loop = asyncio.get_running_loop()
        self._admitted += 1
        if scorer.batches and content_type == JSON and len(body) <= BODY_LIMIT:
            return await self._batcher.answer(body, scorer.score_many)
        job = self._pool.submit(scorer.score, body, content_type)
        try:
            return await asyncio.wrap_future(job, loop=loop)
        finally:
            if job.done():
                self._admitted -= 1
            else:
                # The client was told that it took too long, but the thread is still busy and its place is taken.
                job.add_done_callback(lambda done: self._release_later(loop, done))

    def _release_later(self, loop: asyncio.AbstractEventLoop, _: Future[Reply]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self._admitted -= 1

    def _too_late(self, *, received: bool) -> Reply:
        if self._cut_off:
            return refusal(503, "TEMPORARILY_UNAVAILABLE", "The server stopped before the model had answered.")
        if received:
            return refusal(504, "DEADLINE_EXCEEDED", f"The model did not answer within {self._settings.time_limit:g} s.")
        return refusal(408, "DEADLINE_EXCEEDED", f"The request did not arrive within {self._settings.time_limit:g} s.")

    def _simple(self, method: str, path: str) -> Reply:
        action = self._paths.get(path)
        if action is None:
            return refusal(404, "ENDPOINT_NOT_FOUND", f"There is no {path} here.")
        if method not in {"GET", "HEAD"}:
            return refusal(405, "BAD_REQUEST", f"{path} takes GET, not {method}", allow="GET, HEAD")
        return action()

    def _health(self) -> Reply:
        return Reply(200 if self._scorer is not None else 503, b"\n")

    def _ready(self) -> Reply:
        why = "draining" if self.draining else "loading" if self._scorer is None else ""
        if why:
            return Reply(503, json.dumps({"ready": False, "why": why}).encode())
        return Reply(200, b'{"ready": true}')

    def _version(self) -> Reply:
        if self._scorer is None:
            return refusal(503, "TEMPORARILY_UNAVAILABLE", "The model is still being loaded.")
        return Reply(200, self._scorer.mlflow_version.encode())

    def _render_metrics(self) -> Reply:
        return Reply(200, self._metrics.render(), PROMETHEUS_TEXT)

    async def _send(self, send: Send, reply: Reply, request_id: bytes) -> None:
        headers = [
            (b"content-type", reply.media_type.encode()),
            (b"content-length", str(len(reply.body)).encode()),
            (b"x-request-id", request_id),
        ]
        if self._settings.colour:
            headers.append((COLOUR_HEADER, self._settings.colour.encode()))
        if self.draining or reply.status in {408, 413}:
            headers.append((b"connection", b"close"))
        if reply.status in {429, 503}:
            headers.append((b"retry-after", b"1"))
        if reply.allow:
            headers.append((b"allow", reply.allow.encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def _note(self, reply: Reply, request_id: bytes, counts: Counts, seconds: float) -> None:
        self._log.event(
            "request",
            request_id=request_id.decode("latin-1"),
            traffic="mirror" if counts is self._metrics.mirror else "live",
            status=reply.status,
            seconds=round(seconds, 6),
            bytes=len(reply.body),
        )

    def _tell(self, reply: Reply, request_id: bytes, counts: Counts) -> None:
        self._log.problem(
            "request failed" if reply.status >= 500 else "request refused",
            request_id=request_id.decode("latin-1"),
            traffic="mirror" if counts is self._metrics.mirror else "live",
            status=reply.status,
            message=reply.problem,
            **({"details": reply.details} if reply.details else {}),
        )


def _is_mirrored(host: bytes) -> bool:
    return host.endswith(MIRROR_SUFFIX) or host.rpartition(b":")[0].endswith(MIRROR_SUFFIX)


def _request_id(given: bytes) -> bytes:
    """The client's own id if it is safe to repeat in a header and a log line, else a new one."""
    if given and len(given) <= REQUEST_ID_LIMIT and given.isascii() and given.decode("ascii").isprintable():
        return given
    return uuid.uuid4().hex.encode()
