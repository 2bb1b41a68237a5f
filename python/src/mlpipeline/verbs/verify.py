"""The verb ``verify``: candidate against champion over the same seconds, in Prometheus."""

from __future__ import annotations

from mlpipeline.config.limits import LONGEST
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.packs.shape import Traffic
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.looking import Roles
from mlpipeline.verbs.verify_evidence import WATCH_EVIDENCE, replay
from mlpipeline.verbs.verify_watch import Watch
from mlpipeline.verbs.verify_words import JudgedRelease, StageOutcome

__all__ = ["JudgedRelease", "Roles", "StageOutcome", "Watch", "replay", "run"]

VERB = "verify"


def run(context: Context, run: Run, *, seconds: float | None = None, candidate: str = "", expect: bool = False) -> Result:
    """Watches the plan that the target follows now; without a concurrent control the verdict is inconclusive.

    Args:
        seconds: How long; ``rollout.bake`` when not given, and with ``expect`` all stages.
        candidate: This colour is compared with the other, the target is not asked: for colours that something else
            runs and routes to. That both answer requests at the same time then shows in the counts alone.
        expect: Nothing is watched or recorded; says how long each metric would need at the traffic of now.

    Raises ConfigurationError for an unknown candidate, or one without ``verify.prometheus``, and for impossible ``seconds``.
    """
    started = context.clock.monotonic()
    if seconds is not None and not 0 < seconds <= LONGEST:
        raise ConfigurationError(
            f"--seconds must be more than 0, not {seconds:g}",
            facts={"at most": f"{LONGEST:g}"},
            tries=("mlpipeline verify --seconds 60",),
        )
    prometheus = context.config.verify.prometheus
    traffic: Traffic = "live"
    if candidate:
        roles = _named_roles(candidate, prometheus)
    else:
        target = context.world.target()
        plan = target.observe().plan
        if plan is None or not (expect or plan.mirror or 0 < plan.share < 100):
            reason = Reason("verify.control", Verdict.INCONCLUSIVE, _no_control(plan))
            return context.finish(run, VERB, started, (reason,))
        roles = _roles(context, run, plan)
        prometheus = prometheus or target.monitoring()
        traffic = "mirror" if plan.mirror else "live"
    if expect:
        return _expected(context, run, roles, prometheus, seconds)
    watch = Watch(context, run, roles, prometheus=prometheus, file=WATCH_EVIDENCE, resume=False)
    lasts = float(context.config.rollout.bake) if seconds is None else seconds
    watch.check(lasts)
    watch.watch(VERB, lasts, traffic=traffic, last=True)
    judged = watch.conclude()
    return context.finish(
        run,
        VERB,
        started,
        judged.reasons,
        verdict=judged.verdict,
        summary=judged.summary,
        evidence=judged.evidence,
        links={"evidence": WATCH_EVIDENCE},
    )


def _no_control(plan: TrafficPlan | None) -> str:
    if plan is None:
        return "no verdict, no traffic is routed, so there is nothing to compare"
    return f"no verdict, all traffic goes to {plan.live if plan.share == 0 else plan.live.other}: there is no concurrent control"


def _expected(context: Context, run: Run, roles: Roles, prometheus: str, seconds: float | None) -> Result:
    started = context.clock.monotonic()
    # only the champion needs to be there: it stands in for a candidate that may not be deployed yet
    alone = Roles(candidate=roles.champion, champion=roles.champion)
    reasons = Watch(context, run, alone, prometheus=prometheus, file=WATCH_EVIDENCE, resume=False).expectations(seconds)
    short = [reason for reason in reasons if reason.verdict is not Verdict.PASS]
    return context.judged(
        VERB,
        started,
        [*short, *(reason for reason in reasons if reason not in short)],
        verdict=Verdict.INCONCLUSIVE if short else Verdict.PASS,
        summary="; ".join(reason.summary for reason in short or reasons) or "no metric is compared",
        run=run.id,
    )


def _named_roles(candidate: str, prometheus: str) -> Roles:
    if candidate not in list(Colour):
        raise ConfigurationError(f"there is no colour {candidate!r}", tries=("mlpipeline verify --candidate green",))
    if not prometheus:
        raise ConfigurationError(
            "colours that are named, not deployed here, need a Prometheus that is named too",
            facts={"key": "verify.prometheus"},
            tries=("verify: {prometheus: http://prometheus:9090}",),
        )
    colour = Colour(candidate)
    return Roles(candidate=colour, champion=colour.other)


def _roles(context: Context, run: Run, plan: TrafficPlan) -> Roles:
    """The candidate is the colour this run deployed; without a deployment the one that is not live."""
    deployed = context.runs.result(run.id, "deploy")
    colour = deployed.evidence.get("colour") if deployed else None
    candidate = Colour(colour) if isinstance(colour, str) else plan.live.other
    return Roles(candidate=candidate, champion=candidate.other)
