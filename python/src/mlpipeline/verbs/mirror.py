"""``mirror``: while people decide, the candidate answers copies of user requests and is watched; no user depends on it yet."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mlpipeline.config.limits import LONGEST
from mlpipeline.config.rollout_plan import copying
from mlpipeline.core.release import Phase, Release, Standing, TakeBack
from mlpipeline.core.traffic import TrafficPlan
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, Held
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held
from mlpipeline.verbs.releasing import Releasing, smoke

if TYPE_CHECKING:
    from mlpipeline.verbs.verify import StageOutcome

VERB = "mirror"
EVIDENCE = "mirror-evidence.json"
"""In the run's folder, added to by each call: one test over all of them, so that looking often raises no false alarms."""
_TRIES = 3
_PAUSE_SECONDS = 2.0


def run(context: Context, run: Run, *, seconds: float | None = None) -> Result:
    """Asks the candidate once, then watches it on copies of user requests. Users notice nothing of either.

    The service is held only to begin and to end the copying, so that users can be taken back at any moment.

    Args:
        seconds: How long; ``rollout.mirror`` when not given. Where that is 0 the candidate is only asked.

    Fail means that the candidate of this run is no longer fit to be approved: it does not answer any more, something else was
    deployed in its place, or it harms; what harms is taken back and quarantined as ``switch`` would do it.

    Raises ConfigurationError when nothing of this run is deployed or users are on it already, Held while another worker
    changes the service, EnvironmentFault when Prometheus or the target cannot be reached.
    """
    started = context.clock.monotonic()
    if seconds is not None and not 0 < seconds <= LONGEST:
        raise ConfigurationError(f"--seconds must be more than 0, not {seconds:g}", tries=("mlpipeline mirror --seconds 30",))
    context.needed(run, "deploy", VERB)
    with held(context, run, VERB) as token:
        releasing = Releasing(context, token)
        gone = _gone(releasing, run)
        if gone is not None:
            return _told(context, run, started, gone)
        release = _waiting(releasing)
        answered = _answered(context, releasing, Standing(release.colour, release.candidate))
    if answered.verdict is not Verdict.PASS or release.champion is None or not copying(context.config.rollout):
        return _told(context, run, started, answered)
    outcome = _watched(context, run, release, copying(context.config.rollout) if seconds is None else seconds)
    evidence: dict[str, object] = {"colour": str(release.colour), "seconds": float(outcome.seconds), "looks": outcome.looks}
    reasons = [Reason("mirror.watch", outcome.verdict, outcome.summary), *outcome.reasons, answered]
    return _told(context, run, started, *reasons, verdict=outcome.verdict, evidence=evidence, links={"evidence": EVIDENCE})


def _gone(releasing: Releasing, run: Run) -> Reason | None:
    """Why people would decide on something that is not there any more."""
    release, champion = releasing.release, releasing.state.champion
    if release is not None and release.run == run.id and release.phase in (Phase.DEPLOYED, Phase.SHIFTING):
        if (plan := releasing.see().plan) is not None and plan.serves(release.colour):
            raise ConfigurationError(
                "users are being moved to this candidate", facts={"run": run.id}, tries=("mlpipeline verify",)
            )
        return None
    if (champion is not None and champion.version.run == run.id) or (release is not None and release.run == run.id):
        raise ConfigurationError("users were moved already", facts={"run": run.id}, tries=("mlpipeline status",))
    instead = f"run {release.run} is {release.phase}" if release else "it was taken back or replaced"
    return Reason("mirror.gone", Verdict.FAIL, f"the candidate of this run is no longer deployed: {instead}")


def _waiting(releasing: Releasing) -> Release:
    assert releasing.release is not None, "_gone has seen it"  # noqa: S101
    return releasing.release


def _answered(context: Context, releasing: Releasing, standing: Standing) -> Reason:
    """Asked again before it is called dead: one lost answer is no death."""
    answered = smoke(context, releasing, standing)
    for _ in range(_TRIES - 1):
        if answered.verdict is Verdict.PASS:
            break
        context.clock.sleep(_PAUSE_SECONDS)
        answered = smoke(context, releasing, standing)
    return answered


def _watched(context: Context, run: Run, release: Release, seconds: float) -> StageOutcome:
    from mlpipeline.verbs.verify import Roles, Watch

    url = context.config.verify.prometheus or context.world.target().monitoring()
    roles = Roles(candidate=release.colour, champion=release.colour.other)
    watch = Watch(context, run, roles, prometheus=url, file=EVIDENCE)
    watch.check()
    copied = TrafficPlan(live=release.colour.other, mirror=True)
    _route(context, run, copied)
    try:
        outcome = watch.watch(VERB, seconds, traffic="mirror")
    finally:
        # Another worker that has the service by now decides itself what the router does.
        with contextlib.suppress(Held):
            _route(context, run, TrafficPlan.all_to(release.colour.other), instead_of=copied)
    if outcome.verdict is Verdict.FAIL:
        _take_back(context, run, outcome.summary)
    return outcome


def _route(context: Context, run: Run, plan: TrafficPlan, *, instead_of: TrafficPlan | None = None) -> None:
    """Only while the candidate still waits, and to end the copying only what this verb began."""
    with held(context, run, VERB) as token:
        releasing = Releasing(context, token)
        if _gone(releasing, run) is None and (instead_of is None or releasing.see().plan == instead_of):
            releasing.target.route(plan)


def _take_back(context: Context, run: Run, why: str) -> None:
    with held(context, run, VERB) as token:
        releasing = Releasing(context, token)
        if _gone(releasing, run) is None:
            releasing.happen(TakeBack(f"while it waited to be approved: {why}"))
            releasing.finish_return()


def _told(
    context: Context,
    run: Run,
    started: float,
    *reasons: Reason,
    verdict: Verdict | None = None,
    evidence: dict[str, object] | None = None,
    links: dict[str, str] | None = None,
) -> Result:
    """Of a wait of days with a look every few minutes the ledger keeps the first one and each change."""
    before = context.runs.result(run.id, VERB)
    now = verdict or worst(reason.verdict for reason in reasons)
    known = before is not None and before.verdict is now
    return context.finish(run, VERB, started, reasons, verdict=now, evidence=evidence, links=links, news=not known)
