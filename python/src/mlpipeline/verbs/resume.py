"""``resume``: looks at the world, then finishes or takes back whatever a worker left that died, at whatever moment it did."""

from __future__ import annotations

from collections.abc import Sequence

from mlpipeline.core.release import (
    Abandon,
    Event,
    Hold,
    Phase,
    Proven,
    Release,
    Resume,
    Revive,
    Revived,
    Seen,
    TakeBack,
    Tidy,
    live_colour,
)
from mlpipeline.core.traffic import TrafficPlan
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, Held
from mlpipeline.ports import Moved
from mlpipeline.record.ledger import Unreachable
from mlpipeline.record.result import Reason, Result
from mlpipeline.verbs import settle
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.history import standing
from mlpipeline.verbs.holding import held
from mlpipeline.verbs.releasing import Releasing, moved_numbers
from mlpipeline.verbs.silence import await_silence

VERB = "resume"
LEFT = "the worker that was at it ended"
_TURNS = 4
"""One thing that was left may uncover the next: a return that ends shows what stands without users."""


def run(context: Context, *, if_silent_for: str = "") -> Result:
    """Finishes what was decided and takes back what was not. Judges nothing: what waits for a verdict waits on the champion.

    Args:
        if_silent_for: First watches that long, such as ``10m``, and changes nothing while any worker shows that it is at work.
            A worker that only holds the service, because it hangs or was stopped, loses it then.

    Raises:
        Held: Another worker has the service.
        EnvironmentFault: The target cannot be reached; nothing was changed.
    """
    started = context.clock.monotonic()
    if if_silent_for and (busy := await_silence(context, if_silent_for)):
        return _result(context, started, [Reason("resume.busy", Verdict.PASS, busy)])
    context = context.users_first()
    with held(context, None, VERB) as token:
        mending = _Mending(context, Releasing(context, token))
        reasons = mending.all()
        result = _result(context, started, reasons or [_nothing(mending)])
        if reasons:
            context.note(VERB, verdict=str(result.verdict), summary=result.summary, run=mending.of)
    return result


