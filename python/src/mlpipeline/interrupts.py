"""Ctrl-C and SIGTERM as one exception, raised once, so that a verb can put users in a safe place before it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """Someone asked this worker to end. Not an ``Exception``: nothing that handles errors may swallow it.

    Args:
        name: The signal, such as ``SIGTERM``.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"interrupted by {name}")
        self.name = name


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it the first SIGINT or SIGTERM raises :class:`Interrupted`; later ones are ignored while users are made safe.

    Only for the main thread; the former handlers come back at the end.
    """
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def raise_once(number: int, _frame: FrameType | None) -> None:
        for known in former:
            signal.signal(known, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    for number in former:
        signal.signal(number, raise_once)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
