"""How long each metric would need to find the harm it is configured for, at the traffic of now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil, inf

from mlpipeline.config import rollout_plan
from mlpipeline.config.model import Config
from mlpipeline.core.conditions import ConditionPlan
from mlpipeline.core.detection import (
    Stretch,
    draws_needed,
    found_after,
    labels_needed,
    shift_found_after,
    threshold,
    threshold_of_class,
)
from mlpipeline.core.disagreement import NAME, WEIGHT
from mlpipeline.core.judge import MetricPlan, Plan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import MlpipelineError
from mlpipeline.ports import LabelledAnswers
from mlpipeline.record.result import Number, Reason
from mlpipeline.verbs.looking import Usual

Watched = tuple[str, float, float, float]
"""Name, seconds, and the parts of users' requests that the candidate and the champion answer."""
ENOUGH = 0.8
"""Share of harmful releases that the stages should find."""
_LONGER, _LONG_SECONDS = 6, 3600.0
"""So many times as long as all stages, and at least so long, is looked whether that would be enough."""
HISTORY = "history_seconds"
"""Number of a reason that cannot tell yet, as the champion was not watched for long enough."""
_YOUNG = 120.0
"""Counters that do not grow for so many seconds stand still: they were scraped anew, also by a Prometheus that scrapes once a
minute."""
_TIMES_ALLOWED = 3.0
_NARROWED = 4
"""How often the time that would be enough is halved, by ratio."""
_TIMES_NEEDED = 4.0
"""The time in which so many times the needed labels come is looked at."""


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


def expectation(watched: Sequence[Watched], plan: Plan, metric: MetricPlan, usual: Usual) -> Reason:
    """Whether harm of the margin is likely found within the stages, and how long that takes, by the rules that will judge.

    Args:
        watched: The stages.
        usual: Of the champion; fewer events per request than ``tolerate`` are taken for that.
    """
    per_second, seen, known = usual
    check = f"verify.plan.{metric.name}"
    if not per_second and known < _YOUNG:
        summary = f"{metric.name}: too little history yet: the champion's requests are counted for {known:.0f} s"
        return Reason(check, Verdict.INCONCLUSIVE, f"{summary}; ask again in a minute or two", {HISTORY: round(known, 3)})
    if not per_second:
        summary = f"{metric.name}: the champion answers no requests now"
        return Reason(check, Verdict.INCONCLUSIVE, summary, {"requests_expected": 0, "enough_requests": False})
    rate = seen if metric.label else max(seen, metric.tolerate)
    stretches = _stretches(watched, per_second)
    expected = int(
        min(sum(one.seconds * one.candidate for one in stretches), sum(one.seconds * one.champion for one in stretches))
    )
    enough, told, numbers = _found(lambda stages: _simulated(plan, metric, rate, stages), stretches)
    times = f"{metric.margin:g} times" if not metric.label else f"{metric.margin:g} times as often or as rarely as now,"
    what = "predictions" if metric.label else "requests"
    summary = f"{metric.name}: {times} {100 * rate:.3g} % of {per_second:.3g} {what}/s {told}"
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


def of_predictions(watched: Sequence[Watched], plan: Plan, usual: Mapping[str, Usual]) -> tuple[Reason, ...]:
    """Of the classes that are compared, or the bounds of numbers, the one that the champion answers most often now and the one
    that it answers least often: the quickest to be found and the slowest."""
    classes = sorted((metric for metric in plan.metrics if metric.label), key=lambda metric: -usual[metric.name][1])
    answered = [metric for metric in classes if usual[metric.name][1]] or classes[:1]
    return tuple(expectation(watched, plan, metric, usual[metric.name]) for metric in dict.fromkeys(answered[:1] + answered[-1:]))


