"""``switch``: users move to the candidate stage by stage, watched; all of them only after the verdict, and proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from mlpipeline.core.release import (
    Conclude,
    Hold,
    Judged,
    Phase,
    Proven,
    Release,
    Resume,
    StagePassed,
    Standing,
    TakeBack,
    WatchStage,
)
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, Held, MlpipelineError
from mlpipeline.ports import Moved
from mlpipeline.record.files import read_own, write_atomically
from mlpipeline.record.result import Number, Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held
from mlpipeline.verbs.releasing import Done, Releasing, deployed_version, moved_numbers, smoke

if TYPE_CHECKING:
    from mlpipeline.verbs.verify import JudgedRelease, StageOutcome, Watch

_LOOK_SECONDS = 0.2
"""Between looks at the router's counters while the first answer of the new colour is awaited."""


def run(context: Context, run: Run) -> Result:
    """Moves users to the candidate of this run, or takes them back. Goes on where a killed worker stopped.

    Raises:
        ConfigurationError: Nothing of this run is deployed, or an approval is missing.
        EnvironmentFault: Monitoring or the target failed; users were put back on the champion first.
    """
    started = context.clock.monotonic()
    context.needed(run, "deploy", "switch")
    with held(context, run, "switch") as token:
        releasing = Releasing(context, token)
        releasing.pay_debts()
        earlier = _done_before(context, run, releasing)
        if earlier is not None:
            return earlier
        return _Switch(context, run, releasing, started).go()


def _done_before(context: Context, run: Run, releasing: Releasing) -> Result | None:
    """The passed result of a switch that is over; refuses when this run has nothing to switch."""
    wanted = deployed_version(context, run, "switch")
    release, champion = releasing.release, releasing.state.champion
    over = release is not None and release.run == run.id and release.phase in (Phase.SWITCHED, Phase.SETTLING)
    if over or (release is None and champion is not None and champion.version.run == run.id):
        earlier = context.runs.result(run.id, "switch")
        if earlier is not None and earlier.verdict is Verdict.PASS:
            return earlier
        reason = Reason("switch.done", Verdict.PASS, "users were switched before this call; the proof is in the ledger")
        return context.finish(run, "switch", context.clock.monotonic(), [reason], evidence=_evidence(context, run, release))
    if release is None or release.run != run.id or release.candidate.digest != wanted.digest:
        other = f"run {release.run} ({release.phase})" if release else "none"
        raise ConfigurationError(
            "nothing of this run stands ready to take users",
            facts={"run": run.id, "release in progress": other},
            tries=("mlpipeline deploy", "mlpipeline status"),
        )
    return None


