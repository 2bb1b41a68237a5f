"""How long each metric would need to find the harm it is configured for, at the traffic of now."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from mlpipeline.config.model import Config
from mlpipeline.core.judge import MetricPlan, Plan
from mlpipeline.core.sequential import expected_ticks
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason

_WHOLE_RELEASE = 0.5
"""Weight of the test over all stages, see ``RestartedHarmTest``."""


def stages(config: Config) -> Iterator[tuple[str, float, float, float]]:
    """Name, seconds, and the parts of users' requests that the candidate and the champion answer."""
    rollout = config.rollout
    if rollout.mirror:
        yield "mirror", float(rollout.mirror), 1.0, 1.0
    for step in rollout.steps:
        yield f"{step} %", float(rollout.step), step / 100, 1 - step / 100
    if rollout.control:
        yield "bake", float(rollout.bake), 1 - rollout.control / 100, rollout.control / 100


def expectation(config: Config, plan: Plan, metric: MetricPlan, usual: tuple[float, float]) -> Reason:
    """Whether harm of the margin is likely found within the stages, and how long it takes in each.

    Args:
        usual: The champion's requests per second, and its events per request; below ``tolerate`` that is taken.
    """
    per_second, seen = usual
    check = f"verify.plan.{metric.name}"
    if not per_second:
        return Reason(check, Verdict.INCONCLUSIVE, f"{metric.name}: the champion answers no requests now")
    rate = max(seen, metric.tolerate)
    found, watched, told = 0.0, 0.0, []
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
        told.append(f"{duration(needed)} in {name} (lasts {duration(seconds)})")
    enough = found >= 1
    summary = (
        f"{metric.name}: {metric.margin:g} times {100 * rate:.3g} % of {per_second:.3g} requests/s is found in about "
        f"{', '.join(told) or 'never: no stage compares'}; the {duration(watched)} of all stages are "
        f"{'enough' if enough else 'not enough'}"
    )
    return Reason(check, Verdict.PASS if enough else Verdict.INCONCLUSIVE, summary, {"share_of_evidence": round(found, 3)})


def duration(seconds: float) -> str:
    if seconds == inf:
        return "no time at all"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
