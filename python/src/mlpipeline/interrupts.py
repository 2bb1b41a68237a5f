"""Ctrl-C, SIGTERM (a build's abort) and SIGHUP (a closed terminal) as one: ``KeyboardInterrupt`` with the signal's name.

It is no ``Exception``, so that nothing that handles errors swallows it; a verb that moves users lets it through after it has put
them in a safe place.
"""

from __future__ import annotations

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_when_interrupted() -> None:
    """From now on the first of these signals raises ``KeyboardInterrupt``, and so does the second, which breaks off whatever the
    first began to clear up. The third ends the process as it would any other. Signals that whoever started the process chose to
    ignore (``nohup``) stay ignored. Only for the main thread.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _first)


def _first(number: int, _frame: FrameType | None) -> None:
    _from_now_on(_second)
    raise KeyboardInterrupt(signal.Signals(number).name)


def _second(number: int, _frame: FrameType | None) -> None:
    _from_now_on(signal.SIG_DFL)
    raise KeyboardInterrupt(signal.Signals(number).name)


def _from_now_on(handler: object) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]
