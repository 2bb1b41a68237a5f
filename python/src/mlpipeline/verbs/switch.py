"""``switch``: users move to the candidate stage by stage, watched; all of them only after the verdict, and proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlpipeline.core.release import (
    Abandon,
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
from mlpipeline.verbs import hooks
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held
from mlpipeline.verbs.releasing import Done, Releasing, deployed_version, moved_numbers, smoke, smoke_request

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
        self._replayed: Reason | None = None

    def go(self) -> Result:
        release = self._release
        if release.phase is Phase.RETURNING:
            return self._finish_earlier_return(release)
        self._need_approval()
        try:
            refused = self._before_anybody(release)
            if refused is not None:
                return refused
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

    def _before_anybody(self, release: Release) -> Result | None:
        """What is asked before any user or copy reaches the candidate; a result when it does not go on."""
        refused = self._ask(release, "confirm_start", share=0)
        if refused is not None or release.champion is None or release.phase is not Phase.DEPLOYED:
            return refused
        from mlpipeline.verbs.replaying import replay

        self._replayed = replay(self._context, self._releasing.target, release)
        if self._replayed is None or self._replayed.verdict is Verdict.PASS:
            return None
        return self._not_passed(release, self._replayed.verdict, f"replay: {self._replayed.summary}", ())

    def _ask(self, release: Release, point: str, *, share: int, stage: str = "") -> Result | None:
        """Asks a hook; a result when it does not go on."""
        found = hooks.ask(self._context, self._run, point, release, share=share, stage=stage)
        if found is None or found.verdict is Verdict.PASS:
            return None
        return self._not_passed(release, found.verdict, f"hook {found.summary}", ())

    def _first(self, release: Release) -> Result:
        """Nobody is compared with: readiness and the smoke request are all there is, and the summary says so."""
        refused = self._ask(release, "before_switch", share=0)
        if refused is not None:
            return refused
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
        refused = self._ask(release, "after_switch", share=100)
        if refused is not None:
            return refused
        self._releasing.happen(Proven())
        self._consume_approvals()
        return self._finish(reasons, release, done.moved, summary=reasons[1].summary)

    def _staged(self, release: Release) -> Result:
        watch = self._watching(release) if self._watched else None
        done, share = self._releasing.happen(Resume()), 0
        while watch is not None and isinstance(done.waiting, WatchStage):
            stage = self._releasing.stages[done.waiting.index]
            self._say_stage(stage.name, stage.share, stage.mirror)
            last = not any(later.compares for later in self._releasing.stages[done.waiting.index + 1 :])
            outcome = watch.watch(stage.name, stage.seconds, traffic=stage.traffic, last=last)
            if outcome.verdict is not Verdict.PASS:
                return self._stopped(release, done, outcome)
            self._keep_stage(release, done, outcome)
            share = stage.share
            refused = self._ask(release, "each_step", share=share, stage=stage.name) or self._late(release, stage.name)
            if refused is not None:
                return refused
            done = self._releasing.happen(StagePassed())
        if isinstance(done.waiting, Conclude):
            if watch is not None:
                judged = watch.conclude()
                self._keep_verdict(judged)
                if judged.verdict is not Verdict.PASS:
                    return self._not_passed(release, judged.verdict, f"the release: {judged.summary}", judged.reasons)
            refused = self._ask(release, "before_switch", share=share)
            if refused is not None:
                return refused
            done = self._releasing.happen(Judged())
        return self._prove(release, done.moved)

    @property
    def _watched(self) -> bool:
        """In staging a rollout without stages has no users to watch: its golden requests were its verification."""
        return bool(self._releasing.stages) or not self._context.environment_name

    def _late(self, release: Release, stage: str) -> Result | None:
        """Past the time-out nobody waits on, however good it looks."""
        limit, took = self._context.config.rollout.timeout, self._context.clock.monotonic() - self._started
        if not limit or took <= limit:
            return None
        words = f"stage {stage} ended after {took:.0f} s, past rollout.timeout of {limit:g} s"
        return self._not_passed(release, Verdict.INCONCLUSIVE, words, ())

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
        moved, after = self._go_back(words, failed=failed)
        self._context = self._releasing.context
        if failed:
            self._releasing.finish_return()
            self._consume_approvals()
        if stopped is not None:
            self._keep_stage(release, *stopped)
        first = Reason("switch.stage", Verdict.FAIL if failed else Verdict.INCONCLUSIVE, f"{words}; {after}")
        rollback: dict[str, Number] = {"decided": decided, **moved_numbers(moved)}
        rest = [self._proof(moved, release.colour)] if moved is not None else []
        if failed and stopped is not None:
            self._keep_late_verdict()
        return self._finish([first, *reasons, *rest], release, moved, rollback=rollback, verdict=first.verdict)

    def _go_back(self, words: str, *, failed: bool) -> tuple[Moved | None, str]:
        """As far as anybody was moved; and what then is, in words."""
        release = self._release
        waits = release.phase is Phase.DEPLOYED
        if release.champion is None:
            if failed and waits:
                self._releasing.happen(Abandon())
                return None, f"{release.colour} was taken away; it never had users"
            return None, "there is no earlier version to go back to" if failed else "run again to go on"
        if failed:
            moved = self._releasing.happen(TakeBack(words)).moved
            return moved, f"all users are back on {release.colour.other}, the version is quarantined"
        if waits:
            return None, f"all users are on {release.colour.other}; run again to go on"
        moved = self._releasing.happen(Hold(words)).moved
        return moved, f"all users are back on {release.colour.other}; run again to go on"

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
        refused = self._ask(release, "after_switch", share=100)
        if refused is not None:
            return refused
        staying = self._releasing.see().plan
        self._releasing.happen(Proven())
        self._consume_approvals()
        words = f"all users are on {release.colour}, proven; {release.colour.other} stays warm"
        if staying is not None and (kept := staying.pinned(release.colour.other)):
            names = ", ".join(cohort.name for cohort in kept)
            words = (
                f"all users but cohort {names} are on {release.colour}; {release.colour.other} answers these until it settles, "
                "so that nothing is proven of it yet"
            )
        return self._finish([Reason("switch.live", Verdict.PASS, words), proof], release, moved)

    def _await_first_answer(self, release: Release, moved: Moved | None) -> Moved | None:
        """A quiet service may need a while until a first user comes to the new colour."""
        if moved is None or moved.new_completed or moved.new_in_flight:
            return moved
        clock, counts = self._context.clock, self._releasing.target.counts
        before = counts()[release.colour].completed
        if self._context.environment_name:
            self._releasing.target.ask_as_user(smoke_request(self._context, Path(release.candidate.path))[0] or b"{}")
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
        if gained and moved.pinned_cohorts and moved.new_completed:
            words = (
                f"not proven that {old} stands still, as cohorts stay on it by design; the other answered {moved.new_completed}"
            )
            return Reason("switch.proof", Verdict.PASS, words, numbers=numbers)
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
        ended = hooks.asked(self._context, self._run)
        evidence["hooks"] = [msgspec.to_builtins(one, enc_hook=str) for one in ended]
        reasons = [*reasons, *([self._replayed] if self._replayed else []), *(one.reason for one in ended)]
        if rollback is not None:
            evidence["rollback"] = rollback
        facts = {
            "colour": str(release.colour),
            "digest": release.candidate.digest,
            "model_version": release.candidate.model_version,
        }
        return self._context.finish(
            self._run,
            "switch",
            self._started,
            reasons,
            verdict=verdict,
            summary=summary,
            evidence=evidence,
            facts=facts,
            links={f"hook {one.point}{f' {one.stage}' if one.stage else ''}": one.log for one in ended if one.log},
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