def of_labels(watched: Sequence[Watched], plan: Plan, metric: MetricPlan, known: Callable[[], LabelledAnswers]) -> Reason:
    """How many late labels it takes to find harm of the margin, and how long these take to come.

    Args:
        known: What came of the champion's until now. What it raises is told, as labels never hold a release up.
    """
    check = f"verify.plan.{metric.name}"
    try:
        labels = known()
    except MlpipelineError as fault:
        return Reason(check, Verdict.INCONCLUSIVE, f"{metric.name}: no labels, {fault.in_one_line('; ')}", {})
    if not labels.labelled:
        none = f"{metric.name}: no label of an answer of the champion has come yet, or, of counters, in the last hour"
        none += "; without one labels say nothing for or against a release"
        return Reason(check, Verdict.PASS, none, {"labelled": 0})
    rate = max(labels.wrong / labels.labelled, metric.tolerate)
    seen = f"{metric.name}: {labels.wrong} of the champion's {labels.labelled} newest labelled answers are wrong"
    needed = labels_needed(metric, rate, rules=plan.rules, log_threshold=_bar(plan)) if rate else None
    if needed is None:
        told = f"{seen}, of which {metric.margin:g} times as many cannot be told apart: nobody knows how many labels that takes"
        return Reason(check, Verdict.INCONCLUSIVE, told, {"labelled": labels.labelled})
    told = f"{seen}; {metric.margin:g} times {100 * rate:.3g} % takes about {needed} labels of each colour"
    numbers: dict[str, Number] = {"labelled": labels.labelled, "labels_needed": needed}
    if labels.seconds is None:
        told += "; how many come in an hour is not known, as verify.accuracy.time names no column"
        return Reason(check, Verdict.INCONCLUSIVE, told, numbers)
    per_second = labels.labelled / labels.seconds
    comes = f"about {_hourly(per_second)} come in an hour{f', {duration(labels.delay)} after the answer' if labels.delay else ''}"
    enough, found, more = _found(
        lambda stages: _simulated(plan, metric, rate, stages),
        _stretches(watched, per_second),
        delay=labels.delay,
        longest=_TIMES_NEEDED * needed / (per_second * min(watched[-1][2:], default=1.0)) if watched else 0.0,
    )
    numbers |= {"labels_per_hour": round(3600 * per_second, 3), "delay_seconds": round(labels.delay, 3), **more}
    return Reason(check, Verdict.PASS if enough else Verdict.INCONCLUSIVE, f"{told}, {comes}: it {found}", numbers)


def _stretches(watched: Sequence[Watched], per_second: float) -> list[Stretch]:
    return [Stretch(seconds, per_second * candidate, per_second * champion) for _, seconds, candidate, champion in watched]


def _bar(plan: Plan) -> float:
    """The evidence that one part needs."""
    return threshold(plan.false_alarm, plan.parts, 1.0 if plan.disagreement is None else 1 - WEIGHT)


def _simulated(plan: Plan, metric: MetricPlan, rate: float, stretches: Sequence[Stretch]) -> list[float]:
    """Seconds after which releases that do harm of the margin are found, in ascending order."""
    bar = _bar(plan)
    if metric.label:
        bar = threshold_of_class(bar, plan.classes)
        return shift_found_after(metric, rate, stretches, rules=plan.rules, interval=plan.interval, log_threshold=bar)
    return found_after(metric, rate, stretches, rules=plan.rules, interval=plan.interval, log_threshold=bar)


