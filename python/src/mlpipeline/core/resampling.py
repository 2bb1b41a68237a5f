"""How far the difference of two models on the same rows may be from the difference on all rows there could be.

Each comparison returns a one-sided bound on either side: ``low`` is below the true difference with at least ``confidence``,
``high`` above it. Differences are oriented so that larger is better for the candidate.

- accuracy: Tango's score interval for paired proportions, which stays honest when the models disagree on few rows or none;
- roc_auc: DeLong's paired variance by midranks, of whole entities where rows are clustered (Obuchowski 1997);
- other metrics: paired percentile bootstrap. Rows that are equal for both models are drawn together, as one multinomial
  draw per resample instead of one draw per row; rows without equals are grouped by rank, and what a group hides is added
  back as a normal term with the group's own covariance. A single column of differences gets groups that grow from
  its ends inwards: the most extreme rows, which a normal term would hide, are drawn one by one.

A :class:`Design` says which rows belong together (whole entities are drawn) and within which parts the rows are drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from mlpipeline.core.calibration import ece_bounds
from mlpipeline.core.intervals import logit_bounds, share_bounds
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
    weighed_ece,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

GROUPS = 2048
"""How many groups of rows a resample is drawn from at most."""
FEWEST = 10
"""Rows or entities below which no bounds are drawn."""
TAIL_DRAWS = 20
"""With fewer draws beyond a bound, the bound is no quantile of the draws alone."""
EXACT_ROWS = 256
"""Up to so many distinct differences each is drawn by itself."""
SINGLES = 6
"""So many of the most extreme differences on either side are drawn by themselves, however many rows there are."""
MIDDLE = 4
"""Into so many equal groups goes what the growing groups leave in the middle."""
GROWTH = 4
"""How much larger each group is than the one nearer to the end."""
AT_ONCE = 20_000_000
"""Numbers held in memory at once while resampling a ranking."""
RANKING_BUDGET = 50_000_000
"""Rows times resamples spent on a ranking metric; a larger holdout gets fewer resamples, never fewer than 400."""


@dataclass(frozen=True)
class Design:
    """How the rows came about.

    Args:
        clusters: Code of each row's entity; absent: rows are independent.
        strata: Code of the part, of fixed size, that each row was taken from; absent: one part. An entity is in one part.
    """

    clusters: NDArray[Any] | None = None
    strata: NDArray[Any] | None = None

    def take(self, rows: NDArray[Any]) -> Design:
        """The design of some of the rows."""
        return Design(*(None if codes is None else codes[rows] for codes in (self.clusters, self.strata)))

    @property
    def plain(self) -> bool:
        return self.clusters is None and self.strata is None


INDEPENDENT = Design()


@dataclass(frozen=True)
class Comparison:
    """Both models' values and the oriented difference with its bounds.

    Args:
        method: How the bounds were found: ``score``, ``delong``, ``bootstrap`` or ``identical``.
        better_probability: The exact one-sided p-value of "the candidate is no better" where there is one (accuracy),
            else absent.
        harm_probability: One-sided p-value of "the candidate is not worse by the margin or more".
    """

    candidate: float
    champion: float
    difference: float
    low: float
    high: float
    confidence: float
    method: str
    better_probability: float | None = None
    harm_probability: float | None = None


def compare(
    name: str,
    truth: Truth,
    candidate: Answers,
    champion: Answers,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    design: Design = INDEPENDENT,
    margin: float = 0.0,
) -> Comparison:
    """Candidate against champion on the same rows.

    Args:
        margin: The loss that ``harm_probability`` is about.

    Raises:
        Undefined: The metric has no value for one of them.
    """
    ours, theirs = value(name, truth, candidate), value(name, truth, champion)
    sign = 1.0 if METRICS[name].larger_is_better else -1.0
    difference = sign * (ours - theirs)
    if name == "accuracy" and design.plain:
        gained, lost = discordant(truth, candidate, champion)
        low, high = paired_proportions(gained, lost, len(truth), confidence)
        harm = NormalDist().cdf(score_statistic(gained, lost, len(truth), -margin))
        return Comparison(ours, theirs, difference, low, high, confidence, "score", mcnemar(gained, lost), harm)
    if name == "roc_auc":
        variance = delong(truth, candidate, champion, design)
        low, high = _around(difference, variance, confidence)
        harm = _normal_tail(difference + margin, variance)
        return Comparison(ours, theirs, difference, low, high, confidence, "delong", None, harm)
    enough(design, len(truth))
    draws = sign * _resampled(name, _Pair(truth, candidate, champion), resamples, seed, design)
    return of_draws(ours, theirs, difference, draws, confidence=confidence, margin=margin)


def of_draws(
    ours: float, theirs: float, difference: float, draws: NDArray[Any], *, confidence: float, margin: float = 0.0
) -> Comparison:
    """The comparison that resampled differences, oriented so that larger is better, amount to.

    Raises:
        Undefined: No resample has a value.
    """
    import numpy as np

    low, high = _percentiles(draws, confidence)
    seen = draws[np.isfinite(draws)]
    harm = (1.0 + float((seen > -margin).sum())) / (len(seen) + 1.0)
    return Comparison(ours, theirs, difference, low, high, confidence, "bootstrap", None, harm)


def of_terms(
    candidate: NDArray[Any],
    champion: NDArray[Any],
    *,
    larger_is_better: bool,
    confidence: float,
    resamples: int,
    seed: int,
    design: Design = INDEPENDENT,
    margin: float = 0.0,
) -> Comparison:
    """The comparison of a metric that is the mean of one number per row."""
    import numpy as np

    enough(design, len(candidate))
    sign = 1.0 if larger_is_better else -1.0
    ours, theirs = float(candidate.mean()), float(champion.mean())
    terms = (candidate - champion)[:, None]
    draws = sign * resampled_means(terms, resamples, np.random.default_rng(seed), design)[:, 0]
    return of_draws(ours, theirs, sign * (ours - theirs), draws, confidence=confidence, margin=margin)


def own_bounds(
    name: str,
    truth: Truth,
    answers: Answers,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    design: Design = INDEPENDENT,
) -> tuple[float, float, str]:
    """Bounds for one model's own value, not oriented, and how they were found.

    Wilson's or exact ones for shares of rows, DeLong's on the scale of log odds for roc_auc, those of
    :mod:`mlpipeline.core.calibration` for ece, the bootstrap for all others and for entities.

    Raises:
        Undefined: The metric has no value, or the rows are too few.
    """
    own = value(name, truth, answers)
    if name == "accuracy" and design.plain:
        return share_bounds(round(own * len(truth)), len(truth), confidence)
    if name == "roc_auc":
        return (*logit_bounds(own, delong(truth, answers, None, design), confidence), "delong")
    enough(design, len(truth))
    if name == "ece" and design.plain and answers.score is not None:
        return (*ece_bounds(positives(truth).astype(float), answers.score, confidence, seed), "cross-fitted")
    draws = _resampled(name, _Pair(truth, answers, None), resamples, seed, design)
    return (*_percentiles(draws, confidence), "bootstrap")


def _normal_tail(distance: float, variance: float) -> float:
    """Probability of a difference at most this far above the harm, were there just no harm."""
    if variance <= 0:
        return 0.0 if distance < 0 else 1.0
    return NormalDist().cdf(distance / math.sqrt(variance))


def identical(name: str, truth: Truth, answers: Answers, confidence: float) -> Comparison:
    """A model against itself: no difference, on any rows."""
    own = value(name, truth, answers)
    return Comparison(own, own, 0.0, 0.0, 0.0, confidence, "identical")


def _around(estimate: float, variance: float, confidence: float) -> tuple[float, float]:
    reach = NormalDist().inv_cdf(confidence) * math.sqrt(max(variance, 0.0))
    return estimate - reach, estimate + reach


def _percentiles(draws: NDArray[Any], confidence: float) -> tuple[float, float]:
    """Quantiles of the draws; beyond their ends, where too few draws are left, no nearer than a normal tail would be."""
    import numpy as np

    seen = draws[np.isfinite(draws)]
    if not len(seen):
        raise Undefined("no resample of these rows defines it")
    low, high = (float(bound) for bound in np.quantile(seen, [1.0 - confidence, confidence]))
    if (1.0 - confidence) * len(seen) < TAIL_DRAWS:
        normal = _around(float(seen.mean()), float(seen.var()), confidence)
        low, high = min(low, normal[0]), max(high, normal[1])
    return low, high


def enough(design: Design, rows: int) -> None:
    """Raises Undefined when there is too little to draw from: next to nothing, drawn anew, shows no doubt where all is doubt."""
    import numpy as np

    units = rows if design.clusters is None else len(np.unique(design.clusters))
    if units < FEWEST:
        what = "rows" if design.clusters is None else "entities"
        raise Undefined(f"{units} {what} are too few for an interval, which needs {FEWEST}")


# --- accuracy -----------------------------------------------------------------------------------------------------


def discordant(truth: Truth, candidate: Answers, champion: Answers) -> tuple[int, int]:
    """Rows only the candidate has right, and rows only the champion has right."""
    ours, theirs = per_row("accuracy", truth, candidate), per_row("accuracy", truth, champion)
    return int(((ours == 1) & (theirs == 0)).sum()), int(((ours == 0) & (theirs == 1)).sum())


def score_statistic(gained: int, lost: int, rows: int, delta: float) -> float:
    """How many standard errors (gained - lost) / rows is above ``delta``, were that the true difference (Tango 1998)."""
    linear = -gained - lost + (2.0 * rows - gained + lost) * delta
    constant = -lost * delta * (1.0 - delta)
    root = math.sqrt(max(linear * linear - 8.0 * rows * constant, 0.0))
    share = (root - linear) / (4.0 * rows)
    variance = rows * (2.0 * share + delta * (1.0 - delta))
    above = gained - lost - rows * delta
    return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above) if above else 0.0


def paired_proportions(gained: int, lost: int, rows: int, confidence: float) -> tuple[float, float]:
    """Bounds for the difference of two paired proportions, (gained - lost) / rows (Tango 1998, Statistics in Medicine 17)."""
    quantile = NormalDist().inv_cdf(confidence)

    def score(delta: float) -> float:
        return score_statistic(gained, lost, rows, delta)

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


def delong(truth: Truth, candidate: Answers, champion: Answers | None, design: Design = INDEPENDENT) -> float:
    """Variance of the difference of two areas under the ROC curve on the same rows (DeLong 1988; midranks: Sun and Xu 2014).

    Of one area, when there is no champion. Of whole entities, where the design has clusters (Obuchowski 1997): what the rows
    of one entity add to the area is one number. Strata of the design are not used: without them the variance is no smaller.
    """
    import numpy as np

    chosen = positives(truth)
    count, others = int(chosen.sum()), int((~chosen).sum())
    if min(count, others) < 2:
        raise Undefined(f"bounds of roc_auc need two rows of either class and there are {count} and {others}")
    by_positive, by_negative = np.zeros(count), np.zeros(others)
    for sign, answers in ((1.0, candidate), (-1.0, champion)):
        if answers is None:
            continue
        score = answers.score
        if score is None:
            raise Undefined("the scores are missing")
        ranks = midranks(score)
        by_positive += sign * (ranks[chosen] - midranks(score[chosen])) / others
        by_negative += sign * (1.0 - (ranks[~chosen] - midranks(score[~chosen])) / count)
    if design.clusters is not None:
        pulls = np.zeros(len(truth))
        pulls[chosen] = (by_positive - by_positive.mean()) / count
        pulls[~chosen] = (by_negative - by_negative.mean()) / others
        _, codes = np.unique(design.clusters, return_inverse=True)
        sums = np.bincount(codes, weights=pulls)
        return float((sums**2).sum()) * len(sums) / max(len(sums) - 1, 1)
    return sum(float(np.var(part, ddof=1)) / len(part) for part in (by_positive, by_negative))


# --- bootstrap ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    truth: Truth
    candidate: Answers
    champion: Answers | None


def _resampled(name: str, pair: _Pair, resamples: int, seed: int, design: Design) -> NDArray[Any]:
    """Candidate minus champion in each resample; the candidate alone without one."""
    import numpy as np

    random = np.random.default_rng(seed)
    truth, candidate, champion = pair.truth, pair.candidate, pair.champion
    if name == "accuracy" or name in PER_ROW:
        terms = per_row(name, truth, candidate) - (0.0 if champion is None else per_row(name, truth, champion))
        differences: NDArray[Any] = resampled_means(terms[:, None], resamples, random, design)[:, 0]
        return differences
    if name in OF_CONFUSION:
        return _resampled_classes(name, pair, resamples, random, design)
    if name in {"average_precision", "ece"}:
        return _resampled_rows(name, pair, resamples, random, design)
    ours = per_row("mse", truth, candidate)
    if champion is None and name == "rmse":
        alone: NDArray[Any] = np.sqrt(np.maximum(resampled_means(ours[:, None], resamples, random, design)[:, 0], 0.0))
        return alone
    # The model that always says the mean has r2 = 0: the difference to it is r2 itself.
    theirs = (truth.numbers - truth.numbers.mean()) ** 2 if champion is None and truth.numbers is not None else None
    theirs = per_row("mse", truth, champion) if champion is not None else theirs
    if theirs is None:
        raise Undefined("the numbers are missing")
    numbers = np.zeros(len(truth)) if truth.numbers is None else truth.numbers - truth.numbers.mean()
    means = resampled_means(np.column_stack([ours - theirs, theirs, numbers, numbers**2]), resamples, random, design)
    their_square = np.maximum(means[:, 1], 0.0)
    our_square = np.maximum(means[:, 0] + means[:, 1], 0.0)
    if name == "rmse":
        roots: NDArray[Any] = np.sqrt(our_square) - np.sqrt(their_square)
        return roots
    spread = means[:, 3] - means[:, 2] ** 2
    shares: NDArray[Any] = np.where(spread > 0, (their_square - our_square) / np.where(spread > 0, spread, 1), np.nan)
    return shares


def resampled_means(
    terms: NDArray[Any], resamples: int, random: np.random.Generator, design: Design = INDEPENDENT
) -> NDArray[Any]:
    """Means of the columns of ``terms`` (rows, statistics) in each of ``resamples`` draws of the rows with replacement."""
    import numpy as np

    if design.plain:
        plain: NDArray[Any] = _resampled_totals(terms, resamples, random) / len(terms)
        return plain
    units, strata = _units(np.column_stack([terms, np.ones(len(terms))]), design)
    totals = np.zeros((resamples, terms.shape[1] + 1))
    for stratum in np.unique(strata):
        totals += _resampled_totals(units[strata == stratum], resamples, random)
    means: NDArray[Any] = totals[:, :-1] / np.maximum(totals[:, -1:], 1e-300)
    return means


def _units(terms: NDArray[Any], design: Design) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is drawn, entities or rows: the sums of the terms of each, and its stratum."""
    import numpy as np

    strata = np.zeros(len(terms), dtype=int) if design.strata is None else design.strata
    if design.clusters is None:
        return terms, strata
    _, first, codes = np.unique(design.clusters, return_index=True, return_inverse=True)
    sums = np.column_stack([np.bincount(codes, weights=column) for column in terms.T])
    return sums, strata[first]


