"""``drift-check``: what runs against what was released, and who changed what. Looks only; mends nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mlpipeline.core.inventory import ABSENT, Difference, Part, differences
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import EnvironmentFault, MlpipelineError
from mlpipeline.ports import Observed
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import holder
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Reason, Result
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.standing import ROUTER, facts_of, recorded

VERB = "drift-check"
_ROUTES = "routes"


class Compared(msgspec.Struct, frozen=True):
    """What the comparison came to.

    Args:
        parts: How many facts of each part were compared.
    """

    differences: tuple[Difference, ...] = ()
    unknown: tuple[str, ...] = ()
    parts: Mapping[str, int] = {}

    def reasons(self) -> list[Reason]:
        """The worst first."""
        found = [Reason(f"released.{_dotted(one)}", Verdict.FAIL, str(one)) for one in self.differences]
        found.extend(Reason("released.unknown", Verdict.INCONCLUSIVE, text) for text in self.unknown)
        told = ", ".join(f"{name} ({count} facts)" for name, count in self.parts.items())
        return found or [Reason("released", Verdict.PASS, f"what runs is what was released: {told}")]


def run(context: Context) -> Result:
    """Pass: no difference. Fail: differences, each named. Inconclusive: something could not be read, or nothing was released."""
    started = context.clock.monotonic()
    found = compared(context)
    reasons = found.reasons()
    verdict = worst(reason.verdict for reason in reasons)
    count = len(found.differences)
    summary = reasons[0].summary
    if count > 1:
        summary = f"{count} things are not as they were released: {summary}"
    _tell(context, verdict, summary)
    return context.judged(
        VERB,
        started,
        reasons,
        verdict=verdict,
        summary=summary,
        evidence={
            "differences": [msgspec.to_builtins(one) for one in found.differences],
            "unknown": list(found.unknown),
            "compared": dict(found.parts),
        },
    )


def compared(context: Context) -> Compared:
    """Reads the target, the ledger and the packages; changes nothing."""
    worker = holder(context.places.lease)
    if worker is not None:
        return Compared(unknown=(f"{worker} changes this service now; look again when it is done",))
    try:
        target = context.world.target()
        observed, now = target.observe(), target.inventory()
        entries = context.ledger.read()
    except MlpipelineError as fault:
        return Compared(unknown=("; ".join([f"what runs cannot be compared: {fault.what}", *fault.tries[:1]]),))
    told = next((entry for entry in reversed(entries) if entry.event in {"live", "stopped", "revived"}), None)
    if told is None:
        return Compared(unknown=("nothing was released yet, so nothing can differ",))
    if told.event == "stopped":
        return _stopped(told, now, observed)
    live = next(entry for entry in reversed(entries) if entry.event == "live")
    found = [*_of_users(live, observed), *_of_copies(context, observed), *_of_versions(context, live, observed)]
    unknown: list[str] = []
    parts: dict[str, int] = {}
    for name, part in now.items():
        others, count = _of_part(entries, name, part, unknown)
        found += others
        parts[name] = count
    if not now:
        unknown.append("this target does not tell how its parts run; versions and routes alone were compared")
    return Compared(tuple(found), tuple(unknown), {"users": len(_shares(live)), **parts})


def _of_part(entries: Sequence[Entry], name: str, part: Part, unknown: list[str]) -> tuple[list[Difference], int]:
    entry = recorded(entries, name)
    facts: dict[str, str] = {}
    if entry is not None:
        try:
            facts = facts_of(entry)
        except EnvironmentFault as fault:
            unknown.append(f"{name}: {fault.what}")
    elif name in {*Colour, ROUTER}:
        unknown.append(f"{name}: the ledger does not say how it was started; an earlier version of mlpipeline released it")
    return differences(name, facts, part), len({**facts, **part.wanted})


def _of_users(live: Entry, observed: Observed) -> list[Difference]:
    """Where users are sent, against where the ledger says that they were last moved to."""
    if observed.plan is None:
        return [] if observed.router == "down" else [Difference(ROUTER, _ROUTES, _shared(_shares(live)), "no plan of mlpipeline")]
    now = {colour: percent for colour in Colour if (percent := observed.plan.percent(colour))}
    wanted = _shares(live)
    found = [Difference(ROUTER, _ROUTES, _shared(wanted), _shared(now))] if now != wanted else []
    pinned, told = observed.plan.cohort_words, live.facts.get("cohorts", "")
    return found if pinned == told else [*found, Difference(ROUTER, "cohorts", told or "none", pinned or "none")]


def _of_copies(context: Context, observed: Observed) -> list[Difference]:
    """Copies of requests go to a candidate while it is released, and to nobody else."""
    if observed.plan is None or not observed.plan.mirror or Journal(context.places.journal).read().release is not None:
        return []
    return [Difference(ROUTER, "copies of requests", "to nobody", f"to {observed.plan.live.other}")]


def _of_versions(context: Context, live: Entry, observed: Observed) -> list[Difference]:
    """Which package stands in each colour that has users, and whether its files are those that were packaged."""
    found = []
    for prefix in ("", "other_"):
        if f"{prefix}colour" not in live.facts:
            continue
        colour, digest = Colour(live.facts[f"{prefix}colour"]), live.facts[f"{prefix}digest"]
        standing = observed.colours.get(colour)
        there = standing.artifact.digest if standing is not None else ABSENT
        if there != digest:
            found.append(Difference(str(colour), "version", digest, there))
        elif standing is not None and not standing.ready:
            found.append(Difference(str(colour), "answers", "ready", f"not ready: {' '.join(standing.detail.split())}"[:300]))
        if standing is not None and context.config.target.kind == "local":
            found += _of_files(str(colour), Path(standing.artifact.path))
    return found


def _of_files(colour: str, bundle: Path) -> list[Difference]:
    from mlpipeline.adapters.bundle import verify

    try:
        verify(bundle)
    except MlpipelineError as broken:
        return [Difference(colour, "files of its package", "as they were packaged", f"changed: {broken.what}")]
    return []


def _stopped(told: Entry, now: Mapping[str, Part], observed: Observed) -> Compared:
    """Somebody ended the service on purpose: whatever serves now was started by nobody of ours."""
    who = f"stopped by {told.actor or 'somebody'} at {told.at}"
    ready = [str(colour) for colour, standing in observed.colours.items() if standing.ready]
    found = tuple(Difference(name, "state", who, "running", now[name].changed if name in now else "") for name in ready)
    return Compared(found, (), {} if found else {f"nothing runs, {who}": 0})


def _shares(live: Entry) -> dict[Colour, int]:
    facts = live.facts
    named = {prefix: facts.get(f"{prefix}colour", "") for prefix in ("", "other_")}
    return {Colour(colour): int(facts[f"{prefix}share"]) for prefix, colour in named.items() if colour}


def _shared(shares: Mapping[Colour, int]) -> str:
    return ", ".join(f"{percent} % of users to {colour}" for colour, percent in sorted(shares.items()))


def _dotted(one: Difference) -> str:
    return f"{one.part}.{one.what}".replace(" ", "-")


def _tell(context: Context, verdict: Verdict, summary: str) -> None:
    """The ledger hears it once, until something else is found; one that cannot be written keeps no answer back."""
    with contextlib.suppress(OSError, MlpipelineError):
        last = next((entry for entry in reversed(context.ledger.read()) if entry.event == VERB), None)
        if last is None or (last.verdict, last.summary) != (str(verdict), summary):
            context.note(VERB, verdict=str(verdict), summary=summary)
