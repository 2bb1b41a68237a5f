"""A client that asks a service at a constant rate and remembers every answer: who gave it, when, and what failed.

Used by contract tests, benchmarks and the demo. It runs an event loop in a thread of its own, so that whatever it watches can
block. Only the standard library is used: a client library would cost more than the service under test.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit

COLOUR_HEADER = "x-mlpipeline-colour"
ANSWER_SECONDS = 30.0
FAILURES_KEPT = 20


class Answer(NamedTuple):
    """One finished request.

    ``at`` is ``time.monotonic()`` when the answer was complete, ``seconds`` how long it took, ``status`` 0 when there was no
    answer, ``colour`` empty when the answer named none, ``fresh`` whether the connection was new.
    """

    at: float
    seconds: float
    status: int
    colour: str
    fresh: bool

    @property
    def failed(self) -> bool:
        return not 200 <= self.status < 300


@dataclass
class ConstantLoad:
    """Constant load on ``POST /invocations``; a context manager, or ``start`` and ``stop``.

    Args:
        address: ``http://host:port``.
        bodies: JSON request bodies, sent in turn, again and again.
        rate: Requests per second, of both kinds together.
        keep_alive: How many clients keep their connection.
        fresh: How many clients connect anew for each request.
    """

    address: str
    bodies: Sequence[bytes] = (b"{}",)
    rate: float = 200.0
    keep_alive: int = 4
    fresh: int = 4
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Of the first few failed requests: status or error, and the colour if known."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._bodies: Iterator[bytes] = itertools.cycle(self.bodies)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="constant load", daemon=True)

    def start(self) -> ConstantLoad:
        self._thread.start()
        return self

    def stop(self) -> None:
        """No more requests; those in flight are waited for."""
        self._ending.set()
        self._thread.join()

    def __enter__(self) -> ConstantLoad:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def sent(self) -> int:
        """Requests that were answered or failed so far."""
        return len(self.answers)

    @property
    def failed(self) -> int:
        return sum(answer.failed for answer in list(self.answers))

    def by_colour(self, since: float = 0.0) -> Counter[str]:
        """Answers per colour from the monotonic time ``since`` on; failed ones under the colour that failed, or ``""``."""
        return Counter(answer.colour for answer in list(self.answers) if answer.at >= since)

    def last(self, colour: str, since: float = 0.0) -> float | None:
        """Monotonic time of the last answer of a colour; None when it gave none since then."""
        return max((answer.at for answer in list(self.answers) if answer.colour == colour and answer.at >= since), default=None)

    def first(self, colour: str, since: float = 0.0) -> float | None:
        """Monotonic time of the first answer of a colour; None when it gave none since then."""
        return min((answer.at for answer in list(self.answers) if answer.colour == colour and answer.at >= since), default=None)

    def wait_for(self, colour: str, number: int = 1, since: float = 0.0, within: float = 30.0) -> bool:
        """Waits until the colour has answered so often since then; False when it has not in time (seconds)."""
        deadline = time.monotonic() + within
        while self.by_colour(since)[colour] < number:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    async def _run(self) -> None:
        clients = self.keep_alive + self.fresh
        period = clients / self.rate
        begin = time.monotonic()
        kinds = [False] * self.keep_alive + [True] * self.fresh
        await asyncio.gather(
            *(self._client(fresh, begin + period * index / clients, period) for index, fresh in enumerate(_mixed(kinds)))
        )

    async def _client(self, fresh: bool, due: float, period: float) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._ending.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + period, time.monotonic() - period)
            begin, was_new = time.monotonic(), connection is None
            status, colour, problem = 0, "", ""
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    connection = connection or await asyncio.open_connection(self._host, self._port)
                    status, colour, closing = await self._ask(*connection)
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
                problem, closing = repr(error), True
            if connection is not None and (fresh or closing):
                connection[1].close()
                connection = None
            answer = Answer(time.monotonic(), time.monotonic() - begin, status, colour, was_new)
            self.answers.append(answer)
            if answer.failed and len(self.failures) < FAILURES_KEPT:
                connected = "new" if was_new else "kept"
                self.failures.append(f"{problem or status} from {colour or 'nobody'} on a {connected} connection")
        if connection is not None:
            connection[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str, bool]:
        body = next(self._bodies)
        head = (
            f"POST /invocations HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
        else:
            await reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers.get(COLOUR_HEADER, ""), headers.get("connection") == "close"


def _mixed(kinds: Iterable[bool]) -> list[bool]:
    """Kept and new connections take turns, so that both meet every moment of a switch."""
    ordered = sorted(kinds)
    half = len(ordered) // 2
    return [kind for pair in itertools.zip_longest(ordered[:half], ordered[half:]) for kind in pair if kind is not None]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
