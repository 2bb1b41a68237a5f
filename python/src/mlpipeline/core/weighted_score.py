"""Scores for those who come from Kayenta: metrics are classified, groups are weighted, thresholds decide.

A metric is ``high`` (or ``low``) when two things hold together: the difference is *significant* (the confidence interval of
the shift lies beyond a quarter of its own estimate, Kayenta's Mann-Whitney judge), and it is *large* (the mean differs by more
than ``effect``). Its direction says which of the two is harm. The score is the weighted sum, over groups, of the share of
metrics that are not harmed.

Closed corners: a critical metric that is harmed, has no data (at more than half of the looks) or cannot be queried makes the
score 0; where data are needed, ``missing: zero`` does not make them up when none ever came; a group of which nothing was
measured scores 0 instead of dropping out; too few samples to tell are inconclusive, unless even their best outcome fails; what
one scrape answers at several looks is one sample; weights must total 100.

Evidence that names no rules of its score is scored by rules 1: a metric is without data only where no sample is left, and too
few samples are inconclusive whatever the others say.

Kayenta's rule promises no bound on false alarms. It is therefore asked only when a stage ends, never at every look, and stands
beside the sequential comparisons, whose bound is untouched by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, inf, isfinite, sqrt
from typing import Literal

import msgspec

from mlpipeline.core.verdict import Verdict

TOLERANCE = 0.25
"""Part of the estimated shift that its interval has to exclude besides 0, as Kayenta's judge has it."""

RULES: Literal[2] = 2
"""The rules of today, for new plans."""
_DECIMALS = 6
"""To which points are told, and weights have to total 100: somebody rounded thirds."""

Class = Literal["pass", "high", "low", "no data", "few", "error"]


class ScoredMetric(msgspec.Struct, frozen=True, omit_defaults=True):
    """One metric of a score.

    Args:
        queries: PromQL for the candidate and for the champion, resolved.
        group: Whose weight it shares.
        direction: What harms: an ``increase``, a ``decrease``, or ``either``.
        critical: Harm, an error, or data that are missing at more than half of the looks make the whole score 0.
        mute: Classified and shown, never counted.
        must_have_data: No data counts as harm; otherwise the metric is left out, and with the last one of a group its points.
        effect: Relative change of the mean (0.1: by a tenth) up to which a significant difference is no harm.
        critical_effect: Relative change of the mean from which harm counts as critical; 0: never.
        missing: What an empty, NaN, infinite or ambiguous answer is: no sample, or the sample 0.
    """

    name: str
    queries: tuple[str, str]
    group: str = ""
    direction: Literal["increase", "decrease", "either"] = "increase"
    critical: bool = False
    mute: bool = False
    must_have_data: bool = False
    effect: float = 0.0
    critical_effect: float = 0.0
    missing: Literal["remove", "zero"] = "remove"


class ScorePlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is scored. ``groups`` maps names to weights; empty: one group of all. Thresholds are in points of 100."""

    metrics: tuple[ScoredMetric, ...]
    groups: dict[str, float] = {}
    pass_at: float = 95.0
    marginal_at: float = 75.0
    confidence: float = 0.98
    rules: Literal[1, 2] = 1
    """How it is scored, see the module's text; 1 for evidence that names none."""


