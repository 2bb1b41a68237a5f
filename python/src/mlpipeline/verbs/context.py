"""What every verb is given: the configuration, the places, the run, and makers of the adapters it may need.

Adapters are made on first use, so that a verb pays only for the clients it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from mlpipeline import __version__
from mlpipeline.clock import iso
from mlpipeline.config.model import Config
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, MlpipelineError
from mlpipeline.ports import Clock, Console, Keeper, MetricSource, Registry, Target
from mlpipeline.record.ledger import Entry, Ledger
from mlpipeline.record.places import Places
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run, RunStore, encode


class World(msgspec.Struct, frozen=True):
    """How to reach the outside. Tests put fakes here; ``verbs/wiring.py`` makes the real one."""

    target: Callable[[], Target]
    registry: Callable[[], Registry]
    metrics: Callable[[str], MetricSource]
    """Given the URL of a Prometheus."""
    ledger: Callable[[], Ledger] | None = None
    """Absent: the SQLite file of the state folder."""
    keeper: Callable[[], Keeper | None] | None = None
    """Absent: the state of a service is below the home of whoever asks."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    config: Config
    places: Places
    clock: Clock
    console: Console
    world: World
    actor: str = ""
    environment: Mapping[str, str] = {}
    """Of the caller, without ``secrets``: what a training or a scanner is started with."""
    secrets: Mapping[str, str] = {}
    """Variables that hold keys and passwords of this worker itself; no child gets them."""
    environment_name: str = ""
    """``staging``; empty: production."""

    @property
    def runs(self) -> RunStore:
        return RunStore(self.places)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.places.ledger) if self.world.ledger is None else self.world.ledger()

    def users_first(self) -> Context:
        """The same, with a ledger that keeps aside on this machine what its place cannot take: nobody waits for it on a bad
        version. What was kept is added by whatever is noted next once the place can be reached. On a full disk it has the room
        that was kept for this."""
        from mlpipeline.record.patient import PatientLedger
        from mlpipeline.record.room import use_room

        if use_room(self.places.state):
            self.console.say("the disk is nearly full: the room that was kept for this is used")

        def tell(fault: MlpipelineError) -> None:
            self.console.say(f"WAITS: {fault.what}; what happens now is kept on this machine and added when it can be")

        asked = self.ledger
        if isinstance(asked, PatientLedger):
            return self
        ledger = PatientLedger(asked, tell)
        return msgspec.structs.replace(self, world=msgspec.structs.replace(self.world, ledger=lambda: ledger))

    @property
    def project(self) -> Path:
        return self.places.project

    def needed(self, run: Run, verb: str, for_verb: str) -> Result:
        """The passed result of an earlier verb; a ConfigurationError says how to get it when it is missing."""
        result = self.runs.result(run.id, verb)
        if result is None or result.verdict is not Verdict.PASS:
            state = "has not run" if result is None else f"ended with {result.verdict}: {result.summary}"
            raise ConfigurationError(
                f"{spoken(for_verb)} needs {spoken(verb)}, which {state} in this run",
                facts={"run": run.id},
                tries=(f"mlpipeline {spoken(verb)}", "mlpipeline run"),
            )
        return result

    def judged(
        self,
        verb: str,
        started: float,
        reasons: Sequence[Reason] = (),
        *,
        verdict: Verdict | None = None,
        summary: str = "",
        evidence: Mapping[str, object] | None = None,
        links: Mapping[str, str] | None = None,
        run: str = "",
    ) -> Result:
        """Makes a result and writes nothing.

        Args:
            started: ``clock.monotonic()`` at the verb's begin.
            verdict: The worst of the reasons unless given.
            summary: That of the first reason with this verdict unless given.
            run: Empty for a verb that belongs to no run.
        """
        verdict = verdict or worst(reason.verdict for reason in reasons)
        seconds = self.clock.monotonic() - started
        return Result(
            verb=verb,
            service=self.config.service,
            run=run,
            verdict=verdict,
            summary=summary or next((reason.summary for reason in reasons if reason.verdict is verdict), ""),
            reasons=tuple(reasons),
            evidence=dict(evidence or {}),
            links=dict(links or {}),
            started=iso(self.clock.now() - timedelta(seconds=seconds)),
            seconds=round(seconds, 3),
            worker=__version__,
        )

    def finish(
        self,
        run: Run,
        verb: str,
        started: float,
        reasons: Sequence[Reason],
        *,
        verdict: Verdict | None = None,
        summary: str = "",
        evidence: Mapping[str, object] | None = None,
        links: Mapping[str, str] | None = None,
        facts: Mapping[str, str] | None = None,
        news: bool = True,
    ) -> Result:
        """Makes the result, writes it into the run and the ledger, and returns it.

        Args: as of :meth:`judged`, and
            facts: What the ledger entry carries besides.
            news: Whether the ledger is told; false only for what it was told before.
        """
        from hashlib import sha256

        result = self.judged(verb, started, reasons, verdict=verdict, summary=summary, evidence=evidence, links=links, run=run.id)
        # The ledger first: a verb whose result is missing is done again, one that the ledger missed would stay unrecorded.
        if news:
            written = sha256(encode(result)).hexdigest()
            self.note(verb, run=run.id, verdict=str(result.verdict), summary=result.summary, facts=facts, result=written)
        self.runs.write(result)
        return result

    def marked(self, facts: Mapping[str, str]) -> dict[str, str]:
        """As they stand in the ledger: outside production with the name of the environment."""
        return {**facts, **({"environment": self.environment_name} if self.environment_name else {})}

    def note(
        self,
        event: str,
        *,
        run: str = "",
        verdict: str = "",
        summary: str = "",
        facts: Mapping[str, str] | None = None,
        result: str = "",
    ) -> Entry:
        """Adds a ledger entry and returns it."""
        entry = Entry(
            seq=0,
            at=iso(self.clock.now()),
            service=self.config.service,
            event=event,
            run=run,
            verdict=verdict,
            summary=summary,
            actor=self.actor,
            facts=self.marked(facts or {}),
            result=result,
        )
        return self.ledger.append(entry)


def spoken(verb: str) -> str:
    """The name as typed: ``gate data`` for ``gate-data``."""
    return verb.replace("-", " ", 1) if verb.startswith("gate-") else verb
