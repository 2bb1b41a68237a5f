"""``settle``: the switched version becomes the champion, and the old colour is retired."""

from __future__ import annotations

import msgspec

from mlpipeline.config.rollout_plan import hook, is_set
from mlpipeline.core.release import Phase, Release, Settle, Settled, TakeBack, quarantines_of
from mlpipeline.core.traffic import TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import hooks
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held
from mlpipeline.verbs.releasing import Releasing, moved_numbers

_BEFORE = ("after_switch", "before_settle")
"""Hooks that may say no while the old version is still warm."""


def run(context: Context, run: Run) -> Result:
    """Settles this run's release. A registry that cannot be reached leaves it half done; the same call goes on.

    Raises:
        ConfigurationError: This run did not switch.
        EnvironmentFault: The registry or the target cannot be reached; users are where they were.
    """
    started = context.clock.monotonic()
    context.needed(run, "switch", "settle")
    with held(context, run, "settle") as token:
        releasing = Releasing(context, token)
        earlier = _done_before(context, run, releasing)
        if earlier is not None:
            return earlier
        release = releasing.release
        if release is None or release.run != run.id:
            raise ConfigurationError(
                "there is no switched release of this run to settle", facts={"run": run.id}, tries=("mlpipeline status",)
            )
        refused = _asked(context, run, releasing, release)
        if refused is None and release.phase is Phase.SWITCHED:
            refused = _gathered(releasing, release)
        if refused is not None and refused.verdict is not Verdict.PASS:
            return context.finish(run, "settle", started, [refused], evidence=_told(context, run), facts=_facts(release))
        seen = releasing.see()
        reasons = [
            _check(
                "settle.traffic",
                seen.plan == TrafficPlan.all_to(release.colour),
                f"all users are on {release.colour}",
                f"users are not all on {release.colour}: the router says {seen.plan}",
            ),
            _check(
                "settle.ready",
                seen.ready.get(release.colour) == release.candidate.digest,
                f"{release.colour} is ready",
                f"{release.colour} does not answer with {release.candidate.digest[:19]}",
            ),
        ]
        facts = _facts(release)
        if all(reason.verdict is Verdict.PASS for reason in reasons) and release.phase in (Phase.SWITCHED, Phase.SETTLING):
            end(context, releasing, release)
            name = (
                f"version {release.candidate.model_version}" if release.candidate.model_version else release.candidate.digest[:19]
            )
            reasons.insert(0, Reason("settle.champion", Verdict.PASS, f"{name} is the champion, in {release.colour}"))
        reasons.extend(one for one in (refused, *_hooked(context, run)) if one is not None)
        return context.finish(run, "settle", started, reasons, evidence={**facts, **_told(context, run)}, facts=facts)


def _asked(context: Context, run: Run, releasing: Releasing, release: Release) -> Reason | None:
    """The hook's refusal: users are back on the champion when it failed, and stay where they are when nobody knows."""
    found = None
    # A worker may have died after all users moved and before anybody was asked about that.
    for point in _BEFORE if release.phase is Phase.SWITCHED else ():
        if found is None or found.verdict is Verdict.PASS:
            found = hooks.ask(context, run, point, release, share=100)
    if found is None or found.verdict is Verdict.PASS:
        return None
    if found.verdict is not Verdict.FAIL:
        words = f"{found.summary}; users stay on {release.colour}, {release.colour.other} stays warm; run again to go on"
    elif release.champion is None:
        words = f"{found.summary}; there is no earlier version to go back to"
    else:
        releasing.happen(TakeBack(f"hook {found.summary}"))
        releasing.finish_return()
        words = f"{found.summary}; all users are back on {release.colour.other}, the version is quarantined"
    return Reason(found.reason.check, found.verdict, words, found.reason.numbers, found.lines)


