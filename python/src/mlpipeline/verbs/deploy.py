"""``deploy``: the candidate beside the live version, without users, answering."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mlpipeline.core.release import Abandon, Begin, Phase, Quarantine, Ready, Standing, champion_now, quarantines_of
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.attesting import refresh
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held
from mlpipeline.verbs.hooks import forget
from mlpipeline.verbs.rehearsing import Rehearsal
from mlpipeline.verbs.releasing import Releasing, deployed_version, smoke
from mlpipeline.verbs.verify_artifact import require_proof


def run(context: Context, run: Run, *, allow_quarantined: bool = False, plan: bool = False) -> Result:
    """Deploys what this run packaged to the colour that is not live.

    Args:
        allow_quarantined: A person decided that a version that was taken back may be tried again.
        plan: Nothing is changed or recorded; says what would be.

    Raises:
        Failed: The version or another one of the same source is quarantined, its proof does not hold, or it does not start.
        ConfigurationError: Nothing was packaged, another release is in progress, the champion is not the one that gate model
            compared with, or a file of requests is missing or malformed.
    """
    started = context.clock.monotonic()
    version = deployed_version(context, run, "deploy")
    if plan:
        from mlpipeline.verbs.deploy_plan import planned

        return planned(context, run, version)
    rehearsal = Rehearsal(context)
    before = _staged(context, run, allow_quarantined=allow_quarantined)
    if before is not None and before.verdict is not Verdict.PASS:
        words = f"not deployed to production: {before.summary}"
        return context.finish(run, "deploy", started, [Reason("deploy.staging", before.verdict, words), *before.reasons])
    with held(context, run, "deploy") as token:
        releasing = Releasing(context, token)
        releasing.pay_debts()
        barred = quarantines_of(releasing.state, version)
        if barred and not allow_quarantined:
            digest, first = next(iter(barred.items()))
            raise taken_back_before(digest, first, same_bytes=digest == version.digest)
        refuse_another(releasing, run)
        _refuse_other_champion(context, run, releasing)
        if not context.environment_name:  # what is said of a package belongs to the run that made it
            refresh(context, run, version.digest)
            require_proof(context, run, version.digest)
        if releasing.release is None or releasing.release.run != run.id:
            forget(context, run)
        try:
            releasing.happen(Begin(run=run.id, version=version))
            return _judge(context, run, releasing, started, barred=barred, rehearsal=rehearsal)
        except Failed:
            _abandon(releasing)
            raise


def _staged(context: Context, run: Run, *, allow_quarantined: bool) -> Result | None:
    """How the same package fared in front of production; nothing where there is no such environment."""
    if context.config.staging is None:
        return None
    from mlpipeline.verbs import staging

    return staging.run(context, run, allow_quarantined=allow_quarantined)


def taken_back_before(
    digest: str, barred: Quarantine, *, same_bytes: bool = False, person: str = "mlpipeline deploy --allow-quarantined"
) -> Failed:
    """The refusal of a quarantined digest, or of another one of the same source.

    Args:
        person: The command by which a person decides otherwise.
    """
    what = "this version" if same_bytes else "a version of this very commit and data"
    commit = {"commit": barred.source.commit} if barred.source else {}
    return Failed(
        f"{what} was taken back before and is quarantined",
        facts={"digest": digest, **commit, "reason": barred.reason, "taken back in": f"run {barred.run}"},
        tries=("change the model, its data or its code", f"{person}    # a person's decision"),
    )


def _refuse_other_champion(context: Context, run: Run, releasing: Releasing) -> None:
    """Users may have been taken back, or another release settled, since this candidate was judged."""
    if releasing.release is not None and releasing.release.run == run.id:
        return  # it stands beside the champion that it was begun with
    facts = other_champion(context, run, releasing)
    if facts:
        raise ConfigurationError(
            "the champion is not the one that gate model compared this candidate with",
            facts=facts,
            likely="users were taken back, or another release settled, meanwhile",
            tries=("mlpipeline gate model    # judges the same candidate anew", "mlpipeline run    # does that, and goes on"),
        )


def other_champion(context: Context, run: Run, releasing: Releasing) -> dict[str, str]:
    """Which champion gate model compared with and which it is now, when they differ; nothing when it compared nothing."""
    judged = context.runs.result(run.id, "gate-model")
    if judged is None or "holdout_digest" not in judged.evidence:
        return {}
    then = msgspec.convert(judged.evidence.get("champion", {}), dict[str, str]).get("digest", "")
    champion = champion_now(releasing.state, releasing.see())
    now = champion.digest if champion else ""
    if then == now or (champion is not None and champion.run == run.id):
        return {}
    return {"compared with": then or "nobody, there was none", "champion now": now or "none"}


def refuse_another(releasing: Releasing, run: Run) -> None:
    """Another run's release that may hold users is gone on with or taken back first; nothing is begun beside it."""
    release = releasing.release
    if release is None or release.run == run.id:
        return
    holds = release.phase in (Phase.SWITCHING, Phase.SWITCHED, Phase.SETTLING, Phase.RETURNING)
    plan = releasing.see().plan
    if holds or (plan is not None and plan.serves(release.colour)):
        going_on = () if release.phase is Phase.RETURNING else (f"mlpipeline run --run {release.run}    # go on with it",)
        taking_back = () if release.champion is None else ("mlpipeline rollback    # take it back",)
        raise ConfigurationError(
            "another release is in progress on this service",
            facts={"run": release.run, "phase": release.phase, "colour": release.colour},
            likely="the worker that was at it was ended",
            tries=(*going_on, *taking_back, "mlpipeline status"),
        )


