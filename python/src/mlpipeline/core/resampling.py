"""How far the difference of two models on the same rows may be from the difference on all rows there could be.

Each comparison returns a one-sided bound on either side: ``low`` is below the true difference with at least ``confidence``,
``high`` above it. Differences are oriented so that larger is better for the candidate.

- accuracy: Tango's score interval for paired proportions, which stays honest when the models disagree on few rows or none;
- roc_auc: DeLong's paired variance by midranks;
- other metrics: paired percentile bootstrap. Rows that are equal for both models are drawn together, as one multinomial
  draw per resample instead of one draw per row; rows without equals are grouped by rank, and what a group hides is added
  back as a normal term with the group's own covariance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from mlpipeline.core.scores import (
    METRICS,
    OF_CONFUSION,
    PER_ROW,
    Answers,
    Truth,
    Undefined,
    descending,
    midranks,
    per_row,
    positives,
    precision_sums,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

GROUPS = 2048
"""How many groups of rows a resample is drawn from at most."""
AT_ONCE = 20_000_000
"""Numbers held in memory at once while resampling a ranking."""
RANKING_BUDGET = 50_000_000
"""Rows times resamples spent on a ranking metric; a larger holdout gets fewer resamples, never fewer than 400."""


@dataclass(frozen=True)
class Comparison:
    """Both models' values and the oriented difference with its bounds.

    Args:
        method: How the bounds were found: ``score``, ``delong``, ``bootstrap`` or ``identical``.
        better_probability: The exact one-sided p-value of "the candidate is no better" where there is one (accuracy),
            else absent.
    """

    candidate: float
    champion: float
    difference: float
    low: float
    high: float
    confidence: float
    method: str
    better_probability: float | None = None


def compare(
    name: str,
    truth: Truth,
    candidate: Answers,
    champion: Answers,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Comparison:
    """Candidate against champion on the same rows.

    Raises:
        Undefined: The metric has no value for one of them.
    """
    ours, theirs = value(name, truth, candidate), value(name, truth, champion)
    sign = 1.0 if METRICS[name].larger_is_better else -1.0
    difference = sign * (ours - theirs)
    better: float | None = None
    if name == "accuracy":
        gained, lost = discordant(truth, candidate, champion)
        low, high = paired_proportions(gained, lost, len(truth), confidence)
        method, better = "score", mcnemar(gained, lost)
    elif name == "roc_auc":
        low, high = _around(difference, delong(truth, candidate, champion), confidence)
        method = "delong"
    else:
        low, high = _percentiles(sign * _resampled(name, _Pair(truth, candidate, champion), resamples, seed), confidence)
        method = "bootstrap"
    return Comparison(ours, theirs, difference, low, high, confidence, method, better)


def identical(name: str, truth: Truth, answers: Answers, confidence: float) -> Comparison:
    """A model against itself: no difference, on any rows."""
    own = value(name, truth, answers)
    return Comparison(own, own, 0.0, 0.0, 0.0, confidence, "identical")


def _around(estimate: float, variance: float, confidence: float) -> tuple[float, float]:
    reach = NormalDist().inv_cdf(confidence) * math.sqrt(max(variance, 0.0))
    return estimate - reach, estimate + reach


def _percentiles(draws: NDArray[Any], confidence: float) -> tuple[float, float]:
    import numpy as np

    if not np.isfinite(draws).any():
        raise Undefined("no resample of these rows defines it")
    low, high = np.nanquantile(draws, [1.0 - confidence, confidence])
    return float(low), float(high)


# --- accuracy -----------------------------------------------------------------------------------------------------


def discordant(truth: Truth, candidate: Answers, champion: Answers) -> tuple[int, int]:
    """Rows only the candidate has right, and rows only the champion has right."""
    ours, theirs = per_row("accuracy", truth, candidate), per_row("accuracy", truth, champion)
    return int(((ours == 1) & (theirs == 0)).sum()), int(((ours == 0) & (theirs == 1)).sum())


def paired_proportions(gained: int, lost: int, rows: int, confidence: float) -> tuple[float, float]:
    """Bounds for the difference of two paired proportions, (gained - lost) / rows (Tango 1998, Statistics in Medicine 17)."""
    quantile = NormalDist().inv_cdf(confidence)

    def score(delta: float) -> float:
        linear = -gained - lost + (2.0 * rows - gained + lost) * delta
        constant = -lost * delta * (1.0 - delta)
        root = math.sqrt(max(linear * linear - 8.0 * rows * constant, 0.0))
        share = (root - linear) / (4.0 * rows)
        variance = rows * (2.0 * share + delta * (1.0 - delta))
        above = gained - lost - rows * delta
        return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above) if above else 0.0

    estimate = (gained - lost) / rows
    low = _crossing(lambda delta: score(delta) > quantile, -1.0, estimate)
    high = _crossing(lambda delta: score(delta) >= -quantile, estimate, 1.0)
    return low, high


def _crossing(holds: Callable[[float], bool], left: float, right: float) -> float:
    """Where a condition that holds on the left stops holding, by bisection."""
    for _ in range(60):
        middle = (left + right) / 2.0
        left, right = (middle, right) if holds(middle) else (left, middle)
    return (left + right) / 2.0


def mcnemar(gained: int, lost: int) -> float:
    """Exact one-sided p-value of "the candidate is no better": P(at least ``gained`` of the discordant rows | one half)."""
    total = gained + lost
    if gained == 0:
        return 1.0
    logs = [
        math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1) - total * math.log(2.0)
        for count in range(gained, total + 1)
    ]
    largest = max(logs)
    return min(1.0, math.exp(largest) * math.fsum(math.exp(term - largest) for term in logs))


# --- area under the curve -----------------------------------------------------------------------------------------


def delong(truth: Truth, candidate: Answers, champion: Answers) -> float:
    """Variance of the difference of two areas under the ROC curve on the same rows (DeLong 1988; midranks: Sun and Xu 2014)."""
    import numpy as np

    chosen = positives(truth)
    count, others = int(chosen.sum()), int((~chosen).sum())
    by_positive, by_negative = np.zeros(count), np.zeros(others)
    for sign, answers in ((1.0, candidate), (-1.0, champion)):
        score = answers.score
        if score is None:
            raise Undefined("the scores are missing")
        ranks = midranks(score)
        by_positive += sign * (ranks[chosen] - midranks(score[chosen])) / others
        by_negative += sign * (1.0 - (ranks[~chosen] - midranks(score[~chosen])) / count)
    terms = [float(np.var(part, ddof=1)) / len(part) for part in (by_positive, by_negative) if len(part) > 1]
    return sum(terms)


# --- bootstrap ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    truth: Truth
    candidate: Answers
    champion: Answers


def _resampled(name: str, pair: _Pair, resamples: int, seed: int) -> NDArray[Any]:
    """Candidate minus champion in each resample."""
    import numpy as np

    random = np.random.default_rng(seed)
    truth, candidate, champion = pair.truth, pair.candidate, pair.champion
    if name in OF_CONFUSION:
        return _resampled_classes(name, pair, resamples, random)
    if name == "average_precision":
        return _resampled_ranking(pair, resamples, random)
    if name in PER_ROW:
        terms = per_row(name, truth, candidate) - per_row(name, truth, champion)
        differences: NDArray[Any] = resampled_means(terms[:, None], resamples, random)[:, 0]
        return differences
    ours, theirs = per_row("mse", truth, candidate), per_row("mse", truth, champion)
    numbers = np.zeros(len(truth)) if truth.numbers is None else truth.numbers - truth.numbers.mean()
    means = resampled_means(np.column_stack([ours - theirs, theirs, numbers, numbers**2]), resamples, random)
    their_square = np.maximum(means[:, 1], 0.0)
    our_square = np.maximum(means[:, 0] + means[:, 1], 0.0)
    if name == "rmse":
        roots: NDArray[Any] = np.sqrt(our_square) - np.sqrt(their_square)
        return roots
    spread = means[:, 3] - means[:, 2] ** 2
    shares: NDArray[Any] = np.where(spread > 0, (their_square - our_square) / np.where(spread > 0, spread, 1), np.nan)
    return shares


def resampled_means(terms: NDArray[Any], resamples: int, random: np.random.Generator) -> NDArray[Any]:
    """Means of the columns of ``terms`` (rows, statistics) in each of ``resamples`` draws of the rows with replacement."""
    import numpy as np

    rows = len(terms)
    counts, means, covariances = _groups(terms)
    drawn = random.multinomial(rows, counts / rows, size=resamples).astype(float)
    totals = drawn @ means
    if covariances is not None:
        values, vectors = np.linalg.eigh(np.einsum("rg,gij->rij", drawn, covariances))
        noise = random.standard_normal(totals.shape) * np.sqrt(np.maximum(values, 0.0))
        totals = totals + np.einsum("rij,rj->ri", vectors, noise)
    result: NDArray[Any] = totals / rows
    return result


def _groups(terms: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Rows in at most GROUPS groups: sizes, means, and covariances inside the groups (none when all rows of each are equal)."""
    import numpy as np

    rows = len(terms)
    if rows <= GROUPS:
        return np.ones(rows), terms, None
    ordered = terms[np.argsort(terms[:, 0], kind="stable")]
    if terms.shape[1] == 1:
        values, sizes = np.unique(ordered[:, 0], return_counts=True)
        if len(values) <= GROUPS:
            return sizes.astype(float), values[:, None], None
    edges = np.unique(np.linspace(0, rows, GROUPS + 1).astype(int))[:-1]
    sizes = np.diff(np.append(edges, rows)).astype(float)
    means = np.add.reduceat(ordered, edges, axis=0) / sizes[:, None]
    centred = ordered - np.repeat(means, sizes.astype(int), axis=0)
    products = centred[:, :, None] * centred[:, None, :]
    covariances = np.add.reduceat(products, edges, axis=0) / sizes[:, None, None]
    return sizes, means, covariances


