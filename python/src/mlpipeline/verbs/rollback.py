"""``rollback``: users back on the version before, from every state, needing neither Prometheus nor the registry."""

from __future__ import annotations

from collections.abc import Sequence

from mlpipeline.core.release import Phase, Revived, Standing, TakeBack
from mlpipeline.core.traffic import TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.ports import Moved
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held
from mlpipeline.verbs.releasing import Releasing, moved_numbers, smoke

_MOVES = frozenset({"deploy", "live", "settled", "revived", "stopped", "rolled-back"})
"""Entries after which users may be, or come, elsewhere."""
_TELLS = frozenset({"rollback", "switch", "settle"})
"""Verbs that take back, and whose own entry is the last thing they do."""


def run(context: Context, run: Run | None = None, *, reason: str) -> Result:
    """Takes the release in progress back, or the settled one; brings back a champion that went down with its machine.

    Args:
        run: What others are told that this is held for. The result goes to the record of the release that is taken back; where
            this checkout has none, to one of its own: a run that only trains meanwhile is not ended by it.
        reason: Why, in a person's words; it stands in the quarantine and the ledger.

    Raises:
        ConfigurationError: There is nothing to go back to.
        EnvironmentFault: The target cannot be reached; the intent is kept, run it again.
    """
    started = context.clock.monotonic()
    decided = context.clock.now().timestamp()
    context = context.users_first()
    with held(context, run, "rollback") as token:
        told = _ledger(context)
        releasing = Releasing(context, token)
        if (before := _taken_back_before(told, releasing)) is not None:
            return _as_before(context, releasing, before, started)
        moved = _take_back(releasing, reason)
        release = releasing.release
        returning = release is not None and release.phase is Phase.RETURNING
        back = _goes_to(releasing)
        reasons = [_traffic(releasing, back), _proof(context, moved), smoke(context, releasing, back)]
        if returning:
            releasing.finish_return()
        else:
            releasing.happen(Revived())
            _note_revived(context, back, reason)
            reasons.append(_revived(releasing))
        reasons.append(_aliases(releasing))
        evidence: dict[str, object] = {
            "colour": str(back.colour),
            "digest": back.version.digest,
            "model_version": back.version.model_version,
            "reason": reason,
            "rollback": {"decided": decided, **moved_numbers(moved)},
        }
        if returning and release is not None:
            evidence["from"] = {"digest": release.candidate.digest, "model_version": release.candidate.model_version}
        facts = {"to": back.version.digest, "model_version": back.version.model_version, "reason": reason}
        record = _record(context, release.run if returning and release is not None else back.version.run)
        return context.finish(record or _own_run(context, back), "rollback", started, reasons, evidence=evidence, facts=facts)


def _taken_back_before(ledger: Sequence[Entry], releasing: Releasing) -> Entry | None:
    """The entry that tells of the return, when nothing was released since, and the champion it returned to answers all users.

    A finished return with a version before the champion is none: to ask once more means that one.
    """
    champion, seen = releasing.state.champion, releasing.see()
    if champion is None or releasing.release is not None or releasing.state.reviving:
        return None
    if seen.plan != TrafficPlan.all_to(champion.colour) or seen.ready.get(champion.colour) != champion.version.digest:
        return None
    told = False
    for entry in reversed(ledger):
        if entry.event == "rolled-back" and entry.facts.get("to") == champion.version.digest:
            return None if told and releasing.state.previous is not None else entry
        if entry.event in _MOVES:
            return None
        told = told or entry.event in _TELLS
    return None


def _as_before(context: Context, releasing: Releasing, entry: Entry, started: float) -> Result:
    """Once is enough: asked again, or run again after it was killed at its very end, it does nothing."""
    version = entry.facts.get("model_version") or entry.facts.get("digest", "")[:19]
    said = f"version {version} was taken back at {entry.at} already"
    context.console.say(f"rollback: nothing to do, {said}; to release again: mlpipeline run")
    record = _record(context, entry.run)
    known = context.runs.result(entry.run, "rollback") if record else None
    if known is not None and known.verdict is not Verdict.ERROR:
        return known
    back = _goes_to(releasing)
    reasons = [Reason("rollback.before", Verdict.PASS, said), _traffic(releasing, back), _aliases(releasing)]
    evidence = {"colour": str(back.colour), "digest": back.version.digest, "model_version": back.version.model_version}
    return context.finish(record or _own_run(context, back), "rollback", started, reasons, evidence=evidence)


