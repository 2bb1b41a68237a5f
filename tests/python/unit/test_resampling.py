"""Intervals of paired differences: they cover what they promise, and agree with the slow way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats

from mlpipeline.core.resampling import GROUPS, compare, delong, identical, mcnemar, paired_proportions, resampled_means
from mlpipeline.core.scores import METRICS, Answers, Truth, value


def flights(random: np.random.Generator, rows: int, ours: float, theirs: float) -> tuple[Truth, Answers, Answers]:
    """Two classes; both models see the truth through their own and through common noise."""
    codes = (random.random(rows) < 0.4).astype(int)
    common = random.standard_normal(rows)

    def answers(strength: float) -> Answers:
        score = 1 / (1 + np.exp(-(strength * (codes - 0.4) + 0.7 * common + 0.7 * random.standard_normal(rows))))
        return Answers((score > 0.5).astype(int), score, np.where(codes == 1, score, 1 - score))

    return Truth(codes=codes, classes=2), answers(ours), answers(theirs)


def numbers(random: np.random.Generator, rows: int, ours: float, theirs: float) -> tuple[Truth, Answers, Answers]:
    truth = random.normal(0, 1, rows)
    return (
        Truth(numbers=truth),
        Answers(numbers=truth + ours * random.standard_normal(rows)),
        Answers(numbers=truth + theirs * random.standard_normal(rows)),
    )


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss", "average_precision", "mae", "r2"])
def test_lower_bound_is_below_the_true_difference_as_often_as_promised(name: str) -> None:
    """200 holdouts of 300 rows. Fewer covers have a probability below 1e-6 at a true coverage of 93 % where 95 % is promised."""
    make: Callable[..., tuple[Truth, Answers, Answers]] = numbers if METRICS[name].kind == "number" else flights
    strengths = (0.5, 0.6) if METRICS[name].kind == "number" else (1.2, 1.0)
    sign = 1 if METRICS[name].larger_is_better else -1
    truth, ours, theirs = make(np.random.default_rng(99), 200_000, *strengths)
    real = sign * (value(name, truth, ours) - value(name, truth, theirs))
    trials = 60 if name == "average_precision" else 200
    covered = 0
    for trial in range(trials):
        rows = make(np.random.default_rng(1000 + trial), 300, *strengths)
        covered += compare(name, *rows, confidence=0.95, resamples=200, seed=trial).low <= real
    assert covered >= stats.binom.ppf(1e-6, trials, 0.93)
    assert covered <= stats.binom.ppf(1 - 1e-6, trials, 0.98)


def test_same_seed_gives_the_same_interval() -> None:
    rows = flights(np.random.default_rng(0), 500, 1.2, 1.0)
    first, again, other = (compare("f1", *rows, confidence=0.9, resamples=300, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first.low != other.low


@pytest.mark.parametrize("name", [name for name in METRICS if name != "ece"])
def test_a_better_candidate_has_a_positive_difference_in_every_metric(name: str) -> None:
    random = np.random.default_rng(5)
    rows = numbers(random, 3000, 0.3, 0.6) if METRICS[name].kind == "number" else flights(random, 3000, 2.0, 1.0)
    compared = compare(name, *rows, confidence=0.95, resamples=400, seed=0)
    assert 0 < compared.low < compared.difference < compared.high


@pytest.mark.parametrize("rows", [GROUPS // 4, GROUPS * 5])
def test_grouped_resampling_has_the_spread_of_row_by_row_resampling(rows: int) -> None:
    random = np.random.default_rng(1)
    terms = np.column_stack([random.gamma(0.5, 2, rows), random.standard_normal(rows)])
    terms[:, 1] += terms[:, 0]
    means = resampled_means(terms, 2000, np.random.default_rng(2))
    expected = np.cov(terms.T, ddof=0) / rows
    assert means.mean(axis=0) == pytest.approx(terms.mean(axis=0), abs=5 * np.sqrt(expected.diagonal().max() / 2000))
    assert np.cov(means.T) == pytest.approx(expected, rel=0.25)


def test_few_distinct_differences_are_drawn_exactly() -> None:
    terms = np.repeat([-1.0, 0.0, 1.0], [2000, 5000, 3000])[:, None]
    means = resampled_means(terms, 4000, np.random.default_rng(3))
    assert np.allclose(means * 10_000, np.round(means * 10_000))
    assert means.std() == pytest.approx(np.sqrt((0.5 - 0.01) / 10_000), rel=0.1)


def test_agreement_on_every_row_still_leaves_doubt() -> None:
    low, high = paired_proportions(0, 0, 50, 0.95)
    assert low == pytest.approx(-(1.6449**2) / (50 + 1.6449**2), abs=1e-3)
    assert high == pytest.approx(-low)


@pytest.mark.parametrize(("gained", "lost", "rows"), [(12, 2, 50), (0, 3, 40), (40, 55, 900)])
def test_score_interval_inverts_the_score_test(gained: int, lost: int, rows: int) -> None:
    """At each bound, the score statistic with the share that is most likely under that difference is the normal quantile."""

    def statistic(delta: float) -> float:
        def unlikely(share: float) -> float:
            chances = (share + delta, share, 1 - 2 * share - delta)
            return -sum(
                count * np.log(chance)
                for count, chance in zip((gained, lost, rows - gained - lost), chances, strict=True)
                if count
            )

        least, most = max(0.0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12
        share = optimize.minimize_scalar(unlikely, bounds=(least, most), method="bounded", options={"xatol": 1e-12}).x
        return (gained - lost - rows * delta) / np.sqrt(rows * (2 * share + delta * (1 - delta)))

    low, high = paired_proportions(gained, lost, rows, 0.975)
    assert (statistic(low), statistic(high)) == (pytest.approx(1.959964, abs=1e-3), pytest.approx(-1.959964, abs=1e-3))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0, 5), (5, 0), (12, 3), (300, 260), (6000, 5800)])
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = stats.binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_delong_variance_is_that_of_the_definition() -> None:
    truth, ours, theirs = flights(np.random.default_rng(8), 60, 1.5, 1.0)
    assert truth.codes is not None
    chosen = truth.codes == 1

    def kernel(answers: Answers) -> np.ndarray:
        assert answers.score is not None
        above = answers.score[chosen][:, None] - answers.score[~chosen][None, :]
        return (above > 0) + 0.5 * (above == 0)

    gap = kernel(ours) - kernel(theirs)
    expected = gap.mean(axis=1).var(ddof=1) / gap.shape[0] + gap.mean(axis=0).var(ddof=1) / gap.shape[1]
    assert delong(truth, ours, theirs) == pytest.approx(expected, rel=1e-9)


def test_a_model_against_itself_differs_by_nothing() -> None:
    truth, ours, _ = flights(np.random.default_rng(9), 100, 1.5, 1.0)
    compared = identical("accuracy", truth, ours, 0.95)
    assert (compared.low, compared.difference, compared.high) == (0, 0, 0)
