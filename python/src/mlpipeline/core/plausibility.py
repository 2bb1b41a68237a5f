"""Whether a plan, the looks at a release and the ends of its stages can be what they say they are.

What a watch records is so by itself. A file that somebody wrote into, or counts from elsewhere, need not be: what cannot be is an
error, never a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from mlpipeline.core.conditions import parse
from mlpipeline.core.rules import LAST_LOOKS

if TYPE_CHECKING:
    from mlpipeline.core.judge import Look, MetricPlan, Plan, StageEnd

_MOST = 2**53
"""No counter of Prometheus, a double, tells more apart."""


class Names(NamedTuple):
    """What a plan knows by name."""

    metrics: frozenset[str]
    conditions: frozenset[str]
    scored: frozenset[str]


def names_of(plan: Plan) -> Names:
    """What the looks at a release of this plan may tell of."""
    return Names(
        frozenset(metric.name for metric in plan.metrics),
        frozenset(condition.name for condition in plan.conditions),
        frozenset(metric.name for metric in plan.score.metrics) if plan.score else frozenset(),
    )


def check_record(plan: Plan, looks: Sequence[Look], ends: Sequence[StageEnd]) -> None:
    """Raises ValueError, saying what is wrong, for what no watch by a plan that can be judged by can have recorded."""
    names = names_of(plan)
    for number, look in enumerate(looks, start=1):
        try:
            check_look(names, look)
        except ValueError as error:
            raise ValueError(f"look {number}: {error}") from error
    _ends(plan, len(looks), ends)


def check_plan(plan: Plan) -> None:
    """Raises ValueError for a plan by which nothing can be judged, with the value that is wrong."""
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
    if not (metric.margin > 1 and isfinite(metric.margin)):
        raise ValueError(f"metric {metric.name!r}: a margin of {metric.margin:g} is no harm; it says how many times worse is")
    if not (metric.effect >= 1 and isfinite(metric.effect)):
        raise ValueError(f"metric {metric.name!r}: an effect of {metric.effect:g} is below 1, which is no difference")
    if not 0 <= metric.tolerate <= 1:
        raise ValueError(f"metric {metric.name!r}: tolerate {metric.tolerate:g} is not between 0 and 1")
    known = metric.calibration
    if not (0 <= known.overdispersion <= 1 and known.dependence >= 1):
        raise ValueError(f"metric {metric.name!r}: its calibration is none")


def _once(what: str, names: Iterable[str]) -> None:
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(f"there are two {what}s named {twice[0]!r}")


def check_look(names: Names, look: Look) -> None:
    """Raises ValueError for a look that cannot have been, with what is wrong with it."""
    if not (isfinite(look.at) and isfinite(look.seconds) and look.seconds >= 0):
        raise ValueError(f"{look.seconds:g} seconds up to {look.at:g}")
    _known("metric", look.counts, names.metrics)
    _known("condition", look.conditions, names.conditions)
    _known("metric of the score", look.scores, names.scored)
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


def _known(what: str, found: Iterable[str], planned: frozenset[str]) -> None:
    strange = sorted({*found} - planned)
    if strange:
        known = f"only {', '.join(sorted(planned))}" if planned else "none at all"
        raise ValueError(f"the plan has no {what} named {strange[0]!r}, {known}")


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