def _ledger(context: Context) -> Sequence[Entry]:
    """Users come first: a damaged record is kept as evidence, and must not keep them on a bad version."""
    try:
        return context.ledger.read()
    except EnvironmentFault:
        aside = context.ledger.set_aside_if_broken()
    if aside is not None:
        said = f"the ledger was changed after it was written; kept as {aside.name}"
        context.note("ledger-broken", facts={"kept": str(aside)}, summary=said)
        context.console.say(f"rollback: {said}")
    return ()


def _take_back(releasing: Releasing, reason: str) -> Moved | None:
    try:
        return releasing.happen(TakeBack(reason)).moved
    except ConfigurationError as refused:
        raise ConfigurationError(
            f"nothing to go back to: {refused.what}", facts=refused.facts, tries=("mlpipeline status", "mlpipeline history")
        ) from refused


def _goes_to(releasing: Releasing) -> Standing:
    """Whom users are on now: the champion of the return, else what was brought back."""
    release = releasing.release
    if release is not None and release.phase is Phase.RETURNING and release.champion is not None:
        return Standing(release.colour.other, release.champion)
    if release is not None:
        return Standing(release.colour, release.candidate)
    champion = releasing.state.champion
    if champion is None:
        raise ConfigurationError("nothing was ever released", tries=("mlpipeline run",))
    return champion


def _traffic(releasing: Releasing, back: Standing) -> Reason:
    plan = releasing.see().plan
    good = plan == TrafficPlan.all_to(back.colour)
    name = f"version {back.version.model_version}" if back.version.model_version else back.version.digest[:19]
    said = f"all users are on {name} in {back.colour}" if good else f"the router says {plan}"
    return Reason("rollback.traffic", Verdict.PASS if good else Verdict.FAIL, said)


def _proof(context: Context, moved: Moved | None) -> Reason:
    if moved is None or not moved.old_in_flight:
        seconds = f"{moved.old_last_seconds:.3f} s" if moved else "0 s"
        return Reason(
            "rollback.proof", Verdict.PASS, f"the other colour answered its last user after {seconds}", moved_numbers(moved)
        )
    waited = context.config.rollout.settle_switch
    return Reason(
        "rollback.proof",
        Verdict.INCONCLUSIVE,
        f"the other colour still owes {moved.old_in_flight} requests after {waited:g} s",
        moved_numbers(moved),
    )


def _aliases(releasing: Releasing) -> Reason:
    owed = releasing.state.owed
    if not owed:
        return Reason("rollback.alias", Verdict.PASS, "the registry names the version that is live")
    words = ", ".join(f"alias {debt.alias} -> {debt.version or 'nobody'}" for debt in owed)
    return Reason(
        "rollback.alias",
        Verdict.INCONCLUSIVE,
        f"users are safe, but the registry could not be reached and is owed: {words}; the next verb tells it",
    )


def _revived(releasing: Releasing) -> Reason:
    said = "it had gone down and was brought back as it was: no version changed and none is quarantined"
    again = "; rollback once more gives users the version before" if releasing.state.previous is not None else ""
    return Reason("rollback.revived", Verdict.PASS, said + again)


def _note_revived(context: Context, back: Standing, reason: str) -> None:
    context.note(
        "revived",
        facts={"colour": str(back.colour), "digest": back.version.digest, "reason": reason},
        summary="brought back as it was",
    )


def _record(context: Context, name: str) -> Run | None:
    """That of the release that is taken back, so that no other run of this checkout counts as ended by it."""
    return next((known for known in context.runs.all() if known.id == name), None)


def _own_run(context: Context, back: Standing) -> Run:
    """A rollback may happen in another checkout than the release: it gets a record of its own, of the version gone back to."""
    now = context.clock.now()
    return context.runs.create(
        Run(
            id=f"{now:%Y%m%d-%H%M%S}-rollback",
            service=context.config.service,
            commit=back.version.digest.removeprefix("sha256:"),
            created=f"{now:%Y-%m-%dT%H:%M:%SZ}",
            reason="rollback",
            requester=context.actor,
        )
    )
