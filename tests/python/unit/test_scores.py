"""The gate's metrics are scikit-learn's, on rows with ties, rare classes and odd label types."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as oracle

from mlpipeline.core.answers import Mismatch, Output, answers_of, missing, truth_of
from mlpipeline.core.scores import METRICS, Answers, Truth, Undefined, value

ROWS = 400


def two_classes(seed: int) -> tuple[Truth, Answers]:
    random = np.random.default_rng(seed)
    codes = (random.random(ROWS) < 0.3).astype(int)
    score = np.clip(0.3 + 0.2 * codes + 0.25 * random.standard_normal(ROWS), 0, 1).round(2)
    return Truth(codes=codes, classes=2), Answers((score > 0.45).astype(int), score, np.where(codes == 1, score, 1 - score))


def calibration_error(truth: Truth, answers: Answers) -> float:
    """Bins as scikit-learn makes quantile bins of a calibration curve, weighed by their rows."""
    assert truth.codes is not None
    assert answers.score is not None
    edges = np.unique(np.quantile(answers.score, np.linspace(0, 1, 16)))
    places = np.clip(np.searchsorted(edges[1:-1], answers.score, side="right"), 0, len(edges))
    parts = [places == place for place in np.unique(places)]
    return sum(abs(truth.codes[part].mean() - answers.score[part].mean()) * part.mean() for part in parts)


EXPECTED = {
    "accuracy": lambda t, a: oracle.accuracy_score(t.codes, a.codes),
    "balanced_accuracy": lambda t, a: oracle.balanced_accuracy_score(t.codes, a.codes),
    "f1": lambda t, a: oracle.f1_score(t.codes, a.codes),
    "precision": lambda t, a: oracle.precision_score(t.codes, a.codes),
    "recall": lambda t, a: oracle.recall_score(t.codes, a.codes),
    "roc_auc": lambda t, a: oracle.roc_auc_score(t.codes, a.score),
    "average_precision": lambda t, a: oracle.average_precision_score(t.codes, a.score),
    "log_loss": lambda t, a: oracle.log_loss(t.codes, a.score),
    "brier": lambda t, a: oracle.brier_score_loss(t.codes, a.score),
    "ece": calibration_error,
    "mae": lambda t, a: oracle.mean_absolute_error(t.numbers, a.numbers),
    "mse": lambda t, a: oracle.mean_squared_error(t.numbers, a.numbers),
    "rmse": lambda t, a: oracle.root_mean_squared_error(t.numbers, a.numbers),
    "r2": lambda t, a: oracle.r2_score(t.numbers, a.numbers),
}


def test_every_metric_has_an_oracle() -> None:
    assert set(EXPECTED) == set(METRICS)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.kind != "number"])
@pytest.mark.parametrize("seed", [0, 1])
def test_metric_of_two_classes_is_that_of_scikit_learn(name: str, seed: int) -> None:
    truth, answers = two_classes(seed)
    assert value(name, truth, answers) == pytest.approx(EXPECTED[name](truth, answers), abs=1e-12)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.kind == "number"])
def test_metric_of_numbers_is_that_of_scikit_learn(name: str) -> None:
    random = np.random.default_rng(2)
    numbers = random.normal(50, 20, ROWS)
    truth, answers = Truth(numbers=numbers), Answers(numbers=numbers + random.normal(1, 5, ROWS))
    assert value(name, truth, answers) == pytest.approx(EXPECTED[name](truth, answers), rel=1e-12)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1", "precision", "recall"])
def test_metric_of_more_classes_is_the_unweighted_mean(name: str) -> None:
    random = np.random.default_rng(3)
    codes, said = random.integers(0, 3, ROWS), random.integers(0, 3, ROWS)
    truth, answers = Truth(codes=codes, classes=3), Answers(codes=said)
    averaged = {
        "f1": oracle.f1_score(codes, said, average="macro"),
        "precision": oracle.precision_score(codes, said, average="macro"),
        "recall": oracle.recall_score(codes, said, average="macro"),
    }
    expected = averaged[name] if name in averaged else EXPECTED[name](truth, answers)
    assert value(name, truth, answers) == pytest.approx(expected, abs=1e-12)


def test_log_loss_of_more_classes_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(4)
    labels = random.choice(["a", "b", "c"], ROWS)
    chances = random.dirichlet([1, 1, 1], ROWS)
    truth, classes = truth_of(labels, "", {"probability"})
    swapped = Output(np.array(["a"] * ROWS), chances[:, [2, 0, 1]], np.array(["c", "a", "b"]))
    assert value("log_loss", truth, answers_of(swapped, truth, classes)) == pytest.approx(oracle.log_loss(labels, chances))


def test_one_class_has_no_area_under_the_curve() -> None:
    truth = Truth(codes=np.ones(10, dtype=int), classes=2)
    with pytest.raises(Undefined, match="all 10 rows have the same label"):
        value("roc_auc", truth, Answers(score=np.linspace(0, 1, 10)))


def test_nan_among_scores_has_no_metric() -> None:
    truth, answers = two_classes(5)
    assert answers.score is not None
    score = answers.score.copy()
    score[3] = np.nan
    with pytest.raises(Undefined, match="1 of 400 predictions are NaN"):
        value("roc_auc", truth, Answers(score=score))
    with pytest.raises(Undefined, match="NaN"):
        value("mae", Truth(numbers=np.zeros(400)), Answers(numbers=score))


def test_probabilities_that_are_not_there_are_named() -> None:
    truth, answers = two_classes(6)
    with pytest.raises(Undefined, match="roc_auc needs the probability of a class"):
        value("roc_auc", truth, Answers(codes=answers.codes))


def test_missing_predictions_are_counted() -> None:
    assert missing(Output(np.array([1.0, np.nan, np.nan]))) == 2
    assert missing(Output(np.array(["late", "", "late"]))) == 1
    assert missing(Output(np.array([[0.1, 0.9], [np.nan, 0.5]]))) == 1


@pytest.mark.parametrize(
    ("labels", "positive", "expected"),
    [
        (np.array(["late", "punctual"]), "", 1),
        (np.array(["late", "punctual"]), "late", 0),
        (np.array([0.0, 1.0]), "0", 0),
        (np.array([False, True]), "true", 1),
    ],
)
def test_positive_class_is_found_by_its_text(labels: np.ndarray, positive: str, expected: int) -> None:
    assert truth_of(labels, positive, {"ranking"})[0].positive == expected


def test_positive_class_that_no_row_has_is_refused() -> None:
    with pytest.raises(Mismatch, match="'Late' is none of the labels 'late', 'punctual'"):
        truth_of(np.array(["late", "punctual"]), "Late", {"ranking"})


def test_plain_probabilities_of_a_two_class_label_are_understood() -> None:
    truth, classes = truth_of(np.array([0, 1, 1, 0]), "", {"ranking", "classes"})
    answers = answers_of(Output(np.array([0.2, 0.7, 0.4, 0.6])), truth, classes)
    assert value("roc_auc", truth, answers) == 0.75
    assert value("accuracy", truth, answers) == 0.5


def test_answers_of_another_kind_than_the_label_are_refused() -> None:
    truth, classes = truth_of(np.array(["a", "b"]), "", {"classes"})
    with pytest.raises(Mismatch, match="no prediction is one of the labels"):
        answers_of(Output(np.array(["x", "y"])), truth, classes)


def test_an_answer_that_no_row_has_as_label_counts_as_wrong() -> None:
    truth, classes = truth_of(np.array(["a", "b", "a"]), "", {"classes"})
    answers = answers_of(Output(np.array(["a", "b", "z"])), truth, classes)
    assert value("accuracy", truth, answers) == pytest.approx(2 / 3)
    assert value("f1", truth, answers) < 1