def _judge(
    context: Context,
    run: Run,
    releasing: Releasing,
    started: float,
    *,
    barred: Mapping[str, Quarantine],
    rehearsal: Rehearsal,
) -> Result:
    release = releasing.release
    assert release is not None, "Begin always leaves a release"  # noqa: S101
    standing = Standing(release.colour, release.candidate)
    answered = _asked(context, releasing, standing, rehearsal)
    good = all(one.verdict is Verdict.PASS for one in answered)
    first = release.champion is None
    if good and release.phase is Phase.PREPARING:
        releasing.happen(Ready())
    elif not good:
        _abandon(releasing)
    known = f", version {release.candidate.model_version}" if release.candidate.model_version else ""
    beside = "the first release" if first else f"beside {release.colour.other}, no users"
    ready = Reason(
        "deploy.ready", Verdict.PASS, f"{release.colour} is ready with {release.candidate.digest[:19]}{known} ({beside})"
    )
    return context.finish(
        run,
        "deploy",
        started,
        [ready, *answered],
        evidence={
            "colour": str(release.colour),
            "digest": release.candidate.digest,
            "model_version": release.candidate.model_version,
            "first": first,
        },
        facts={
            "colour": str(release.colour),
            "digest": release.candidate.digest,
            "model_version": release.candidate.model_version,
            **({"allowed, taken back in": _runs(barred)} if barred else {}),
        },
    )


def _asked(context: Context, releasing: Releasing, standing: Standing, rehearsal: Rehearsal) -> list[Reason]:
    """Cold first, then once, then everything whose answer is known; nothing more after a wrong answer."""
    found = [*rehearsal.warm_up(releasing.target, standing)]
    if all(one.verdict is Verdict.PASS for one in found):
        found.append(smoke(context, releasing, standing))
    if all(one.verdict is Verdict.PASS for one in found):
        found.extend(rehearsal.judge_golden(releasing.target, standing))
    return found


def _runs(barred: Mapping[str, Quarantine]) -> str:
    return ", ".join(sorted({one.run for one in barred.values()}))


def _abandon(releasing: Releasing) -> None:
    if releasing.release is not None and releasing.release.phase in (Phase.PREPARING, Phase.DEPLOYED):
        releasing.happen(Abandon())