class _Mending:
    """One call of the verb: every turn looks anew and mends one thing."""

    def __init__(self, context: Context, releasing: Releasing) -> None:
        self._context, self._releasing = context, releasing
        self._reasons: list[Reason] = []
        self.of = releasing.release.run if releasing.release else ""

    def all(self) -> list[Reason]:
        """What was found and done; nothing when there was nothing to do."""
        for _ in range(_TURNS):
            if not self._one():
                break
        self._tell_settled()
        self._pay()
        self._bring_entries()
        return self._reasons

    def waits(self) -> str:
        """A release that is safe and not over, in words."""
        release = self._releasing.release
        if release is None:
            return ""
        return f"run {release.run} is {release.phase}, without users on {release.colour}; mlpipeline run --run {release.run}"

    def _one(self) -> bool:
        """Whether something was done that may show more."""
        release, seen = self._releasing.release, self._releasing.see()
        try:
            return self._without_release(seen) if release is None else self._release(release, seen)
        except Held:
            raise
        except (Failed, EnvironmentFault, ConfigurationError) as fault:
            self._say("stuck", Verdict.INCONCLUSIVE, f"{fault.what}; users stay where they are, mend it and resume again")
            return False

    def _release(self, release: Release, seen: Seen) -> bool:
        phase = release.phase
        if phase is Phase.PREPARING:
            return self._did(Abandon(), f"{_named(release)} had not come up in {release.colour}: taken away")
        if phase is Phase.RETURNING:
            moved = self._happen(Resume())
            self._releasing.finish_return()
            return self._told(f"users are back on {release.colour.other}, the way back of {_named(release)} is finished", moved)
        if phase in (Phase.DEPLOYED, Phase.SHIFTING):
            return self._hold(release, seen)
        if phase is Phase.SWITCHING:
            return self._switch(release)
        return self._settle(release, seen)

    def _hold(self, release: Release, seen: Seen) -> bool:
        """Nothing was decided about the candidate yet."""
        champion = release.champion
        if champion is None:
            return False
        safe = seen.plan == TrafficPlan.all_to(release.colour.other) and seen.ready.get(release.colour.other) == champion.digest
        if safe:
            return False
        moved = self._happen(Hold(LEFT))
        return self._told(f"{_named(release)} was not judged yet: all users wait on {release.colour.other}", moved, more=False)

    def _switch(self, release: Release) -> bool:
        """The verdict fell, or there is none to ask for: all users were to move."""
        try:
            moved = self._happen(Resume())
        except Failed as failed:
            if release.champion is None:
                raise
            moved = self._happen(TakeBack(f"{release.colour} did not come up again: {failed.what}"))
            self._releasing.finish_return()
            return self._told(f"{_named(release)} did not come up again: users are back on {release.colour.other}", moved)
        if moved is None or moved.old_in_flight:
            self._say("proof", Verdict.INCONCLUSIVE, f"{release.colour.other} still owes requests; resume again")
            return False
        self._happen(Proven())
        return self._told(f"all users are on {release.colour}, as was decided of {_named(release)}", moved)

    def _settle(self, release: Release, seen: Seen) -> bool:
        if seen.ready.get(release.colour) != release.candidate.digest or seen.plan is None:
            return self._after_all(release)
        settle.end(self._context, self._releasing, release)
        return self._told(f"{_named(release)} is settled in {release.colour}", None)

    def _after_all(self, release: Release) -> bool:
        """All users are on it and it answers nobody: the champion is warm, or comes back as it was."""
        if release.champion is None:
            moved = self._happen(TakeBack(LEFT))
            return self._told(f"{_named(release)} was brought back in {release.colour}", moved)
        moved = self._happen(TakeBack(f"{release.colour} went down after all users were switched to it"))
        self._releasing.finish_return()
        return self._told(f"{_named(release)} went down after the switch: users are back on {release.colour.other}", moved)

    def _without_release(self, seen: Seen) -> bool:
        champion = self._releasing.state.champion
        if champion is not None and self._is_down(seen):
            moved = self._happen(Revive())
            self._releasing.happen(Revived())
            self._context.note("revived", facts={"colour": str(champion.colour), "digest": champion.version.digest})
            return self._told(f"the champion in {champion.colour} answers users again, as it was", moved)
        live = live_colour(self._releasing.state, seen)
        if live is not None and seen.plan is not None and live.other in seen.deployed:
            return self._did(Tidy(), f"{live.other} stood without users and without a release: taken away", more=False)
        return False

    def _is_down(self, seen: Seen) -> bool:
        """Unless a person stopped it."""
        champion = self._releasing.state.champion
        if champion is None:
            return False
        well = seen.plan is not None and seen.ready.get(champion.colour) == champion.version.digest
        if self._releasing.state.reviving or not well:
            return self._releasing.state.reviving or standing(self._context.ledger.read()) is not None
        return False

    def _did(self, event: Event, words: str, *, more: bool = True) -> bool:
        before = self._releasing.see()
        moved = self._happen(event)
        if isinstance(event, Tidy) and self._releasing.see() == before:
            return False
        return self._told(words, moved, more=more)

    def _happen(self, event: Event) -> Moved | None:
        return self._releasing.happen(event).moved

    def _told(self, words: str, moved: Moved | None, *, more: bool = True) -> bool:
        self._reasons.append(Reason("resume.done", Verdict.PASS, words, numbers=moved_numbers(moved)))
        self._context.console.say(f"resume: {words}")
        return more

    def _say(self, check: str, verdict: Verdict, words: str) -> None:
        self._reasons.append(Reason(f"resume.{check}", verdict, words))

    def _tell_settled(self) -> None:
        """The worker ended between the journal, which says settled, and the ledger, which does not."""
        champion, release = self._releasing.state.champion, self._releasing.release
        if champion is None or release is not None or not champion.version.run:
            return
        known = self._context.ledger.read()
        if not any(entry.event == "settled" and entry.run == champion.version.run for entry in known):
            version = champion.version
            facts = {"colour": str(champion.colour), "digest": version.digest, "model_version": version.model_version}
            self._context.note("settled", run=version.run, facts=facts)
            self._told(f"the ledger knows now that run {version.run} settled", None)

    def _pay(self) -> None:
        if self._releasing.state.owed:
            paid = self._releasing.pay_debts()
            words = "the registry was told what it was owed" if paid else "the registry cannot be reached and is still owed"
            self._say("registry", Verdict.PASS if paid else Verdict.INCONCLUSIVE, words)

    def _bring_entries(self) -> None:
        waiting = len(self._context.ledger.waiting())
        if not waiting:
            return
        try:
            brought = self._context.ledger.bring_waiting()
            self._say("ledger", Verdict.PASS, f"{brought} entries that waited on this machine are in the ledger")
        except Unreachable as fault:
            self._say("ledger", Verdict.INCONCLUSIVE, f"{waiting} entries still wait on this machine: {fault.what}")


def _nothing(mending: _Mending) -> Reason:
    waits = mending.waits()
    words = f"nothing to mend: {waits} (goes on)" if waits else "nothing to do: no worker left anything"
    return Reason("resume.nothing", Verdict.PASS, words)


def _named(release: Release) -> str:
    known = f"version {release.candidate.model_version}" if release.candidate.model_version else release.candidate.digest[:19]
    return f"{known} of run {release.run}"


def _result(context: Context, started: float, reasons: Sequence[Reason]) -> Result:
    verdict = worst(reason.verdict for reason in reasons)
    decided = [reason.summary for reason in reasons if verdict is Verdict.PASS or reason.verdict is verdict]
    return context.judged(VERB, started, reasons, verdict=verdict, summary="; ".join(decided))
