"""Whether any worker is still at a release, seen from outside by what changes, on a clock that never steps."""

from __future__ import annotations

import hashlib
from contextlib import suppress

from mlpipeline.config.durations import parse_duration
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import holder, pulse_of, take_from
from mlpipeline.verbs.context import Context

SHORTEST_SECONDS = 5.0
"""A few pulses of a worker that is at work: less would be no silence."""
_LOOK_SECONDS = 0.5


def await_silence(context: Context, written: str) -> str:
    """Watches for that long. Who is at work is told, and why there is nothing to do; empty when nobody is, and nobody will be: a
    holder that did not stir has lost its hold.

    Args:
        written: A length of time, such as ``10m``.
    """
    within = _seconds(written)
    if Journal(context.places.journal).read().release is None:
        return "nothing to do: no release is in progress"
    deadline = context.clock.monotonic() + within
    before = _signs(context)
    while context.clock.monotonic() < deadline:
        context.clock.sleep(min(_LOOK_SECONDS, within / 10))
        now = _signs(context)
        if now != before:
            known = holder(context.places.lease)
            return f"nothing to do: {known or 'another worker'} is at it"
    known = take_from(context.places.lease)
    if known is not None:
        context.console.say(f"resume: {known} held the service and did not stir for {written}: it holds it no longer")
        maker = holder(context.places.making)
        if maker is not None and (maker.pid, maker.host) == (known.pid, known.host):
            take_from(context.places.making)
    return ""


def _signs(context: Context) -> tuple[object, ...]:
    journal = b""
    with suppress(FileNotFoundError):
        journal = context.places.journal.read_bytes()
    known = holder(context.places.lease)
    return known, pulse_of(context.places.lease) if known else 0, hashlib.sha256(journal).digest()


def _seconds(written: str) -> float:
    try:
        seconds = float(parse_duration(written))
    except ValueError as error:
        raise ConfigurationError(f"--if-silent-for: {error}", facts={"found": written}, tries=("--if-silent-for 10m",)) from error
    if seconds < SHORTEST_SECONDS:
        raise ConfigurationError(
            f"--if-silent-for is shorter than {SHORTEST_SECONDS:g} s",
            facts={"found": written},
            likely="a worker that is at work shows it once a second, and a starved machine is slow",
            tries=("--if-silent-for 10m",),
        )
    return seconds
