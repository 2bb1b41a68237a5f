"""When a started model counts as ready."""

from __future__ import annotations

from collections.abc import Callable

from mlpipeline.hosting.loopback import ask
from mlpipeline.ports import Clock

POLL_SECONDS = 0.05
READY_IN_A_ROW = 2
"""Answers: a process may answer once and then die."""
MACHINE_WORDS = ("memoryerror", "cannot allocate memory", "no space left on device", "too many open files")
"""Last words of a start that failed through no fault of what was started."""


def silence(host: str, port: int) -> str:
    """Why ``/ready`` does not say so; empty when it does."""
    try:
        status, body = ask(host, port, "/ready")
    except OSError as error:
        return f"/ready does not answer: {error}"
    return "" if status == 200 else f"/ready answered {status}: {body[:200].decode(errors='replace')}"


def stably_ready(ready: Callable[[], bool], alive: Callable[[], bool], clock: Clock, within: float) -> bool:
    """Waits until it was ready several times in a row; false when it ended or the time did.

    Args:
        within: Seconds.
    """
    deadline = clock.monotonic() + within
    in_a_row = 0
    while clock.monotonic() < deadline and alive():
        in_a_row = in_a_row + 1 if ready() else 0
        if in_a_row == READY_IN_A_ROW:
            return True
        clock.sleep(POLL_SECONDS)
    return False
