"""Whether a plan and the looks at a release can be what they say they are. What cannot is an error, never a verdict."""

from __future__ import annotations

from collections import Counter
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlpipeline.core.judge import Look, Plan


def check_plan(plan: Plan) -> None:
    """Raises ValueError for a plan by which nothing can be judged, with the value that is wrong."""
    if not 0 < plan.false_alarm < 1:
        raise ValueError(f"false_alarm is {plan.false_alarm}, and has to be above 0 and below 1")
    for what, named in (("metrics", plan.metrics), ("conditions", plan.conditions)):
        twice = [name for name, number in Counter(one.name for one in named).items() if number > 1]
        if twice:
            raise ValueError(f"several {what} are called {twice[0]!r}")
    for metric in plan.metrics:
        if not (metric.margin > 1 and isfinite(metric.margin)):
            raise ValueError(
                f"the margin of {metric.name} is {metric.margin}, and has to be above 1: how many times worse is harm"
            )
        if not (metric.effect >= 1 and isfinite(metric.effect)):
            raise ValueError(f"the effect of {metric.name} is {metric.effect}, and has to be at least 1")
        if not 0 <= metric.tolerate <= 1:
            raise ValueError(f"{metric.name} tolerates a rate of {metric.tolerate}, and has to tolerate one from 0 to 1")


def check_look(plan_names: frozenset[str], condition_names: frozenset[str], look: Look) -> None:
    """Raises ValueError for a look that cannot have been, with what is wrong with it.

    Args:
        plan_names: Of the metrics that are compared.
        condition_names: Of the conditions.
    """
    if not (isfinite(look.at) and isfinite(look.seconds) and look.seconds >= 0):
        raise ValueError(f"the look at {look.at} lasted {look.seconds} s: both have to be numbers, and no time is negative")
    if unknown := sorted({*look.counts} - plan_names):
        raise ValueError(f"the look at {look.at} counted {unknown[0]!r}, which the plan does not know: {_known(plan_names)}")
    if unknown := sorted({*look.conditions} - condition_names):
        raise ValueError(
            f"the look at {look.at} measured {unknown[0]!r}, which the plan does not know: {_known(condition_names)}"
        )
    for name, (requests, events, of_champion, its_events) in look.counts.items():
        if not (0 <= events <= requests <= _MOST and 0 <= its_events <= of_champion <= _MOST):
            counts = (requests, events, of_champion, its_events)
            raise ValueError(f"the look at {look.at} counted {name} as {counts}: events are at least 0 and at most the requests")
    compared, differing = look.compared
    if not 0 <= differing <= compared:
        raise ValueError(f"the look at {look.at} compared {compared} answers, of which {differing} differed")


_MOST = 10**15
"""Requests of one look; more could not be added exactly."""


def _known(names: frozenset[str]) -> str:
    return f"it names {', '.join(sorted(names))}" if names else "it names none"