def _gathered(releasing: Releasing, release: Release) -> Reason | None:
    """Cohorts that stayed on the champion follow now, and that is proven, before anything is retired."""
    plan = releasing.see().plan
    staying = plan.pinned(release.colour.other) if plan is not None and plan.live is release.colour else ()
    if not staying:
        return None
    moved = releasing.happen(Settle()).moved
    names = ", ".join(cohort.name for cohort in staying)
    if moved is None or moved.old_in_flight:
        owed = f"still owes {moved.old_in_flight} requests" if moved else "was not asked"
        words = f"cohort {names} was moved, but {release.colour.other} {owed}; run again to go on"
        return Reason("settle.cohorts", Verdict.INCONCLUSIVE, words, moved_numbers(moved))
    words = f"cohort {names} follows; {release.colour.other} stands still {moved.old_last_seconds:.3f} s after the write"
    return Reason("settle.cohorts", Verdict.PASS, words, moved_numbers(moved))


def _hooked(context: Context, run: Run) -> list[Reason]:
    return [one.reason for one in hooks.asked(context, run) if one.point == "before_settle"]


def _told(context: Context, run: Run) -> dict[str, object]:
    found = [msgspec.to_builtins(one, enc_hook=str) for one in hooks.asked(context, run) if one.point == "before_settle"]
    return {"hooks": found} if found else {}


def end(context: Context, releasing: Releasing, release: Release) -> None:
    """Ends a release that all users were switched to: aliases, the old colour, the journal, the ledger.

    Raises:
        ConfigurationError: A hook that may still say no was not asked.
        EnvironmentFault: A cohort that stayed on the champion does not leave it in time.
    """
    if release.phase is Phase.SWITCHED:
        _refuse_unasked(context, release)
        gathered = _gathered(releasing, release)
        if gathered is not None and gathered.verdict is not Verdict.PASS:
            raise EnvironmentFault(gathered.summary, tries=("mlpipeline resume",))
    releasing.happen(Settle())
    _note_lifted(releasing, release)
    releasing.happen(Settled())
    context.note("settled", run=release.run, facts=_facts(release))


def _refuse_unasked(context: Context, release: Release) -> None:
    run = next((known for known in context.runs.all() if known.id == release.run), None)
    passed = {one.point for one in hooks.asked(context, run) if one.verdict is Verdict.PASS} if run is not None else set()
    waiting = [point for point in _BEFORE if is_set(hook(context.config.rollout, point)) and point not in passed]
    if waiting:
        raise ConfigurationError(
            f"the hook {waiting[0]} was not asked yet, so the release waits",
            facts={"run": release.run},
            tries=(f"mlpipeline run --run {release.run}    # asks it, and goes on",),
        )


def _facts(release: Release) -> dict[str, str]:
    return {
        "colour": str(release.colour),
        "digest": release.candidate.digest,
        "model_version": release.candidate.model_version,
    }


def _note_lifted(releasing: Releasing, release: Release) -> None:
    """Noted before the journal forgets it, so that a crash between them loses nothing."""
    lifted = quarantines_of(releasing.state, release.candidate)
    if lifted:
        facts = {"digest": ", ".join(lifted), "taken back in": ", ".join(sorted({barred.run for barred in lifted.values()}))}
        releasing.note_once("quarantine-lifted", release.run, facts)


def _done_before(context: Context, run: Run, releasing: Releasing) -> Result | None:
    """A crash after the journal said settled, before the result was written, costs only the result."""
    champion = releasing.state.champion
    if releasing.release is not None or champion is None or champion.version.run != run.id:
        return None
    earlier = context.runs.result(run.id, "settle")
    if earlier is not None and earlier.verdict is Verdict.PASS:
        return earlier
    facts = {
        "colour": str(champion.colour),
        "digest": champion.version.digest,
        "model_version": champion.version.model_version,
    }
    entries = context.ledger.read()
    if not any(entry.event == "settled" and entry.run == run.id for entry in entries):
        context.note("settled", run=run.id, facts=facts)
    reason = Reason("settle.champion", Verdict.PASS, f"the version of this run is the champion, in {champion.colour}")
    return context.finish(run, "settle", context.clock.monotonic(), [reason], evidence=dict(facts), facts=facts)


def _check(name: str, good: bool, passed: str, failed: str) -> Reason:
    return Reason(name, Verdict.PASS if good else Verdict.FAIL, passed if good else failed)
