"""Log lines as JSON objects on standard error: one for each start, stop and problem, none for a request that went well."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Mapping

LINES_PER_SECOND = 20
"""More problems than these in one second are only counted, so that a flood of bad requests cannot fill a disk."""


class Log:
    """Writes events with the process's identity. May be used from several threads at once."""

    def __init__(self, identity: Mapping[str, str]) -> None:
        self._identity = dict(identity)
        self._lock = threading.Lock()
        self._second = 0
        self._lines = 0
        self._suppressed = 0

    def event(self, name: str, **facts: object) -> None:
        """Writes one line at once."""
        line = {"time": round(time.time(), 3), "event": name, **self._identity, **facts}
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

    def problem(self, name: str, **facts: object) -> None:
        """Writes one line unless there were too many in this second; the next line says how many were left out."""
        with self._lock:
            if (second := int(time.monotonic())) != self._second:
                self._second, self._lines = second, 0
            if self._lines >= LINES_PER_SECOND:
                self._suppressed += 1
                return
            self._lines += 1
            if self._suppressed:
                facts["suppressed"] = self._suppressed
                self._suppressed = 0
        self.event(name, **facts)


class _AsEvents(logging.Handler):
    """Sends what libraries log to ``Log``."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        details = {"details": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        self._log.problem("library", level=record.levelname, logger=record.name, message=record.getMessage(), **details)


def take_over_library_logs(log: Log) -> None:
    """Makes warnings and errors of all libraries JSON lines too. Call it again after a library set its own handlers."""
    root = logging.getLogger()
    root.handlers = [_AsEvents(log)]
    logging.captureWarnings(True)
    for name in ("mlflow", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.WARNING)
