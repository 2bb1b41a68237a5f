"""The process: socket, model, signals, end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from types import FrameType

from uvicorn import Config, Server

from mlpipeline.serving.app import App
from mlpipeline.serving.logs import Log, take_over_library_logs
from mlpipeline.serving.metrics import Metrics, Seen
from mlpipeline.serving.scoring import Scorer, load
from mlpipeline.serving.settings import Settings

EXIT_DRAINED = 0
EXIT_CUT_OFF = 1
EXIT_PORT = 3
EXIT_MODEL = 10

KEEP_ALIVE_SECONDS = 4000
"""Longer than the hour for which Envoy keeps idle connections: the side that sends requests must be the one that closes, or a
request meets a connection that is just being closed."""
QUIET_SECONDS = 0.3
"""No request for so long after the stop signal, and nobody is still sending to this process."""
LAST_WORDS_SECONDS = 1.0
"""What the answers to requests that were cut off get to leave the process."""


class ScoringServer(Server):
    """Uvicorn's server with a polite end.

    On SIGTERM or SIGINT it stops being ready but still accepts and answers, each answer asking the client to close its
    connection, until nobody has sent anything for a moment. A second signal or the end of the drain time answers what is left
    with 503.
    """

    def __init__(self, settings: Settings, app: App, metrics: Metrics, log: Log) -> None:
        config = Config(
            app,
            http="httptools",
            loop="uvloop",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(LAST_WORDS_SECONDS),
        )
        super().__init__(config)
        self.exit_code = EXIT_DRAINED
        self._settings = settings
        self._app = app
        self._metrics = metrics
        self._log = log
        self._loading = True
        self._stop_at: float | None = None
        self._signals = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer and to load the model, in this order, so that whoever waits for it is told that it is coming."""
        await super().startup(sockets)
        self._log.event("listening", port=sockets[0].getsockname()[1] if sockets else self._settings.port, pid=os.getpid())
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._load, args=(loop,), name="load", daemon=True).start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is Uvicorn's
        """The signal handler: only notes what came; ``on_tick`` acts on it within a tenth of a second."""
        self._signals += 1

    async def on_tick(self, counter: int) -> bool:
        """Called by Uvicorn ten times a second. True ends the server."""
        if await super().on_tick(counter):
            return True
        if not self._signals:
            return False
        now = monotonic()
        if self._stop_at is None:
            self._start_draining(now)
        return self._is_over(now)

    @property
    def must_end_at_once(self) -> bool:
        """Threads are still in foreign code that cannot be stopped, so the interpreter's own end would wait for them."""
        return self._loading or self._app.busy_threads > 0

    def _start_draining(self, now: float) -> None:
        self._app.draining = True
        self._stop_at = now + self._settings.drain_timeout
        self._log.event("draining", in_flight=self._app.in_flight, seconds=self._settings.drain_timeout)

    def _is_over(self, now: float) -> bool:
        if self._loading or (self._app.in_flight == 0 and now - self._app.last_request >= QUIET_SECONDS):
            return True
        if self._stop_at is not None and (now >= self._stop_at or self._signals > 1):
            if left := self._app.in_flight:
                self.exit_code = EXIT_CUT_OFF
                self._log.event("cut off", in_flight=left)
                self._app.cut_off()
            return True
        return False

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        start = monotonic()
        outcome: Callable[[], None]
        try:
            scorer = load(self._settings.model)
            take_over_library_logs(self._log)
            seen = scorer.warm_up(self._settings.warm_up_rows)
        except (Exception, SystemExit) as fault:  # noqa: BLE001 - a model's code may raise anything while it is loaded
            self._log.event("model cannot be loaded", model=str(self._settings.model), message=f"{type(fault).__name__}: {fault}")
            outcome = self._give_up
        else:
            outcome = partial(self._begin, scorer, seen, monotonic() - start)
        with suppress(RuntimeError):  # the loop ended meanwhile
            loop.call_soon_threadsafe(outcome)

    def _begin(self, scorer: Scorer, seen: Seen, seconds: float) -> None:
        self._loading = False
        self._metrics.expect(scorer.columns, seen)
        self._app.serve(scorer)
        self._log.event("ready", seconds=round(seconds, 3), together=scorer.shown.together, arrays=scorer.shown.arrays)

    def _give_up(self) -> None:
        self._loading = False
        self.exit_code = EXIT_MODEL
        self.should_exit = True


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises OSError when the address is taken or is none of this machine."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=2048)


def main(settings: Settings) -> int:
    """Serves until it is told to stop.

    Returns:
        0 after a complete drain, 1 when requests were cut off at its end, 3 when the port is not to be had, 10 when the model
        cannot be loaded or does not answer its own input example.
    """
    sys.dont_write_bytecode = True
    log = Log({"service": settings.service, "colour": settings.colour, "model_version": settings.model_version})
    take_over_library_logs(log)
    try:
        listener = listen(settings)
    except OSError as fault:
        why = "is in use by another process" if fault.errno == errno.EADDRINUSE else f"cannot be used: {fault.strerror}"
        sys.stderr.write(f"mlpipeline.serving: {settings.host}:{settings.port} {why}\n")
        return EXIT_PORT
    metrics = Metrics(settings)
    app = App(settings, metrics, log)
    server = ScoringServer(settings, app, metrics, log)
    server.run(sockets=[listener])
    app.close()
    log.event("stopped", exit_code=server.exit_code)
    if server.must_end_at_once:
        os._exit(server.exit_code)
    return server.exit_code
