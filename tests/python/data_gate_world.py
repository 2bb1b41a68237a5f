"""The data gate on files of a test, without services: who is champion and which runs were before can be set."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mlpipeline.config.durations import parse_duration
from mlpipeline.config.model import Config
from mlpipeline.config.values import Duration
from mlpipeline.record.places import Places
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import gate_data
from mlpipeline.verbs.context import Context, World

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class QuietConsole:
    def say(self, text: str) -> None: ...

    def progress(self, text: str, done: float, total: float) -> None: ...


class SetClock:
    def __init__(self, now: datetime = NOW) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 1.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("the data gate waits for nothing")


def _unused(*_: object) -> object:
    raise AssertionError("the data gate needs no service")


def context_of(project: Path, data: dict[str, object], now: datetime = NOW, **more: object) -> Context:
    plain = {"service": "flights", "train": {"command": "true"}, "data": data, **more}
    config = msgspec.convert(plain, Config, dec_hook=_duration)
    places = Places(project, project / "home", "flights")
    world = World(target=_unused, registry=_unused, metrics=_unused)  # type: ignore[arg-type]
    return Context(config=config, places=places, clock=SetClock(now), console=QuietConsole(), world=world)


def _duration(kind: type, value: object) -> object:
    return parse_duration(value) if kind is Duration else kind(value)


def gated(project: Path, data: dict[str, object], *, run: str = "20260301-000000-1a2b3c4", now: datetime = NOW) -> Result:
    """One call of the gate, recorded as a run of its own."""
    context = context_of(project, data, now)
    made = context.runs.create(Run(run, "flights", "1a2b3c4", f"{now:%Y-%m-%dT%H:%M:%SZ}"))
    return gate_data.run(context, made)


def reason_of(result: Result, check: str) -> Reason:
    return next(found for found in result.reasons if found.check == check)
