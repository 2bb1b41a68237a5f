"""How the worker speaks: progress bars on a terminal, plain lines with times elsewhere. All of it on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SECONDS_BETWEEN_LINES = 10.0


class PlainConsole:
    """One line per piece of news, each with its UTC time; progress only every ten seconds and at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told: dict[str, float] = {}

    def say(self, text: str) -> None:
        # A log that nobody reads, or on a full disk, must not stop a release half-way.
        with contextlib.suppress(OSError):
            self._stream.write(f"{datetime.now(UTC):%H:%M:%SZ} {text}\n")
            self._stream.flush()

    def progress(self, text: str, done: float, total: float) -> None:
        what, now = _what(text), time.monotonic()
        finished = total > 0 and done >= total
        if finished or now - self._told.get(what, -_SECONDS_BETWEEN_LINES) >= _SECONDS_BETWEEN_LINES:
            self._told[what] = now
            self.say(f"{text} {_percent(done, total)}")
        if finished:
            del self._told[what]

    def close(self) -> None:
        """Nothing is kept open."""


class TerminalConsole:
    """A bar for what is going on, news above it. ``rich`` is imported when the first bar appears.

    A terminal that was closed takes nothing any more, and must not keep a worker from making users safe.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        with self._while_there():
            if self._bars is not None:
                self._bars.console.print(text, markup=False, highlight=False)
            else:
                self._stream.write(f"{text}\n")
                self._stream.flush()

    def progress(self, text: str, done: float, total: float) -> None:
        with self._while_there():
            self._advance(text, done, total)

    def close(self) -> None:
        """Takes the bars away, so that the terminal is as it was."""
        with self._while_there():
            if self._bars is not None:
                self._bars.stop()
        self._bars = None
        self._tasks.clear()

    @contextlib.contextmanager
    def _while_there(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._gone = True

    def _advance(self, text: str, done: float, total: float) -> None:
        if self._gone:
            return
        bars, what, shown = self._bars or self._open(), _what(text), text.replace("[", r"\[")
        if what not in self._tasks:
            self._tasks[what] = bars.add_task(shown, total=total or None)
        bars.update(self._tasks[what], description=shown, completed=done, total=total or None)
        if total > 0 and done >= total:
            bars.remove_task(self._tasks.pop(what))
            if not self._tasks:
                self.close()

    def _open(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            transient=True,
        )
        self._bars.start()
        return self._bars


def make_console(environment: Mapping[str, str] | None = None, stream: TextIO | None = None) -> PlainConsole | TerminalConsole:
    """Bars only where someone can see them: a terminal that is not dumb, and not under CI."""
    environment = os.environ if environment is None else environment
    stream = sys.stderr if stream is None else stream
    shown = stream.isatty() and environment.get("TERM", "") not in {"", "dumb"} and environment.get("CI") != "true"
    return TerminalConsole(stream) if shown else PlainConsole(stream)


def _what(text: str) -> str:
    """What is going on: one bar, however often the rest of its text changes."""
    return text.partition(": ")[0]


def _percent(done: float, total: float) -> str:
    return f"{min(1.0, done / total):.0%}" if total > 0 else f"{done:g}"
