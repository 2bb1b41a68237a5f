"""Users: a constant load of scoring requests, over kept and over fresh connections, that remembers each answer."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from itertools import cycle


@dataclass(frozen=True)
class Answer:
    """``at`` is when the answer was there (monotonic seconds); ``status`` 0 means that none came."""

    at: float
    status: int
    colour: str
    seconds: float


@dataclass
class Users:
    """Sends ``per_second`` requests a second until stopped; every third over a fresh connection."""

    host: str
    port: int
    per_second: float
    bodies: list[bytes]
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    THREADS = 3

    def start(self) -> None:
        """Begins to send, from a few threads that share the rate."""
        for number in range(self.THREADS):
            thread = threading.Thread(target=self._send, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Ends after the requests in flight were answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def ask_about(self, bodies: list[bytes]) -> None:
        """Time goes on: users now ask about other flights."""
        self.bodies = bodies

    def _send(self, number: int) -> None:
        fresh = number == 0
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        pause = self.THREADS / self.per_second
        due = time.monotonic() + number * pause / self.THREADS
        for index in cycle(range(number, 1_000_000, self.THREADS)):
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            # A late sender does not send a burst to catch up: users do not either.
            due = max(due + pause, time.monotonic())
            if fresh:
                connection.close()
            self.answers.append(self._ask(connection, self.bodies[index % len(self.bodies)]))
        connection.close()

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, body: bytes) -> Answer:
        begun = time.monotonic()
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return Answer(time.monotonic(), 0, "", time.monotonic() - begun)
        return Answer(
            time.monotonic(), response.status, response.headers.get("x-mlpipeline-colour", ""), time.monotonic() - begun
        )