def _resampled_classes(name: str, pair: _Pair, resamples: int, random: np.random.Generator) -> NDArray[Any]:
    """Metrics of a confusion matrix: one multinomial over the cells (true class, candidate's answer, champion's answer)."""
    import numpy as np

    truth, candidate, champion = pair.truth, pair.candidate, pair.champion
    if truth.codes is None or candidate.codes is None or champion.codes is None:
        raise Undefined("the classes are missing")
    size = max(truth.classes, 2, *(int(codes.max(initial=0)) + 1 for codes in (truth.codes, candidate.codes, champion.codes)))
    cells, counts = np.unique((truth.codes * size + candidate.codes) * size + champion.codes, return_counts=True)
    true, ours, theirs = cells // (size * size), (cells // size) % size, cells % size
    drawn = random.multinomial(len(truth), counts / len(truth), size=resamples).astype(float)

    def metric(said: NDArray[Any]) -> NDArray[Any]:
        place = np.zeros((len(cells), size * size))
        place[np.arange(len(cells)), true * size + said] = 1.0
        return OF_CONFUSION[name]((drawn @ place).reshape(resamples, size, size), truth.positive)

    difference: NDArray[Any] = metric(ours) - metric(theirs)
    return difference


def _resampled_ranking(pair: _Pair, resamples: int, random: np.random.Generator) -> NDArray[Any]:
    import numpy as np

    truth, candidate, champion = pair.truth, pair.candidate, pair.champion
    if candidate.score is None or champion.score is None:
        raise Undefined("the scores are missing")
    rows = len(truth)
    draws = min(resamples, max(400, RANKING_BUDGET // rows))
    hits = positives(truth).astype(float)
    ours, our_ends = descending(candidate.score)
    theirs, their_ends = descending(champion.score)
    parts = []
    step = max(1, AT_ONCE // (8 * rows))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = np.stack(
            [np.bincount(random.integers(0, rows, rows), minlength=rows) for _ in range(size)],
        ).astype(float)
        parts.append(
            precision_sums(hits[ours][None], drawn[:, ours], our_ends)
            - precision_sums(hits[theirs][None], drawn[:, theirs], their_ends)
        )
    return np.concatenate(parts)
