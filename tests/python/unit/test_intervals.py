"""Bounds of shares, calibration and fairness: against scipy, and by seeded Monte Carlo within exact binomial limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import ndcg_score

from mlpipeline.core.calibration import ece_bounds
from mlpipeline.core.fairness import effective_share, gap
from mlpipeline.core.intervals import holm, logit_bounds, newcombe, share_bounds, wilson
from mlpipeline.core.ranking import ndcg_terms
from mlpipeline.core.resampling import Design, Undefined, compare, delong, of_terms, own_bounds, resampled_means
from mlpipeline.core.scores import Answers, Truth

TRIALS = 400
LEAST = int(stats.binom.ppf(1e-6, TRIALS, 0.94))
"""Fewer covers of 400 have a probability below one in a million at a true coverage of 94 % where 95 % is promised."""


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (3, 50), (10, 10), (38, 40), (30, 5000)])
def test_few_rows_of_a_kind_get_the_exact_bounds(hits: int, rows: int) -> None:
    low, high, method = share_bounds(hits, rows, 0.95)
    assert method == "exact"
    assert low == pytest.approx(stats.beta.ppf(0.05, hits, rows - hits + 1) if hits else 0.0, abs=1e-9)
    assert high == pytest.approx(stats.beta.ppf(0.95, hits + 1, rows - hits) if hits < rows else 1.0, abs=1e-9)


@pytest.mark.parametrize(("hits", "rows"), [(50, 100), (900, 1000), (60, 5000)])
def test_wilson_is_scipys(hits: int, rows: int) -> None:
    expected = stats.binomtest(hits, rows).proportion_ci(0.9, method="wilson")
    assert share_bounds(hits, rows, 0.95) == (pytest.approx(expected.low), pytest.approx(expected.high), "wilson")


def test_bounds_without_rows_know_nothing() -> None:
    assert wilson(0, 0, 0.95) == (0.0, 1.0)
    assert newcombe(0, 0, 3, 4, 0.95) == (-1.0, 1.0)
    assert logit_bounds(1.0, 0.1, 0.95) == (0.0, 1.0)


def test_newcombe_is_the_published_example() -> None:
    """Newcombe 1998, table II (a): 56/70 - 48/80, 95 % two-sided: 0.0524 to 0.3339."""
    low, high = newcombe(56, 70, 48, 80, 0.975)
    assert (low, high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_holm_is_statsmodels_way() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("tilt", [0.0, 0.6])
def test_calibration_error_is_between_its_bounds(tilt: float) -> None:
    covered = np.zeros(2, dtype=int)
    for trial in range(TRIALS):
        random = np.random.default_rng([1, trial])
        score = random.integers(1, 10, 500) / 10
        odds = np.log(score / (1 - score)) * (1 + tilt)
        chance = 1 / (1 + np.exp(-odds))
        real = float(
            np.mean(
                np.abs(
                    1 / (1 + np.exp(-np.log(np.arange(1, 10) / 10 / (1 - np.arange(1, 10) / 10)) * (1 + tilt)))
                    - np.arange(1, 10) / 10
                )
            )
        )
        low, high = ece_bounds((random.random(500) < chance).astype(float), score, 0.95)
        covered += [low <= real + 1e-12, high >= real - 1e-12]
    assert covered.min() >= LEAST


def test_the_largest_gap_is_between_its_bounds_over_all_pairs() -> None:
    rows = {name: np.arange(start, start + 150) for name, start in (("a", 0), ("b", 150), ("c", 300))}
    shares = np.repeat([0.3, 0.3, 0.3], 150)
    wrong = 0
    for trial in range(TRIALS):
        said = np.random.default_rng([2, trial]).random(450) < shares
        found = gap("demographic_parity", said, said, rows, confidence=0.95)
        assert found is not None
        wrong += found.low > 0
    assert wrong <= stats.binom.ppf(1 - 1e-6, TRIALS, 0.05)


def test_a_gap_needs_two_groups_with_rows_it_is_about() -> None:
    said, true = np.array([True, False, True]), np.array([True, True, False])
    groups = {"a": np.array([0, 1]), "b": np.array([2])}
    assert gap("equal_opportunity", said, true, groups, confidence=0.95) is None
    found = gap("demographic_parity", said, true, groups, confidence=0.95)
    assert found is not None
    assert (found.most, found.least, found.value) == ("b", "a", 0.5)


def test_rows_of_one_entity_count_as_one_where_they_are_alike() -> None:
    outcomes = np.repeat([0.0, 1.0, 1.0, 0.0, 1.0], 20)
    assert effective_share(outcomes, np.repeat(np.arange(5), 20)) == pytest.approx(1 / 20)
    assert effective_share(outcomes, None) == 1.0


def test_ndcg_is_scikit_learns_ties_included() -> None:
    random = np.random.default_rng(0)
    relevance, score = random.integers(0, 4, (30, 8)).astype(float), random.integers(0, 5, (30, 8)).astype(float)
    keep = relevance.sum(axis=1) > 0
    order = random.permutation(30 * 8)
    queries = np.repeat(np.arange(30), 8)
    for top in (0, 3):
        ours = ndcg_terms(relevance.ravel()[order], score.ravel()[order], queries[order], top)
        assert ours.mean() == pytest.approx(ndcg_score(relevance[keep], score[keep], k=top or None))


@pytest.mark.parametrize(
    ("relevance", "score", "words"),
    [([-1.0, 1.0], [0.1, 0.2], "not negative"), ([0.0, 1.0], [np.nan, 0.2], "NaN"), ([0.0, 0.0], [0.1, 0.2], "relevant row")],
)
def test_a_ranking_that_has_no_gain_says_why(relevance: list[float], score: list[float], words: str) -> None:
    with pytest.raises(Undefined, match=words):
        ndcg_terms(np.array(relevance), np.array(score), np.zeros(2, dtype=int))


def clustered(seed: int) -> tuple[Truth, Answers, Answers, Design]:
    random = np.random.default_rng([3, seed])
    user = np.repeat(np.arange(80), 6)
    hard = random.normal(0, 1.2, (80, 2))
    codes = (random.random(480) < 0.5).astype(int)
    sides = []
    for model in range(2):
        score = 1 / (1 + np.exp(-(2 * codes - 1) * (0.8 + hard[user, model]) - random.standard_normal(480)))
        sides.append(Answers((score > 0.5).astype(int), score, np.where(codes == 1, score, 1 - score)))
    return Truth(codes=codes, classes=2), sides[0], sides[1], Design(clusters=user)


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "log_loss", "f1"])
def test_bounds_of_entities_hold_as_often_as_promised_and_those_of_rows_do_not(name: str) -> None:
    """Both models are alike, so the true difference is 0."""
    trials = 150 if name != "f1" else 40
    honest = naive = 0
    for trial in range(trials):
        truth, ours, theirs, design = clustered(trial)
        honest += compare(name, truth, ours, theirs, confidence=0.95, resamples=300, seed=0, design=design).low <= 0
        naive += compare(name, truth, ours, theirs, confidence=0.95, resamples=300, seed=0).low <= 0
    assert stats.binom.ppf(1e-6, trials, 0.93) <= honest <= stats.binom.ppf(1 - 1e-6, trials, 0.975)
    assert naive < honest or (name == "f1" and naive == honest)


def test_strata_of_fixed_size_take_their_difference_out_of_the_spread() -> None:
    terms = np.concatenate([np.zeros(500), np.full(500, 10.0)])[:, None] + np.random.default_rng(0).standard_normal((1000, 1))
    strata = np.repeat([0, 1], 500)
    within = resampled_means(terms, 2000, np.random.default_rng(1), Design(strata=strata))[:, 0]
    freely = resampled_means(terms, 2000, np.random.default_rng(1))[:, 0]
    assert within.std() == pytest.approx(1 / np.sqrt(1000), rel=0.15)
    assert freely.std() > 4 * within.std()


def test_large_and_heavy_tailed_terms_are_drawn_as_row_by_row() -> None:
    random = np.random.default_rng(4)
    terms = random.pareto(1.8, 3000) - 1.5 * random.pareto(2.5, 3000)
    plain = np.concatenate([terms[random.integers(0, 3000, (500, 3000))].mean(axis=1) for _ in range(8)])
    grouped = resampled_means(terms[:, None], 4000, np.random.default_rng(5))[:, 0]
    assert stats.ks_2samp(plain, grouped).pvalue > 1e-4


def test_next_to_nothing_gives_no_bounds() -> None:
    with pytest.raises(Undefined, match="9 rows are too few"):
        of_terms(np.ones(9), np.zeros(9), larger_is_better=True, confidence=0.95, resamples=100, seed=0)
    truth, ours, theirs, _ = clustered(0)
    with pytest.raises(Undefined, match="2 entities are too few"):
        compare("f1", truth, ours, theirs, confidence=0.9, resamples=100, seed=0, design=Design(clusters=np.arange(480) % 2))
    one = np.array([0, *range(300, 310)])
    lone = Truth(codes=np.array([1] + [0] * 10), classes=2)
    with pytest.raises(Undefined, match="two rows of either class"):
        delong(lone, ours.take(one), theirs.take(one))


@pytest.mark.parametrize("confidence", [0.999, 0.99999])
def test_a_confidence_beyond_the_draws_widens_the_bounds_further(confidence: float) -> None:
    random = np.random.default_rng(6)
    ours, theirs = random.gamma(1, 1, 2000), random.gamma(1, 1, 2000)
    near = of_terms(ours, theirs, larger_is_better=False, confidence=0.95, resamples=500, seed=0)
    far = of_terms(ours, theirs, larger_is_better=False, confidence=confidence, resamples=500, seed=0)
    ratio = (far.difference - far.low) / (near.difference - near.low)
    assert ratio > 0.9 * stats.norm.ppf(confidence) / stats.norm.ppf(0.95)


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "f1", "log_loss", "average_precision", "ece"])
def test_a_models_own_value_is_between_its_bounds(name: str) -> None:
    from mlpipeline.core.scores import value

    truth, ours, _, design = clustered(1)
    for chosen in (Design(), design):
        low, high, method = own_bounds(name, truth, ours, confidence=0.95, resamples=400, seed=0, design=chosen)
        assert low < value(name, truth, ours) < high or name == "ece"
        assert method in {"wilson", "exact", "delong", "bootstrap", "cross-fitted"}


@pytest.mark.parametrize("name", ["mae", "rmse", "r2"])
def test_a_regressions_own_value_is_between_its_bounds(name: str) -> None:
    from mlpipeline.core.scores import value

    random = np.random.default_rng(7)
    truth = Truth(numbers=random.standard_normal(500))
    answers = Answers(numbers=truth.numbers + 0.5 * random.standard_normal(500))  # type: ignore[operator]
    low, high, _ = own_bounds(name, truth, answers, confidence=0.95, resamples=400, seed=0)
    assert low < value(name, truth, answers) < high
