"""A judged release in words: its summary, and the reasons of each metric, condition and score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from mlpipeline.core.judge import Judge, Judgement, Look, MetricVerdict
from mlpipeline.core.verdict import Verdict
from mlpipeline.core.weighted_score import Classified, Score
from mlpipeline.record.result import Reason

_TOLD = 3
_CONDITION = "verify.condition."


@dataclass(frozen=True)
class StageOutcome:
    """How one stage of a rollout came out. ``seconds`` includes what an outage added."""

    verdict: Verdict
    summary: str
    reasons: tuple[Reason, ...]
    seconds: float
    looks: int


@dataclass(frozen=True)
class JudgedRelease:
    """The verdict over all looks of all stages. ``evidence`` is the summary that a result carries."""

    verdict: Verdict
    summary: str
    reasons: tuple[Reason, ...]
    evidence: dict[str, object]


def judged(judge: Judge, file: str, looks: Sequence[Look]) -> JudgedRelease:
    """What a result says of everything that was looked at."""
    judgement = judge.judgement()
    return JudgedRelease(
        judgement.verdict,
        judgement.summary,
        (*reasons_of(judge, judgement, judgement.verdict, judgement.summary), *_outages(looks), *_early(judge)),
        {
            "file": file,
            "looks": len(looks),
            "stages": list(dict.fromkeys(look.stage for look in looks)),
            "false_alarm": judge.plan.false_alarm,
            "evidence": judgement.evidence,
            "threshold": judgement.threshold,
            "metrics": [msgspec.to_builtins(metric) for metric in judgement.metrics],
            "conditions": [
                {"name": name, "verdict": str(verdict), "summary": text} for name, verdict, text in judgement.conditions
            ],
        },
    )


def _outages(looks: Sequence[Look]) -> list[Reason]:
    """That the monitoring was out for a while is no reason against the candidate, and is told all the same."""
    out = [look for look in looks if look.missing and not set(look.missing) & set(look.counts)]
    if not out:
        return []
    told = list(dict.fromkeys(text for look in out for text in look.missing.values()))
    summary = f"the monitoring was out at {len(out)} of {len(looks)} looks, which were waited for: {'; '.join(told[:_TOLD])}"
    return [Reason("verify.outage", Verdict.PASS, summary, {"looks": len(out)})]


def _early(judge: Judge) -> list[Reason]:
    if not judge.ended_early:
        return []
    summary = f"ended before their planned time because harm was excluded in them: stage {', '.join(judge.ended_early)}"
    return [Reason("verify.early_pass", Verdict.PASS, summary)]


def reasons_of(judge: Judge, judgement: Judgement, verdict: Verdict, summary: str) -> tuple[Reason, ...]:
    """The deciding ones first. While the whole passes, metrics that show no harm pass with it."""
    reasons = [_metric_reason(metric, verdict) for metric in judgement.metrics]
    conditions = {text: _condition_reason(judge, name, found, text) for name, found, text in judgement.conditions}
    reasons.extend(conditions.values())
    if judgement.score is not None:
        reasons.extend(_score_reasons(judgement.score))
    if verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR):
        told = dict.fromkeys((summary.removeprefix("no verdict, "), *judgement.problems))
        reasons = [*(Reason("verify.evidence", verdict, text) for text in told if text not in conditions), *reasons]
    dry = {_CONDITION + condition.name for condition in judge.plan.conditions if condition.dry_run}
    return tuple(sorted(reasons, key=lambda reason: reason.verdict is not verdict or reason.check in dry))


def _condition_reason(judge: Judge, name: str, verdict: Verdict, text: str) -> Reason:
    state = judge.conditions[name]
    dry = " (dry run, no part of the verdict)" if state.plan.dry_run else ""
    return Reason(_CONDITION + name, verdict, f"{text}{dry}; {state.told}" if state.told else text + dry)


def _score_reasons(score: Score) -> list[Reason]:
    """The score, then its metrics; a metric that harms a passing score is no reason against the release."""
    parts = [
        Reason(
            f"verify.score.{metric.name}",
            Verdict.PASS if score.verdict is Verdict.PASS else _class_verdict(metric),
            metric.summary,
        )
        for metric in score.metrics
    ]
    return [Reason("verify.score", score.verdict, score.summary, {"points": score.points}), *parts]


def _class_verdict(metric: Classified) -> Verdict:
    if metric.harmed and metric.counted:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE if metric.found in ("few", "no data") and metric.counted else Verdict.PASS


def _metric_reason(metric: MetricVerdict, whole: Verdict) -> Reason:
    verdict = Verdict.PASS if whole is Verdict.PASS and metric.verdict is not Verdict.FAIL else metric.verdict
    numbers: dict[str, bool | int | float | str] = {
        name: value for name, value in msgspec.structs.asdict(metric).items() if name not in ("name", "verdict", "summary")
    }
    return Reason(f"verify.{metric.name}", verdict, metric.summary, numbers)


def standing(judgement: Judgement) -> str:
    """How it stands while it is watched."""
    if not judgement.metrics:
        return ", ".join(f"{name}: {verdict}" for name, verdict, _ in judgement.conditions) or "nothing is compared"
    requests = max((metric.candidate_requests for metric in judgement.metrics), default=0)
    return f"{requests} requests to the candidate, evidence of harm {judgement.evidence:g} of {judgement.threshold:g}"
