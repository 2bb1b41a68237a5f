"""``verify.score`` as the plan that the core judges, its queries resolved."""

from __future__ import annotations

from mlpipeline.config.sections.verification import ScoredMetric, ScoreRule
from mlpipeline.core import weighted_score


def score_plan(rule: ScoreRule, service: str, candidate: str, champion: str) -> weighted_score.ScorePlan:
    """The plan of one release. ``{{service}}`` and ``{{colour}}`` in a query stand for the names."""
    return weighted_score.ScorePlan(
        metrics=tuple(_metric(metric, service, (candidate, champion)) for metric in rule.metrics),
        groups=dict(rule.groups),
        pass_at=rule.pass_at,
        marginal_at=rule.marginal_at,
        confidence=rule.confidence,
        rules=weighted_score.RULES,
    )


def _metric(metric: ScoredMetric, service: str, colours: tuple[str, str]) -> weighted_score.ScoredMetric:
    candidate, champion = (metric.query.replace("{{service}}", service).replace("{{colour}}", colour) for colour in colours)
    return weighted_score.ScoredMetric(
        name=metric.name,
        queries=(candidate, champion),
        group=metric.group,
        direction=metric.direction,
        critical=metric.critical,
        mute=metric.mute,
        must_have_data=metric.must_have_data,
        effect=metric.effect,
        critical_effect=metric.critical_effect,
        missing=metric.missing,
    )