def _resampled_totals(terms: NDArray[Any], resamples: int, random: np.random.Generator) -> NDArray[Any]:
    """Sums of the columns in each draw of as many rows with replacement."""
    import numpy as np

    rows = len(terms)
    counts, means, covariances = _groups(terms)
    drawn = random.multinomial(rows, counts / rows, size=resamples).astype(float)
    totals: NDArray[Any] = drawn @ means
    if covariances is not None and terms.shape[1] == 1:
        noise = random.standard_normal(resamples) * np.sqrt(np.maximum(drawn @ covariances[:, 0, 0], 0.0))
        totals = totals + noise[:, None]
    elif covariances is not None:
        values, vectors = np.linalg.eigh(np.einsum("rg,gij->rij", drawn, covariances))
        normal = random.standard_normal(totals.shape) * np.sqrt(np.maximum(values, 0.0))
        totals = totals + np.einsum("rij,rj->ri", vectors, normal)
    return totals


def _groups(terms: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Rows in groups: sizes, means, and covariances inside the groups (none when all rows of each are equal)."""
    import numpy as np

    rows = len(terms)
    if terms.shape[1] == 1:
        return _groups_of_one(terms[:, 0])
    if rows <= GROUPS:
        return np.ones(rows), terms, None
    ordered = terms[np.argsort(terms[:, 0], kind="stable")]
    edges = np.unique(np.linspace(0, rows, GROUPS + 1).astype(int))[:-1]
    sizes = np.diff(np.append(edges, rows)).astype(float)
    means = np.add.reduceat(ordered, edges, axis=0) / sizes[:, None]
    centred = ordered - np.repeat(means, sizes.astype(int), axis=0)
    products = centred[:, :, None] * centred[:, None, :]
    covariances = np.add.reduceat(products, edges, axis=0) / sizes[:, None, None]
    return sizes, means, covariances


def _groups_of_one(terms: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Groups of a single column: the distinct values while they are few, else by rank, smaller towards the ends."""
    import numpy as np

    ordered = np.sort(terms)
    new = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    if int(np.count_nonzero(new)) <= EXACT_ROWS:
        places = np.flatnonzero(new)
        return np.diff(np.append(places, len(terms))).astype(float), ordered[places][:, None], None
    edges = _edges(len(terms))
    sizes = np.diff(np.append(edges, len(terms))).astype(float)
    means = np.add.reduceat(ordered, edges) / sizes
    ordered -= np.repeat(means, sizes.astype(int))
    variances = np.add.reduceat(np.multiply(ordered, ordered, out=ordered), edges) / sizes
    return sizes, means[:, None], variances[:, None, None]


def _edges(rows: int) -> NDArray[Any]:
    """Where the groups of so many ordered rows begin."""
    import numpy as np

    sizes, left = [1] * SINGLES, rows - 2 * SINGLES
    size = GROWTH
    while left > 2 * MIDDLE * size:
        sizes.append(size)
        left -= 2 * size
        size *= GROWTH
    middle = [left // MIDDLE + (place < left % MIDDLE) for place in range(MIDDLE)]
    edges: NDArray[Any] = np.cumsum([0, *sizes, *middle, *reversed(sizes)])[:-1]
    return edges


def drawn_counts(design: Design, rows: int, size: int, random: np.random.Generator) -> NDArray[Any]:
    """How often each row is in each of ``size`` resamples."""
    import numpy as np

    units, strata = _units(np.ones((rows, 1)), design)
    places = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    counts = np.zeros((size, len(units)), dtype=float)
    for line in counts:
        for chosen in places:
            line[chosen] = np.bincount(random.integers(0, len(chosen), len(chosen)), minlength=len(chosen))
    if design.clusters is None:
        return counts
    _, codes = np.unique(design.clusters, return_inverse=True)
    by_row: NDArray[Any] = counts[:, codes]
    return by_row


def _resampled_classes(name: str, pair: _Pair, resamples: int, random: np.random.Generator, design: Design) -> NDArray[Any]:
    """Metrics of a confusion matrix: one multinomial over the cells (true class, candidate's answer, champion's answer)."""
    import numpy as np

    truth, candidate, champion = pair.truth, pair.candidate, pair.champion
    other = candidate.codes if champion is None else champion.codes
    if truth.codes is None or candidate.codes is None or other is None:
        raise Undefined("the classes are missing")
    size = max(truth.classes, 2, *(int(codes.max(initial=0)) + 1 for codes in (truth.codes, candidate.codes, other)))
    crossed = (truth.codes * size + candidate.codes) * size + other
    cells, places, counts = np.unique(crossed, return_inverse=True, return_counts=True)
    true, ours, theirs = cells // (size * size), (cells // size) % size, cells % size
    if design.plain:
        drawn = random.multinomial(len(truth), counts / len(truth), size=resamples).astype(float)
    else:
        drawn = _drawn_cells(places, len(cells), resamples, random, design)

    def metric(said: NDArray[Any]) -> NDArray[Any]:
        place = np.zeros((len(cells), size * size))
        place[np.arange(len(cells)), true * size + said] = 1.0
        return OF_CONFUSION[name]((drawn @ place).reshape(len(drawn), size, size), truth.positive)

    if champion is None:
        return metric(ours)
    difference: NDArray[Any] = metric(ours) - metric(theirs)
    return difference


def _drawn_cells(places: NDArray[Any], cells: int, resamples: int, random: np.random.Generator, design: Design) -> NDArray[Any]:
    """How many rows of each cell are in each resample of entities or within strata."""
    import numpy as np

    rows = len(places)
    drawn = np.zeros((_affordable(resamples, rows), cells))
    for line in drawn:
        counts = drawn_counts(design, rows, 1, random)[0]
        line[:] = np.bincount(places, weights=counts, minlength=cells)
    return drawn


def _affordable(resamples: int, rows: int) -> int:
    return min(resamples, max(400, RANKING_BUDGET // rows))


def _resampled_rows(name: str, pair: _Pair, resamples: int, random: np.random.Generator, design: Design) -> NDArray[Any]:
    """Metrics that need every row in every resample, with the number of times it was drawn as its weight."""
    import numpy as np

    truth, candidate, champion = pair.truth, pair.candidate, pair.champion
    scores = [answers.score for answers in (candidate, champion) if answers is not None]
    rows = len(truth)
    draws = _affordable(resamples, rows)
    hits = positives(truth).astype(float)
    weighed: list[Callable[[NDArray[Any]], NDArray[Any]]] = []
    for score in scores:
        if score is None:
            raise Undefined("the scores are missing")
        weighed.append(_weighed_precision(hits, score) if name == "average_precision" else weighed_ece(hits, score))
    parts = []
    step = max(1, AT_ONCE // (8 * rows))
    for start in range(0, draws, step):
        drawn = drawn_counts(design, rows, min(step, draws - start), random)
        parts.append(weighed[0](drawn) - (weighed[1](drawn) if champion is not None else 0.0))
    return np.concatenate(parts)


def _weighed_precision(hits: NDArray[Any], score: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    order, ends = descending(score)
    return lambda drawn: precision_sums(hits[order][None], drawn[:, order], ends)
