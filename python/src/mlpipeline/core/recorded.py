"""What recorded looks and stage ends have to be, so that a verdict may be computed from them again.

What a watch records is so by itself. A file that somebody wrote into need not be, and must neither break the judge nor pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mlpipeline.core.conditions import parse
from mlpipeline.core.judge import Look, MetricPlan, Plan, StageEnd
from mlpipeline.core.rules import LAST_LOOKS

_MOST = 2**53
"""No counter of Prometheus, a double, tells more apart."""


def check(plan: Plan, looks: Sequence[Look], ends: Sequence[StageEnd]) -> None:
    """Raises ValueError, saying what is wrong, for what no watch can have recorded."""
    _plan(plan)
    for number, look in enumerate(looks, start=1):
        try:
            _look(plan, look)
        except ValueError as error:
            raise ValueError(f"look {number}: {error}") from error
    _ends(plan, len(looks), ends)


def _plan(plan: Plan) -> None:
    if plan.candidate == plan.champion:
        raise ValueError(f"candidate and champion are both {plan.candidate!r}")
    if not 0 < plan.false_alarm < 1:
        raise ValueError(f"false_alarm {plan.false_alarm:g} is not between 0 and 1")
    _once("metric", (metric.name for metric in plan.metrics))
    _once("condition", (condition.name for condition in plan.conditions))
    for metric in plan.metrics:
        _metric(metric)
    for condition in plan.conditions:
        for expression in (condition.success, condition.failure):
            if expression:
                parse(expression)
    if plan.disagreement is not None and not 0 < plan.disagreement.allowed < 1:
        raise ValueError(f"the allowed disagreement {plan.disagreement.allowed:g} is not between 0 and 1")


def _metric(metric: MetricPlan) -> None:
    if metric.margin <= 1 or metric.effect < 1:
        raise ValueError(f"metric {metric.name!r}: a margin of {metric.margin:g} or an effect of {metric.effect:g} is no harm")
    if not 0 <= metric.tolerate <= 1:
        raise ValueError(f"metric {metric.name!r}: tolerate {metric.tolerate:g} is not between 0 and 1")
    known = metric.calibration
    if not 0 <= known.overdispersion <= 1 or known.dependence < 1:
        raise ValueError(f"metric {metric.name!r}: its calibration is none")


def _once(what: str, names: Iterable[str]) -> None:
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(f"there are two {what}s named {twice[0]!r}")


def _look(plan: Plan, look: Look) -> None:
    if look.seconds < 0:
        raise ValueError(f"{look.seconds:g} seconds")
    scored = plan.score.metrics if plan.score else ()
    _known("metric", look.counts, (metric.name for metric in plan.metrics))
    _known("condition", look.conditions, (condition.name for condition in plan.conditions))
    _known("metric of the score", look.scores, (metric.name for metric in scored))
    for name, (candidate, candidate_events, champion, champion_events) in look.counts.items():
        for requests, events in ((candidate, candidate_events), (champion, champion_events)):
            if not 0 <= events <= requests < _MOST:
                raise ValueError(f"{events} events of {requests} requests in {name!r}")
    compared, differing = look.compared
    if not 0 <= differing <= compared < _MOST:
        raise ValueError(f"{differing:g} of {compared} compared answers differ")
    for name, measurement in look.conditions.items():
        _numbers(name, measurement.values)
    for name, sampled in look.scores.items():
        _numbers(name, (*sampled.candidate, *sampled.champion))


def _known(what: str, found: Iterable[str], planned: Iterable[str]) -> None:
    strange = sorted(set(found) - set(planned))
    if strange:
        raise ValueError(f"the plan has no {what} named {strange[0]!r}")


def _numbers(name: str, values: Iterable[str]) -> None:
    for value in values:
        try:
            float(value)
        except ValueError as error:
            raise ValueError(f"{name!r} answered {value!r}, which is no number") from error


def _ends(plan: Plan, looks: int, ends: Sequence[StageEnd]) -> None:
    before = 0
    for end in ends:
        if end.looks > looks:
            raise ValueError(f"stage {end.stage!r} ends after {end.looks} looks, and there are {looks}")
        if end.looks < before:
            raise ValueError(f"stage {end.stage!r} ends after {end.looks} looks, before the one that ended earlier")
        if end.last and plan.rules < LAST_LOOKS:
            raise ValueError(f"a last look, which rules {plan.rules} do not know")
        before = end.looks