def _found(
    simulated: Callable[[Sequence[Stretch]], list[float]], watched: list[Stretch], *, delay: float = 0.0, longest: float = 0.0
) -> tuple[bool, str, dict[str, float]]:
    """Whether the stages are enough, in words, and the numbers.

    Args:
        delay: Seconds after which an answer counts: those of the last such seconds come too late.
        longest: At least so long is looked whether that would be enough.
    """
    lasts = sum(one.seconds for one in watched)
    if not watched:
        return False, "is never found: no stage compares", {"found_share": 0.0}
    in_time = _first(watched, lasts - delay)
    after = [delay + seconds for seconds in simulated(in_time)] if in_time else [inf]
    share = sum(seconds < inf for seconds in after) / len(after)
    numbers = {"found_share": round(share, 3), "stages_seconds": round(lasts, 3)}
    if share >= 0.5:
        numbers["median_seconds"] = round(after[len(after) // 2 - 1], 3)
    if share >= ENOUGH:
        told = f"is found in about {duration(numbers['median_seconds'])} where traffic is calm"
        return True, f"{told}; the {duration(lasts)} of all stages are enough", numbers
    longest = max(_LONGER * lasts, _LONG_SECONDS, longest)
    needed = delay + _shortest(simulated, watched, longest)
    how_long = f"about {duration(needed)} would be" if needed < inf else f"nor would {duration(longest)} be"
    told = f"is found in {100 * share:.0f} % of releases, however calm traffic is"
    return False, f"{told}; the {duration(lasts)} of all stages are not enough, {how_long}", numbers


def _shortest(simulated: Callable[[Sequence[Stretch]], list[float]], watched: list[Stretch], longest: float) -> float:
    """About how long the stages would have to last; infinite where ``longest`` is not enough.

    Narrowed down by simulation, as the last look comes when the stages end: a shorter plan finds sooner.
    """
    lasts = sum(one.seconds for one in watched)

    def eight_of_ten(seconds: float) -> float:
        found = simulated([*watched[:-1], watched[-1]._replace(seconds=watched[-1].seconds + seconds - lasts)])
        return found[int(ENOUGH * len(found))]

    short, enough = lasts, eight_of_ten(longest)
    for _ in range(_NARROWED if enough < inf else 0):
        between = (short * enough) ** 0.5
        if eight_of_ten(between) < inf:
            enough = between
        else:
            short = between
    return enough


def _hourly(per_second: float) -> str:
    per_hour = float(f"{3600 * per_second:.3g}")
    return f"{per_hour:.0f}" if per_hour >= 10 else f"{per_hour:.2g}"


def _first(watched: Sequence[Stretch], seconds: float) -> list[Stretch]:
    """The stages cut off after so many seconds."""
    found = []
    for one in watched:
        if seconds > 0:
            found.append(one._replace(seconds=min(one.seconds, seconds)))
        seconds -= one.seconds
    return found


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


def unfinished(planned: Iterable[Watched], conditions: Iterable[ConditionPlan], interval: float) -> tuple[Reason, ...]:
    """The conditions whose measurements do not fit into all stages together; they could never pass.

    Args:
        interval: Seconds between looks. A condition is measured at looks only, so at the first one after its own interval.
    """
    watched = sum(seconds for _, seconds, _, _ in planned)
    found = []
    for condition in conditions:
        begin, apart = min(interval, watched), _looked_at(condition.interval, interval)
        first = begin + _looked_at(condition.initial_delay, interval)
        # every look but the last one, which is taken when the time is over, comes at a multiple of the interval
        needed = (
            begin + condition.initial_delay
            if condition.least == 1
            else first + (condition.least - 2) * apart + condition.interval
        )
        if needed > watched and not condition.dry_run:
            measurements = f"{condition.least} measurement{'s' if condition.least > 1 else ''}"
            why = f", as looks are {interval:g} s apart" if apart > condition.interval else ""
            summary = (
                f"condition {condition.name} needs {duration(needed)} for {measurements} "
                f"({apart:g} s apart, from {first:g} s on{why}); all stages last {duration(watched)}"
            )
            found.append(Reason(_check_of(condition), Verdict.INCONCLUSIVE, summary))
    return tuple(found)


def of_conditions(planned: Sequence[Watched], conditions: Sequence[ConditionPlan], interval: float) -> tuple[Reason, ...]:
    """Of each condition how often it is measured, or that the stages are too short for it."""
    late = {reason.check: reason for reason in unfinished(planned, conditions, interval)}
    return tuple(late.get(_check_of(condition), _often(condition)) for condition in conditions)


def _often(condition: ConditionPlan) -> Reason:
    times = "once" if condition.count == 1 else f"{condition.count} times, {condition.interval:g} s apart"
    often = f"every {condition.interval:g} s until the end" if condition.endless else times
    dry = ", a dry run" if condition.dry_run else ""
    summary = f"condition {condition.name} is measured {often} ({condition.rule}){dry}"
    return Reason(_check_of(condition), Verdict.PASS, summary)


def _check_of(condition: ConditionPlan) -> str:
    return f"verify.plan.condition.{condition.name}"


def _looked_at(seconds: float, interval: float) -> float:
    """After so many seconds the first look at or after that comes. A hair's breadth more than a multiple is none more."""
    return ceil(round(seconds / interval, 6)) * interval


def duration(seconds: float) -> str:
    if seconds == inf:
        return "no time at all"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
