"""How long each metric would need to find the harm it is configured for, at the traffic of now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from mlpipeline.config import rollout_plan
from mlpipeline.config.model import Config
from mlpipeline.core.conditions import ConditionPlan
from mlpipeline.core.detection import Stretch, draws_needed, found_after, threshold
from mlpipeline.core.disagreement import NAME, WEIGHT
from mlpipeline.core.judge import MetricPlan, Plan
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason

Watched = tuple[str, float, float, float]
"""Name, seconds, and the parts of users' requests that the candidate and the champion answer."""
ENOUGH = 0.8
"""Share of harmful releases that the stages should find."""
_LONGER, _LONG_SECONDS = 6, 3600.0
"""So many times as long as all stages, and at least so long, is looked whether that would be enough."""
_TIMES_ALLOWED = 3.0


def stages(config: Config) -> Iterator[Watched]:
    """Those in which both answer."""
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


def expectation(watched: Sequence[Watched], plan: Plan, metric: MetricPlan, usual: tuple[float, float]) -> Reason:
    """Whether harm of the margin is likely found within the stages, and how long that takes, by the rules that will judge.

    Args:
        watched: The stages.
        usual: The champion's requests per second, and its events per request; below ``tolerate`` that is taken.
    """
    per_second, seen = usual
    check = f"verify.plan.{metric.name}"
    if not per_second:
        summary = f"{metric.name}: the champion answers no requests now"
        return Reason(check, Verdict.INCONCLUSIVE, summary, {"requests_expected": 0, "enough_requests": False})
    stretches = [Stretch(seconds, per_second * candidate, per_second * champion) for _, seconds, candidate, champion in watched]
    expected = int(
        min(sum(one.seconds * one.candidate for one in stretches), sum(one.seconds * one.champion for one in stretches))
    )
    enough, told, numbers = _found(plan, metric, max(seen, metric.tolerate), stretches)
    summary = (
        f"{metric.name}: {metric.margin:g} times {100 * max(seen, metric.tolerate):.3g} % of {per_second:.3g} requests/s {told}"
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
        {**numbers, "requests_expected": expected, "enough_requests": requests_do},
    )


def _found(plan: Plan, metric: MetricPlan, rate: float, watched: list[Stretch]) -> tuple[bool, str, dict[str, float]]:
    """Whether the stages are enough, in words, and the numbers."""
    lasts = sum(one.seconds for one in watched)
    if not watched:
        return False, "is never found: no stage compares", {"found_share": 0.0}
    bar = threshold(plan.false_alarm, _parts(plan), 1.0 if plan.disagreement is None else 1 - WEIGHT)

    def simulated(stretches: list[Stretch]) -> list[float]:
        return found_after(metric, rate, stretches, rules=plan.rules, interval=plan.interval, log_threshold=bar)

    after = simulated(watched)
    share = sum(seconds < inf for seconds in after) / len(after)
    numbers = {"found_share": round(share, 3), "stages_seconds": round(lasts, 3)}
    if share >= 0.5:
        numbers["median_seconds"] = round(after[len(after) // 2 - 1], 3)
    if share >= ENOUGH:
        told = f"is found in about {duration(numbers['median_seconds'])} where traffic is calm"
        return True, f"{told}; the {duration(lasts)} of all stages are enough", numbers
    longest = max(_LONGER * lasts, _LONG_SECONDS)
    longer = simulated([*watched[:-1], watched[-1]._replace(seconds=watched[-1].seconds + longest - lasts)])
    needed = longer[int(ENOUGH * len(longer))]
    how_long = f"about {duration(needed)} would be" if needed < inf else f"nor would {duration(longest)} be"
    told = f"is found in {100 * share:.0f} % of releases, however calm traffic is"
    return False, f"{told}; the {duration(lasts)} of all stages are not enough, {how_long}", numbers


def _parts(plan: Plan) -> int:
    """Among how many the error budget is divided: all classes of predictions together count as one."""
    classes = any(metric.label for metric in plan.metrics)
    return sum(not metric.label for metric in plan.metrics) + classes


def of_answers(watched: Sequence[Watched], plan: Plan, per_second: float) -> Reason | None:
    """How long it takes to find that the answers to copies differ three times as often as they may; nothing where they are not
    compared."""
    rule = plan.disagreement
    if rule is None:
        return None
    copied = sum(seconds for _, seconds, candidate, champion in watched if candidate == champion == 1.0)
    true = min(_TIMES_ALLOWED * rule.allowed, (1 + rule.allowed) / 2)
    needed = draws_needed(rule.allowed, true, threshold(plan.false_alarm, 1, WEIGHT))
    seconds = needed / per_second if per_second else inf
    enough = seconds <= copied
    summary = (
        f"{NAME}: {100 * true:.3g} % where {100 * rule.allowed:.3g} % are allowed is found in about {needed} requests, "
        f"{duration(seconds)} at {per_second:.3g} requests/s; the {duration(copied)} of copies are "
        f"{'enough' if enough else 'not enough'}"
    )
    verdict = Verdict.PASS if enough else Verdict.INCONCLUSIVE
    return Reason(f"verify.plan.{NAME}", verdict, summary, {"requests_needed": needed})


def unfinished(planned: Iterable[Watched], conditions: Iterable[ConditionPlan]) -> tuple[Reason, ...]:
    """The conditions whose ``count`` measurements do not fit into all stages together; they could never pass."""
    watched = sum(seconds for _, seconds, _, _ in planned)
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