class Sampled(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the two queries answered at one look, as text (so that NaN survives JSON), or why a query was refused.

    ``repeated``: not both colours were scraped since the last sample, so that it is none of its own.
    """

    candidate: tuple[str, ...] = ()
    champion: tuple[str, ...] = ()
    error: str = ""
    repeated: bool = False


class Shift(msgspec.Struct, frozen=True):
    """Hodges-Lehmann estimate of how far the candidate's values lie above the champion's, with its interval."""

    estimate: float
    low: float
    high: float


class Classified(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one metric came out. ``harmed`` and ``critical`` say what it does to the score; ``samples`` of both colours."""

    name: str
    group: str
    found: Class
    harmed: bool
    critical: bool
    counted: bool
    summary: str
    samples: tuple[int, int] = (0, 0)


class Score(msgspec.Struct, frozen=True):
    """The score in points, the verdict, and each metric's part in it."""

    points: float
    verdict: Verdict
    summary: str
    metrics: tuple[Classified, ...]


def check(plan: ScorePlan) -> None:
    """Raises ValueError, saying what to change, for a plan whose score would mean nothing."""
    if not any(not metric.mute for metric in plan.metrics):
        raise ValueError("the score has no metric that counts")
    if not 0 < plan.confidence < 1:
        raise ValueError(f"confidence ({plan.confidence:g}) has to lie between 0 and 1")
    for metric in plan.metrics:
        if not all(isfinite(effect) and effect >= 0 for effect in (metric.effect, metric.critical_effect)):
            raise ValueError(f"the effects of metric {metric.name!r} have to be numbers of at least 0")
    if not 0 <= plan.marginal_at <= plan.pass_at <= 100:
        raise ValueError(f"marginal ({plan.marginal_at:g}) has to lie between 0 and pass ({plan.pass_at:g}), at most 100")
    names = [metric.name for metric in plan.metrics]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the score has two metrics named {twice[0]!r}")
    if plan.groups:
        _check_groups(plan)


def _check_groups(plan: ScorePlan) -> None:
    for group, weight in plan.groups.items():
        if not (isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of group {group!r} is {weight:g}, and has to be a number of at least 0")
    total = sum(plan.groups.values())
    if round(total, _DECIMALS) != 100:
        raise ValueError(f"the weights of the groups total {total:.12g}, not 100")
    for metric in plan.metrics:
        if metric.group not in plan.groups:
            raise ValueError(f"metric {metric.name!r} is in group {metric.group!r}, which has no weight")
    for group in plan.groups:
        if not any(metric.group == group and not metric.mute for metric in plan.metrics):
            raise ValueError(f"group {group!r} has a weight but no metric that counts")


def number(answer: Sequence[str]) -> float | None:
    """Of an answer that is exactly one finite number; any other is missing."""
    value = float(answer[0]) if len(answer) == 1 else inf
    return value if isfinite(value) else None


def values(answers: Sequence[Sequence[str]], missing: Literal["remove", "zero"]) -> list[float]:
    """One sample per answer that is a number, and 0 for any other where ``missing`` says so."""
    found = (number(answer) for answer in answers)
    return [0.0 if value is None else value for value in found if value is not None or missing == "zero"]


def shift(candidate: Sequence[float], champion: Sequence[float], confidence: float) -> Shift | None:
    """The interval that belongs to the Mann-Whitney test: order statistics of all pairwise differences.

    ``[D(k), D(nm + 1 - k)]`` with ``k = floor(nm/2 - z sqrt(nm (n+m+1) / 12))`` (Moses; Hollander & Wolfe, Nonparametric
    Statistical Methods, 4.3; ties make it wider, never narrower). Assumes independent samples, which metrics in time are
    not. Units: those of the values. Absent when the samples are too few for this confidence (below 5 each at 98 %).
    """
    from statistics import NormalDist

    import numpy

    n, m = len(candidate), len(champion)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rank = floor(n * m / 2 - z * sqrt(n * m * (n + m + 1) / 12))
    if rank < 1:
        return None
    differences = numpy.sort(numpy.subtract.outer(numpy.asarray(candidate), numpy.asarray(champion)).ravel())
    return Shift(float(numpy.median(differences)), float(differences[rank - 1]), float(differences[n * m - rank]))


def relative_change(candidate: Sequence[float], champion: Sequence[float]) -> float:
    """Of the mean: 0.1 for a tenth more, -0.1 for a tenth less; infinite where the champion's mean is 0 and the other is not."""
    ours, theirs = sum(candidate) / len(candidate), sum(champion) / len(champion)
    if ours == theirs:
        return 0.0
    return (ours - theirs) / abs(theirs) if theirs else inf if ours > 0 else -inf


def _unanswered(metric: ScoredMetric, given: Mapping[str, Sequence[Sequence[str]]], rules: int) -> str:
    """Which colour has no data, in words; empty when both have.

    Where data are needed, ``zero`` stands for series that are not there, such as errors that never happened, and not for
    several series or NaN; nor does it when no answer of either colour was ever a number, as a misspelt query has it.
    """
    needed = rules > 1 and (metric.critical or metric.must_have_data)
    for who, answers in given.items():
        without = [answer for answer in answers if number(answer) is None]
        gone = len(without) if metric.missing == "remove" else sum(map(bool, without)) if needed else 0
        if gone == len(answers):
            return f"the {who}"
        if rules > 1 and metric.critical and 2 * gone > len(answers):
            return f"the {who} at {gone} of {len(answers)} looks"
    if needed and not any(number(answer) is not None for answers in given.values() for answer in answers):
        return "either colour"
    return ""


def classify(metric: ScoredMetric, samples: Sequence[Sampled], confidence: float, rules: int = RULES) -> Classified:
    """One metric over all looks; the same samples give the same class."""
    refused = next((sample.error for sample in samples if sample.error), "")
    if refused:
        return _outcome(metric, "error", f"could not be queried: {refused}", harmed=True, critical=metric.critical)
    given = {"candidate": [sample.candidate for sample in samples], "champion": [sample.champion for sample in samples]}
    counted = [sample for sample in samples if not sample.repeated]
    candidate = values([sample.candidate for sample in counted], metric.missing)
    champion = values([sample.champion for sample in counted], metric.missing)
    sizes = (len(candidate), len(champion))
    if who := _unanswered(metric, given, rules):
        needed = metric.must_have_data or metric.critical
        return _outcome(metric, "no data", f"no data of {who}", harmed=needed, critical=metric.critical, samples=sizes)
    found = shift(candidate, champion, confidence)
    if found is None:
        again = len(samples) - len(counted)
        why = f", nothing new was scraped at {again} of {len(samples)} looks" if again else ""
        return _outcome(metric, "few", f"{sizes[0]} and {sizes[1]} samples are too few to compare{why}", samples=sizes)
    change = relative_change(candidate, champion)
    beyond = TOLERANCE * abs(found.estimate)
    direction: Class = "pass"
    if found.low > beyond and change > metric.effect and metric.direction != "decrease":
        direction = "high"
    elif found.high < -beyond and change < -metric.effect and metric.direction != "increase":
        direction = "low"
    harmed = direction != "pass"
    critical = harmed and (metric.critical or 0 < metric.critical_effect <= abs(change))
    text = (
        f"mean {100 * change:+.3g} %, shift {found.estimate:.3g}, {100 * confidence:g} % interval "
        f"{found.low:.3g} to {found.high:.3g}, n {sizes[0]} and {sizes[1]}"
    )
    return _outcome(metric, direction, text, harmed=harmed, critical=critical, samples=sizes)


def _outcome(
    metric: ScoredMetric,
    found: Class,
    text: str,
    *,
    harmed: bool = False,
    critical: bool = False,
    samples: tuple[int, int] = (0, 0),
) -> Classified:
    left_out = metric.mute or (found == "no data" and not harmed)
    muted = " (muted)" if metric.mute else ""
    return Classified(
        metric.name,
        metric.group,
        found,
        harmed,
        critical and not metric.mute,
        not left_out,
        f"{metric.name}: {found}{muted}, {text}",
        samples,
    )


def score(plan: ScorePlan, samples: Mapping[str, Sequence[Sampled]]) -> Score:
    """The score over all looks. Raises ValueError for a plan that :func:`check` refuses."""
    check(plan)
    metrics = tuple(classify(metric, samples.get(metric.name, ()), plan.confidence, plan.rules) for metric in plan.metrics)
    counted = [metric for metric in metrics if metric.counted]
    points = _points(plan, [(metric, not metric.harmed and metric.found != "few") for metric in counted])
    critical = [metric for metric in metrics if metric.critical]
    if critical:
        return Score(0.0, Verdict.FAIL, f"score 0: critical {critical[0].summary}", metrics)
    few = [metric for metric in counted if metric.found == "few"]
    rule = f"pass at {plan.pass_at:g}, marginal at {plan.marginal_at:g}"
    worst = next((metric.summary for metric in counted if metric.harmed), "a group has no data")
    if few:
        best = _points(plan, [(metric, not metric.harmed) for metric in counted])
        if plan.rules > 1 and best < plan.marginal_at:
            return Score(best, Verdict.FAIL, f"score at most {best:g} ({rule}): {worst}", metrics)
        return Score(points, Verdict.INCONCLUSIVE, f"score not known yet: {few[0].summary}", metrics)
    if points >= plan.pass_at:
        return Score(points, Verdict.PASS, f"score {points:g} ({rule})", metrics)
    verdict = Verdict.INCONCLUSIVE if points >= plan.marginal_at else Verdict.FAIL
    return Score(points, verdict, f"score {points:g} ({rule}): {worst}", metrics)


def _points(plan: ScorePlan, counted: Sequence[tuple[Classified, bool]]) -> float:
    """The weighted sum of each group's share of metrics that are well."""
    points = 0.0
    for group, weight in (plan.groups or {"": 100.0}).items():
        well = [fine for metric, fine in counted if not plan.groups or metric.group == group]
        points += weight * sum(well) / len(well) if well else 0.0
    return round(points, _DECIMALS)
