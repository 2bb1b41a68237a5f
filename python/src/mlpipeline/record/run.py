"""The run record: what one release tried, step by step, in the project's ``.mlpipeline/runs/<run>/``.

``run.json`` says what the run is of; ``results/<verb>.json`` holds the newest result of each verb; other files (plots,
the report, evidence) stand beside them. A run is *of* a commit with its uncommitted changes and configuration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from mlpipeline.errors import ConfigurationError
from mlpipeline.record.files import write_atomically
from mlpipeline.record.places import Places
from mlpipeline.record.result import Result

FLOW = (
    "gate-data",
    "train",
    "gate-security",
    "gate-model",
    "package",
    "register",
    "deploy",
    "approve",
    "switch",
    "settle",
)
"""The verbs of a release in order, by the names their results carry."""


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run is of.

    Args:
        commit: Full hash of the commit.
        dirty: Digest of the uncommitted changes to tracked files; empty when there are none.
        config: Digest of the effective configuration.
        created: UTC, ISO 8601.
        reason: Why it was started ("commit", "retrain: drift in ...").
        requester: Who asked for it, as far as the environment tells.
    """

    id: str
    service: str
    commit: str
    created: str
    dirty: str = ""
    config: str = ""
    reason: str = "commit"
    requester: str = ""

    def same_inputs(self, other: Run) -> bool:
        return (self.service, self.commit, self.dirty, self.config) == (other.service, other.commit, other.dirty, other.config)


class RunStore:
    """Reads and writes the run records of one checkout."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def folder(self, run: str) -> Path:
        return self._places.run(run)

    def all(self) -> list[Run]:
        """Oldest first; folders without a readable record are passed over (a killed start leaves one)."""
        found = []
        if self._places.runs.is_dir():
            for folder in sorted(self._places.runs.iterdir()):
                file = folder / "run.json"
                with contextlib.suppress(OSError, msgspec.DecodeError):
                    found.append(msgspec.json.decode(file.read_bytes(), type=Run))
        return sorted((run for run in found if run.service == self._places.service), key=lambda run: (run.created, run.id))

    def get(self, run: str) -> Run:
        for known in self.all():
            if known.id == run:
                return known
        names = [known.id for known in self.all()]
        raise ConfigurationError(
            f"there is no run {run!r} in this checkout",
            facts={"folder": self._places.runs, "runs": ", ".join(names[-5:]) or "none"},
            tries=("mlpipeline status",),
        )

    def latest(self) -> Run | None:
        return next(reversed(self.all()), None)

    def create(self, run: Run) -> Run:
        write_atomically(self.folder(run.id) / "run.json", msgspec.json.format(msgspec.json.encode(run)) + b"\n")
        return run

    def result(self, run: str, verb: str) -> Result | None:
        """The newest result of a verb. One that cannot be read is none: the verb is done again."""
        file = self.folder(run) / "results" / f"{verb}.json"
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(file.read_bytes(), type=Result)
        return None

    def results(self, run: str) -> dict[str, Result]:
        """By verb, in the order of the flow, others after it by name."""
        folder = self.folder(run) / "results"
        names = {file.stem for file in folder.glob("*.json")} if folder.is_dir() else set()
        ordered = [verb for verb in FLOW if verb in names] + sorted(names - set(FLOW))
        return {verb: result for verb in ordered if (result := self.result(run, verb)) is not None}

    def write(self, result: Result) -> Path:
        file = self.folder(result.run) / "results" / f"{result.verb}.json"
        write_atomically(file, encode(result))
        return file

    def drop_result(self, run: str, verb: str) -> None:
        """Forgets the result of one verb, if there is one."""
        (self.folder(run) / "results" / f"{verb}.json").unlink(missing_ok=True)

    def drop_results_after(self, run: str, verb: str) -> None:
        """Forgets the results of later verbs, which rested on an older result of this one."""
        later: Iterator[str] = iter(FLOW[FLOW.index(verb) + 1 :]) if verb in FLOW else iter(())
        for name in later:
            self.drop_result(run, name)


def new_run_id(created: datetime, commit: str) -> str:
    """Sorts by time and names the commit: ``20261121-142030-1a2b3c4``."""
    return f"{created:%Y%m%d-%H%M%S}-{commit[:7]}"


def encode(result: Result) -> bytes:
    """``result.json``: indented, schema first, no nulls, final newline."""
    plain = msgspec.to_builtins(result)
    return msgspec.json.format(msgspec.json.encode({"schema": result.schema, **plain})) + b"\n"