class _Switch:
    """One call of the verb."""

    def __init__(self, context: Context, run: Run, releasing: Releasing, started: float) -> None:
        self._context = context
        self._run = run
        self._releasing = releasing
        self._started = started
        self._plain = context.clock.now().timestamp() - started
        self._watch: Watch | None = None

    def go(self) -> Result:
        release = self._release
        if release.phase is Phase.RETURNING:
            return self._finish_earlier_return(release)
        self._need_approval()
        try:
            return self._first(release) if release.champion is None else self._staged(release)
        except (Exception, KeyboardInterrupt) as fault:
            self._make_safe(fault)
            raise

    @property
    def _release(self) -> Release:
        release = self._releasing.release
        if release is None:
            raise ConfigurationError("no release is in progress", tries=("mlpipeline deploy",))
        return release

    def _need_approval(self) -> None:
        if self._context.config.approval.required:
            from mlpipeline.verbs.approve import require

            require(self._context, self._run)

    def _first(self, release: Release) -> Result:
        """Nobody is compared with: readiness and the smoke request are all there is, and the summary says so."""
        done = self._releasing.happen(Resume())
        answered = smoke(self._context, self._releasing, Standing(release.colour, release.candidate))
        reasons = [
            answered,
            Reason(
                "switch.first",
                Verdict.PASS,
                f"first release: all users on {release.colour} after readiness and a smoke request only; there was no champion "
                "to compare with",
            ),
        ]
        if answered.verdict is not Verdict.PASS:
            return self._finish(reasons, release, done.moved)
        self._releasing.happen(Proven())
        self._consume_approvals()
        return self._finish(reasons, release, done.moved, summary=reasons[1].summary)

    def _staged(self, release: Release) -> Result:
        watch = self._watching(release)
        done = self._releasing.happen(Resume())
        while isinstance(done.waiting, WatchStage):
            stage = self._releasing.stages[done.waiting.index]
            self._say_stage(stage.name, stage.share, stage.mirror)
            traffic: Literal["mirror", "live"] = "mirror" if stage.mirror else "live"
            outcome = watch.watch(stage.name, stage.seconds, traffic=traffic)
            if outcome.verdict is not Verdict.PASS:
                return self._stopped(release, done, outcome)
            self._keep_stage(release, done, outcome)
            done = self._releasing.happen(StagePassed())
        if isinstance(done.waiting, Conclude):
            judged = watch.conclude()
            self._keep_verdict(judged)
            if judged.verdict is not Verdict.PASS:
                return self._not_passed(release, judged.verdict, f"the release: {judged.summary}", judged.reasons)
            done = self._releasing.happen(Judged())
        return self._prove(release, done.moved)

    def _watching(self, release: Release) -> Watch:
        from mlpipeline.verbs.verify import Roles, Watch

        url = self._context.config.verify.prometheus or self._releasing.target.monitoring()
        roles = Roles(candidate=release.colour, champion=release.colour.other)
        self._watch = Watch(self._context, self._run, roles, prometheus=url)
        self._watch.check()
        return self._watch

    def _stopped(self, release: Release, done: Done, outcome: StageOutcome) -> Result:
        index = done.waiting.index if isinstance(done.waiting, WatchStage) else 0
        words = f"stage {self._releasing.stages[index].name}: {outcome.summary}"
        return self._not_passed(release, outcome.verdict, words, outcome.reasons, stopped=(done, outcome))

    def _not_passed(
        self,
        release: Release,
        verdict: Verdict,
        words: str,
        reasons: tuple[Reason, ...],
        stopped: tuple[Done, StageOutcome] | None = None,
    ) -> Result:
        """Users first; everything that is only written down comes after."""
        failed = verdict is Verdict.FAIL
        decided = self._plain + self._context.clock.monotonic()
        moved = self._releasing.happen(TakeBack(words) if failed else Hold(words)).moved
        self._context = self._releasing.context
        if failed:
            self._releasing.finish_return()
            self._consume_approvals()
        if stopped is not None:
            self._keep_stage(release, *stopped)
        after = f"all users are back on {release.colour.other}" + (
            ", the version is quarantined" if failed else "; run again to go on"
        )
        first = Reason("switch.stage", Verdict.FAIL if failed else Verdict.INCONCLUSIVE, f"{words}; {after}")
        rollback: dict[str, Number] = {"decided": decided, **moved_numbers(moved)}
        rest = [self._proof(moved, release.colour)] if moved is not None else []
        if failed and stopped is not None:
            self._keep_late_verdict()
        return self._finish([first, *reasons, *rest], release, moved, rollback=rollback, verdict=first.verdict)

    def _prove(self, release: Release, moved: Moved | None) -> Result:
        """Success is reported only when the old colour stands still and the new one answers users."""
        moved = self._await_first_answer(release, moved)
        if moved is not None and moved.new_in_flight and not moved.new_completed:
            waited = self._context.config.rollout.settle_switch
            words = f"{release.colour} took all users and answered none of {moved.new_in_flight} requests within {waited:g} s"
            return self._not_passed(release, Verdict.FAIL, words, ())
        proof = self._proof(moved, release.colour.other, gained=True)
        if proof.verdict is not Verdict.PASS:
            return self._finish([proof], release, moved)
        self._releasing.happen(Proven())
        self._consume_approvals()
        live = Reason(
            "switch.live", Verdict.PASS, f"all users are on {release.colour}, proven; {release.colour.other} stays warm"
        )
        return self._finish([live, proof], release, moved)

    def _await_first_answer(self, release: Release, moved: Moved | None) -> Moved | None:
        """A quiet service may need a while until a first user comes to the new colour."""
        if moved is None or moved.new_completed or moved.new_in_flight:
            return moved
        clock, counts = self._context.clock, self._releasing.target.counts
        before = counts()[release.colour].completed
        deadline = clock.monotonic() + self._context.config.rollout.settle_switch
        while clock.monotonic() < deadline:
            gained = counts()[release.colour].completed - before
            if gained > 0:
                return msgspec.structs.replace(moved, new_completed=gained)
            clock.sleep(_LOOK_SECONDS)
        return moved

    def _proof(self, moved: Moved | None, old: str, *, gained: bool = False) -> Reason:
        if moved is None:
            return Reason("switch.proof", Verdict.INCONCLUSIVE, "the router was not asked to move users")
        numbers = moved_numbers(moved)
        if moved.old_in_flight:
            return Reason(
                "switch.proof",
                Verdict.INCONCLUSIVE,
                f"{old} still owes {moved.old_in_flight} requests after {self._context.config.rollout.settle_switch:g} s",
                numbers=numbers,
            )
        if gained and not moved.new_completed:
            return Reason(
                "switch.proof", Verdict.INCONCLUSIVE, f"{old} stands still, but no user was answered since", numbers=numbers
            )
        return Reason(
            "switch.proof",
            Verdict.PASS,
            f"{old} stands still {moved.old_last_seconds:.3f} s after the write; the other answered {moved.new_completed} since",
            numbers=numbers,
        )

    def _make_safe(self, fault: BaseException) -> None:
        """Whatever went wrong: users wait on the champion. The fault itself is raised by the caller."""
        release = self._releasing.release
        if release is None or release.champion is None or release.phase not in (Phase.SHIFTING, Phase.SWITCHING):
            return
        if isinstance(fault, Held):
            return  # another worker has the service now, and users are its care
        words = _words(fault)
        self._context.console.say(f"{words}: users go back to {release.colour.other}")
        try:
            self._releasing.happen(Hold(words, prove=False))
        except (EnvironmentFault, Failed) as second:
            self._context.console.say(f"NOT SAFE: users could not be moved back ({second.what}); run: mlpipeline rollback")

    def _finish_earlier_return(self, release: Release) -> Result:
        """A worker died while it took the release back."""
        moved = self._releasing.happen(Resume()).moved
        self._releasing.finish_return()
        reason = Reason("switch.stage", Verdict.FAIL, f"{release.why}; all users are back on {release.colour.other}")
        return self._finish([reason], release, moved, rollback=moved_numbers(moved))

    def _say_stage(self, name: str, share: int, mirror: bool) -> None:
        how = "copies of user requests, answers unseen" if mirror else f"{share} % of users"
        self._context.console.say(f"stage {name}: {how} to {self._release.colour}")

    def _keep_stage(self, release: Release, done: Done, outcome: StageOutcome) -> None:
        """Stages outlive a killed worker, so that the result of the one that goes on has them all."""
        index = done.waiting.index if isinstance(done.waiting, WatchStage) else 0
        stage = self._releasing.stages[index]
        kept = {
            "name": stage.name,
            "plan": msgspec.to_builtins(stage.plan(release.colour.other)),
            "verdict": str(outcome.verdict),
            "summary": outcome.summary,
            "seconds": float(outcome.seconds),
            "moved": moved_numbers(done.moved),
        }
        folder = self._context.runs.folder(self._run.id)
        write_atomically(folder / "stages.json", msgspec.json.encode([*_stages(self._context, self._run), kept]))

    def _keep_verdict(self, judged: JudgedRelease) -> None:
        self._context.finish(
            self._run,
            "verify",
            self._started,
            judged.reasons,
            verdict=judged.verdict,
            summary=judged.summary,
            evidence=judged.evidence,
        )

    def _keep_late_verdict(self) -> None:
        """After a stage failed, the evidence so far. Users are safe already, so a lost Prometheus costs only the page."""
        if self._watch is None:
            return
        try:
            self._keep_verdict(self._watch.conclude())
        except EnvironmentFault as fault:
            self._context.console.say(f"the evidence could not be summed up: {fault.what}")

    def _consume_approvals(self) -> None:
        if self._context.config.approval.required:
            from mlpipeline.verbs.approve import consume

            consume(self._context, self._run)

    def _finish(
        self,
        reasons: list[Reason],
        release: Release,
        moved: Moved | None,
        *,
        rollback: dict[str, Number] | None = None,
        verdict: Verdict | None = None,
        summary: str = "",
    ) -> Result:
        evidence = _evidence(self._context, self._run, release)
        evidence["moved"] = moved_numbers(moved)
        if rollback is not None:
            evidence["rollback"] = rollback
        facts = {
            "colour": str(release.colour),
            "digest": release.candidate.digest,
            "model_version": release.candidate.model_version,
        }
        return self._context.finish(
            self._run, "switch", self._started, reasons, verdict=verdict, summary=summary, evidence=evidence, facts=facts
        )


def _words(fault: BaseException) -> str:
    if isinstance(fault, MlpipelineError):
        return fault.what
    told = f" by {fault}" if isinstance(fault, KeyboardInterrupt) and str(fault) else ""
    return f"interrupted{told}" if isinstance(fault, KeyboardInterrupt) else f"{type(fault).__name__}: {fault}"


def _stages(context: Context, run: Run) -> list[dict[str, object]]:
    file = context.runs.folder(run.id) / "stages.json"
    return read_own(file, list[dict[str, object]], "the record of the stages") if file.is_file() else []


def _evidence(context: Context, run: Run, release: Release | None) -> dict[str, object]:
    found: dict[str, object] = {"stages": _stages(context, run)}
    if release is not None:
        found |= {"colour": str(release.colour), "first": release.champion is None}
    return found
