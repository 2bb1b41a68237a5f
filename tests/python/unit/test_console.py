"""Bars only where someone can see them, plain lines with times elsewhere."""

from __future__ import annotations

import io
import re

from mlpipeline.console import PlainConsole, TerminalConsole, make_console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars_and_everything_else_plain_lines() -> None:
    assert isinstance(make_console({"TERM": "xterm"}, Terminal()), TerminalConsole)
    assert isinstance(make_console({"TERM": "dumb"}, Terminal()), PlainConsole)
    assert isinstance(make_console({"TERM": "xterm", "CI": "true"}, Terminal()), PlainConsole)
    assert isinstance(make_console({"TERM": "xterm"}, io.StringIO()), PlainConsole)


def test_plain_lines_carry_their_time() -> None:
    stream = io.StringIO()
    PlainConsole(stream).say("train: starts")
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ train: starts\n", stream.getvalue())


def test_plain_progress_is_told_at_the_start_and_the_end_not_a_thousand_times() -> None:
    stream = io.StringIO()
    console = PlainConsole(stream)
    for done in range(1001):
        console.progress("watching", done, 1000)
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("watching 0%")
    assert lines[-1].endswith("watching 100%")
    assert len(lines) < 10


def test_a_bar_appears_and_news_stand_above_it() -> None:
    stream = Terminal()
    console = TerminalConsole(stream)
    console.progress("watching [x]", 1, 2)
    console.say("[10 %] green is fine")
    console.progress("watching [x]", 2, 2)
    console.close()
    assert "watching [x]" in stream.getvalue()
    assert "[10 %] green is fine" in stream.getvalue()


def test_one_bar_stays_one_however_its_text_changes() -> None:
    stream, lines = Terminal(), io.StringIO()
    terminal, plain = TerminalConsole(stream), PlainConsole(lines)
    for done in range(1, 51):
        for console in (terminal, plain):
            console.progress(f"mirror: {done} requests to the candidate", done, 50)
    assert len(lines.getvalue().splitlines()) == 2
    assert "mirror: 50 requests to the candidate 100%" in lines.getvalue()
    # A bar of its own for every text would need one more line of the terminal each time: the cursor would go up that far.
    assert stream.getvalue().count("\x1b[1A") <= 1


def test_a_closed_reader_does_not_stop_a_release() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    PlainConsole(Gone()).say("news")
    TerminalConsole(Gone()).say("news")


def test_a_terminal_that_is_closed_under_its_bars_does_not_stop_a_release() -> None:
    stream = Terminal()
    console = TerminalConsole(stream)
    console.progress("release", 1, 9)

    def gone(_text: str) -> int:
        raise OSError(5, "Input/output error")

    stream.write = gone  # type: ignore[method-assign]
    console.say("users go back")
    console.progress("release", 2, 9)
    console.progress("another", 1, 2)
    console.close()
