"""How long each metric would need to find the harm it is configured for, at the traffic of now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from mlpipeline.config import rollout_plan
from mlpipeline.config.model import Config
from mlpipeline.core.conditions import ConditionPlan
from mlpipeline.core.judge import MetricPlan, Plan
from mlpipeline.core.sequential import expected_ticks
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason

_WHOLE_RELEASE = 0.5
"""Weight of the test over all stages, see ``RestartedHarmTest``."""


def stages(config: Config) -> Iterator[tuple[str, float, float, float]]:
    """Name, seconds, and the parts of users' requests that the candidate and the champion answer."""
    for stage in rollout_plan.stages(config.rollout):
        if stage.mirror:
            yield stage.name, stage.seconds, 1.0, 1.0
        elif stage.compares:
            yield stage.name, stage.seconds, stage.share / 100, 1 - stage.share / 100


def still_to_come(config: Config, stage: str, left: float) -> list[tuple[float, float, float]]:
    """What remains to be watched of this stage and those after it: seconds, and the factors by which the requests per second
    of candidate and champion then differ from those in this stage. A stage that is no part of the rollout stands alone."""
    planned = list(stages(config))
    names = [name for name, *_ in planned]
    found = [(left, 1.0, 1.0)]
    if stage in names:
        _, _, candidate, champion = planned[names.index(stage)]
        found += [(seconds, of / candidate, by / champion) for _, seconds, of, by in planned[names.index(stage) + 1 :]]
    return found


def expectation(config: Config, plan: Plan, metric: MetricPlan, usual: tuple[float, float]) -> Reason:
    """Whether harm of the margin is likely found within the stages, and how long it takes in each.

    Args:
        usual: The champion's requests per second, and its events per request; below ``tolerate`` that is taken.
    """
    per_second, seen = usual
    check = f"verify.plan.{metric.name}"
    if not per_second:
        summary = f"{metric.name}: the champion answers no requests now"
        return Reason(check, Verdict.INCONCLUSIVE, summary, {"requests_expected": 0, "enough_requests": False})
    rate = max(seen, metric.tolerate)
    found, watched, told = 0.0, 0.0, []
    answered = [0.0, 0.0]
    for name, seconds, candidate, champion in stages(config):
        requests = per_second * plan.interval * candidate, per_second * plan.interval * champion
        needed = plan.interval * expected_ticks(
            rate,
            metric.margin,
            requests,
            alpha=plan.false_alarm * _WHOLE_RELEASE / len(plan.metrics),
            effect=metric.effect,
            calibration=metric.calibration,
        )
        found += seconds / needed
        watched += seconds
        answered = [total + per_second * seconds * part for total, part in zip(answered, (candidate, champion), strict=True)]
        told.append(f"{duration(needed)} in {name} (lasts {duration(seconds)})")
    enough, expected = found >= 1, int(min(answered))
    summary = (
        f"{metric.name}: {metric.margin:g} times {100 * rate:.3g} % of {per_second:.3g} requests/s is found in about "
        f"{', '.join(told) or 'never: no stage compares'}; the {duration(watched)} of all stages are "
        f"{'enough' if enough else 'not enough'}"
    )
    requests_do = expected >= plan.min_requests
    if not requests_do:
        summary += (
            f"; about {expected} requests of one colour are expected, fewer than the {plan.min_requests} that a verdict needs"
        )
    return Reason(
        check,
        Verdict.PASS if enough and requests_do else Verdict.INCONCLUSIVE,
        summary,
        {"share_of_evidence": round(found, 3), "requests_expected": expected, "enough_requests": requests_do},
    )


def unfinished(config: Config, conditions: Iterable[ConditionPlan]) -> tuple[Reason, ...]:
    """The conditions whose ``count`` measurements do not fit into all stages together; they could never pass."""
    watched = sum(seconds for _, seconds, _, _ in stages(config))
    found = []
    for condition in conditions:
        needed = condition.initial_delay + (condition.count - 1) * condition.interval
        if needed > watched and not condition.dry_run:
            summary = (
                f"condition {condition.name} needs {duration(needed)} for {condition.count} measurements "
                f"({condition.interval:g} s apart, from {condition.initial_delay:g} s on); all stages last {duration(watched)}"
            )
            found.append(Reason(f"verify.plan.condition.{condition.name}", Verdict.INCONCLUSIVE, summary))
    return tuple(found)


def duration(seconds: float) -> str:
    if seconds == inf:
        return "no time at all"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
