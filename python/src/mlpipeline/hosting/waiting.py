"""Waiting for something outside to become so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from mlpipeline.ports import Clock


def until(
    condition: Callable[[], bool], clock: Clock, *, within: float, poll: float, give_up: Callable[[], bool] = lambda: False
) -> bool:
    """Whether it became so; false once the time is over or it is given up. What cannot be asked (OSError) is not so yet.

    Args:
        within: Seconds.
        poll: Seconds between two questions.
    """
    deadline = clock.monotonic() + within
    while clock.monotonic() < deadline:
        with suppress(OSError):
            if condition():
                return True
            if give_up():
                return False
        clock.sleep(poll)
    return False
