"""The metrics of the model gate in plain numpy, on one holdout or any part of its rows.

Definitions are scikit-learn's, which the tests use as oracle. Precision, recall and F1 are those of the positive class with
two classes and the unweighted mean over the classes with more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]
    Codes = NDArray[Any]

Kind = Literal["classes", "ranking", "probability", "number"]
CALIBRATION_BINS = 15
"""Of the expected calibration error, each with as many rows as the others; fewer when there are less than 10 rows for each."""
SMALLEST_PROBABILITY = 2.220446049250313e-16
"""What log loss clips probabilities to: the machine epsilon, as scikit-learn does."""


class Undefined(ValueError):
    """The metric has no value on these rows; the text says why, without a full stop."""


@dataclass(frozen=True)
class Metric:
    """How a metric is computed.

    Args:
        kind: What it needs of a model: ``classes`` (predicted labels), ``ranking`` or ``probability`` (of a class),
            ``number`` (regression).
        larger_is_better: Its direction.
        two_classes: Whether it needs rows of exactly two classes.
    """

    name: str
    kind: Kind
    larger_is_better: bool = True
    two_classes: bool = False


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "classes"),
        Metric("balanced_accuracy", "classes"),
        Metric("f1", "classes"),
        Metric("precision", "classes"),
        Metric("recall", "classes"),
        Metric("roc_auc", "ranking", two_classes=True),
        Metric("average_precision", "ranking", two_classes=True),
        Metric("log_loss", "probability", larger_is_better=False),
        Metric("brier", "probability", larger_is_better=False, two_classes=True),
        Metric("ece", "probability", larger_is_better=False, two_classes=True),
        Metric("mae", "number", larger_is_better=False),
        Metric("mse", "number", larger_is_better=False),
        Metric("rmse", "number", larger_is_better=False),
        Metric("r2", "number"),
    )
}


@dataclass(frozen=True)
class Truth:
    """The labels of some rows.

    Args:
        codes: Index of each row's class; absent for regression.
        numbers: The label itself; absent for classes.
        classes: How many classes the whole holdout has.
        positive: Index of the positive class.
    """

    codes: Codes | None = None
    numbers: Floats | None = None
    classes: int = 0
    positive: int = 1

    def take(self, rows: NDArray[Any]) -> Truth:
        return Truth(_take(self.codes, rows), _take(self.numbers, rows), self.classes, self.positive)

    def __len__(self) -> int:
        return len(self.codes) if self.codes is not None else len(self.numbers) if self.numbers is not None else 0


@dataclass(frozen=True)
class Answers:
    """What one model said about some rows; whatever it cannot say is absent.

    Args:
        codes: Index of the predicted class.
        score: Probability (or any ranking score) of the positive class.
        of_truth: Probability of each row's true class.
        numbers: The predicted number.
    """

    codes: Codes | None = None
    score: Floats | None = None
    of_truth: Floats | None = None
    numbers: Floats | None = None

    def take(self, rows: NDArray[Any]) -> Answers:
        return Answers(_take(self.codes, rows), _take(self.score, rows), _take(self.of_truth, rows), _take(self.numbers, rows))


def _take(values: NDArray[Any] | None, rows: NDArray[Any]) -> NDArray[Any] | None:
    return None if values is None else values[rows]


def value(name: str, truth: Truth, answers: Answers) -> float:
    """The metric on these rows.

    Raises:
        Undefined: The rows or the answers do not define it (one class only, no probabilities, no rows, NaN).
    """
    import numpy as np

    check_defined(name, truth, answers)
    metric = METRICS[name]
    if metric.kind == "classes":
        cells = confusion(truth.codes, answers.codes, truth.classes)
        result = float(OF_CONFUSION[name](cells[None].astype(float), truth.positive)[0])
    elif name in PER_ROW:
        result = float(np.mean(per_row(name, truth, answers)))
    elif name == "rmse":
        result = float(np.sqrt(np.mean(per_row("mse", truth, answers))))
    elif name == "r2":
        numbers = _present(truth.numbers)
        result = 1.0 - float(np.mean(per_row("mse", truth, answers))) / float(np.var(numbers))
    elif name == "ece":
        score = _present(answers.score)
        result = float(weighed_ece(positives(truth).astype(float), score)(np.ones((1, len(score))))[0])
    elif name == "roc_auc":
        result = roc_auc(positives(truth), _present(answers.score))
    else:
        result = average_precision(positives(truth), _present(answers.score))
    if not np.isfinite(result):
        raise Undefined(f"{name} is {result}")
    return result


def check_defined(name: str, truth: Truth, answers: Answers) -> None:
    """Raises Undefined when the metric has no value on these rows."""
    import numpy as np

    metric = METRICS[name]
    if len(truth) == 0:
        raise Undefined("there are no rows")
    needed = {"classes": answers.codes, "ranking": answers.score, "number": answers.numbers}
    given = needed.get(metric.kind, answers.of_truth if name == "log_loss" else answers.score)
    if given is None:
        raise Undefined(f"{name} needs {_NEEDS[metric.kind]}, which the model does not give")
    if metric.kind != "classes" and np.isnan(given).any():
        raise Undefined(f"{int(np.isnan(given).sum())} of {len(given)} predictions are NaN")
    if metric.kind != "classes" and not np.isfinite(given).all():
        raise Undefined(f"{int((~np.isfinite(given)).sum())} of {len(given)} predictions are infinite")
    if metric.kind == "probability" and (beyond := int(((given < -_ROUNDING) | (given > 1 + _ROUNDING)).sum())):
        raise Undefined(f"{beyond} of {len(given)} probabilities are not between 0 and 1")
    if metric.two_classes:
        _check_two_classes(name, truth)
    if name == "r2" and (len(truth) < 2 or float(np.var(_present(truth.numbers))) == 0.0):
        raise Undefined("r2 needs labels that differ")


_ROUNDING = 1e-5
"""By how much a probability in single precision may be beyond 0 or 1."""


def _check_two_classes(name: str, truth: Truth) -> None:
    import numpy as np

    if truth.classes > 2:
        raise Undefined(f"{name} is for two classes and the label has {truth.classes}")
    seen = len(np.unique(_present(truth.codes)))
    if seen < 2 and name not in {"brier", "ece"}:
        raise Undefined(f"{name} needs rows of both classes and all {len(truth)} rows have the same label")


_NEEDS = {
    "classes": "predicted classes",
    "ranking": "the probability of a class",
    "probability": "the probability of a class",
    "number": "predicted numbers",
}


def positives(truth: Truth) -> NDArray[Any]:
    """Which rows are of the positive class."""
    rows: NDArray[Any] = _present(truth.codes) == truth.positive
    return rows


def _present(values: NDArray[Any] | None) -> NDArray[Any]:
    if values is None:
        raise Undefined("the values are missing")
    return values


# --- metrics that are a mean over rows ---------------------------------------------------------------------------


def per_row(name: str, truth: Truth, answers: Answers) -> Floats:
    """The terms whose mean is the metric (``accuracy``, ``log_loss``, ``brier``, ``mae``, ``mse``)."""
    return PER_ROW[name](truth, answers)


def _hit(truth: Truth, answers: Answers) -> Floats:
    hits: Floats = (_present(truth.codes) == _present(answers.codes)).astype(float)
    return hits


def _surprise(truth: Truth, answers: Answers) -> Floats:  # noqa: ARG001 - one signature for all
    import numpy as np

    surprise: Floats = -np.log(np.clip(_present(answers.of_truth), SMALLEST_PROBABILITY, 1.0))
    return surprise


def _brier(truth: Truth, answers: Answers) -> Floats:
    squares: Floats = (_present(answers.score) - positives(truth)) ** 2
    return squares


def _absolute(truth: Truth, answers: Answers) -> Floats:
    import numpy as np

    errors: Floats = np.abs(_present(answers.numbers) - _present(truth.numbers))
    return errors


def _square(truth: Truth, answers: Answers) -> Floats:
    squares: Floats = (_present(answers.numbers) - _present(truth.numbers)) ** 2
    return squares


PER_ROW: Mapping[str, Callable[[Truth, Answers], Floats]] = {
    "accuracy": _hit,
    "log_loss": _surprise,
    "brier": _brier,
    "mae": _absolute,
    "mse": _square,
}


# --- metrics of the confusion matrix; axis 0 counts resamples, rows are the truth ---------------------------------


def confusion(truth: Codes | None, predicted: Codes | None, classes: int) -> NDArray[Any]:
    """Counts of (true class, predicted class); a predicted class no row has widens the matrix."""
    import numpy as np

    true, said = _present(truth), _present(predicted)
    size = max(classes, int(true.max(initial=0)) + 1, int(said.max(initial=0)) + 1, 2)
    return np.bincount(true * size + said, minlength=size * size).reshape(size, size)


def _accuracy(cells: Floats, positive: int) -> Floats:  # noqa: ARG001 - one signature for all
    import numpy as np

    share: Floats = np.trace(cells, axis1=1, axis2=2) / cells.sum(axis=(1, 2))
    return share


def _balanced_accuracy(cells: Floats, positive: int) -> Floats:  # noqa: ARG001 - one signature for all
    import numpy as np

    rows = cells.sum(axis=2)
    hits = np.diagonal(cells, axis1=1, axis2=2)
    recalls = np.where(rows > 0, hits / np.where(rows > 0, rows, 1), 0.0)
    mean: Floats = recalls.sum(axis=1) / np.maximum((rows > 0).sum(axis=1), 1)
    return mean


def _per_class(cells: Floats, positive: int, score: Callable[[Floats, Floats, Floats], Floats]) -> Floats:
    """``score(hits, rows of the class, predictions of the class)``; 0 where undefined, as scikit-learn does."""
    import numpy as np

    hits = np.diagonal(cells, axis1=1, axis2=2)
    rows, said = cells.sum(axis=2), cells.sum(axis=1)
    values = score(hits, rows, said)
    if cells.shape[1] == 2:
        of_positive: Floats = values[:, positive]
        return of_positive
    present = (rows + said) > 0
    mean: Floats = (values * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return mean


def _ratio(above: Floats, below: Floats) -> Floats:
    import numpy as np

    ratio: Floats = np.where(below > 0, above / np.where(below > 0, below, 1), 0.0)
    return ratio


OF_CONFUSION: Mapping[str, Callable[[Floats, int], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "precision": lambda cells, positive: _per_class(cells, positive, lambda hits, rows, said: _ratio(hits, said)),  # noqa: ARG005
    "recall": lambda cells, positive: _per_class(cells, positive, lambda hits, rows, said: _ratio(hits, rows)),  # noqa: ARG005
    "f1": lambda cells, positive: _per_class(cells, positive, lambda hits, rows, said: _ratio(2 * hits, rows + said)),
}


# --- metrics of a ranking -----------------------------------------------------------------------------------------


def midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    import numpy as np

    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    group = np.cumsum(first) - 1
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = ((starts + ends + 1) / 2.0)[group]
    return ranks


def roc_auc(positive: NDArray[Any], score: Floats) -> float:
    """Probability that a positive row scores above a negative one, ties counting half."""
    count = int(positive.sum())
    others = len(positive) - count
    return (float(midranks(score)[positive].sum()) - count * (count + 1) / 2.0) / (count * others)


def average_precision(positive: NDArray[Any], score: Floats) -> float:
    """Sum over thresholds of precision times the gain in recall."""
    import numpy as np

    order, ends = descending(score)
    return float(precision_sums(positive[order][None].astype(float), np.ones((1, len(score))), ends)[0])


def calibration_bins(score: Floats) -> NDArray[Any]:
    """The bin of each row: as many rows in each as possible, equal scores together."""
    import numpy as np

    bins = min(CALIBRATION_BINS, max(1, len(score) // 10))
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, score, side="right")


def weighed_ece(hits: Floats, score: Floats) -> Callable[[Floats], Floats]:
    """Expected calibration error of each line of row weights: mean over bins of how far scores and truth are apart."""
    import numpy as np

    bins = calibration_bins(score)
    gaps = hits - score
    place = np.zeros((len(score), int(bins.max(initial=0)) + 1))
    place[np.arange(len(score)), bins] = gaps

    def weighed(weights: Floats) -> Floats:
        error: Floats = np.abs(weights @ place).sum(axis=1) / weights.sum(axis=1)
        return error

    return weighed


def descending(score: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
    """The order from the best score down, and the last position of each run of equal scores."""
    import numpy as np

    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    return order, np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(score) - 1)


def precision_sums(hits: Floats, weights: Floats, ends: NDArray[Any]) -> Floats:
    """Average precision of each line of weighted rows in descending order of score; NaN without a positive row."""
    import numpy as np

    found = np.cumsum(hits * weights, axis=1)[:, ends]
    taken = np.cumsum(weights, axis=1)[:, ends]
    gains = np.diff(found, axis=1, prepend=0.0)
    total = found[:, -1]
    sums = (gains * _ratio(found, taken)).sum(axis=1)
    area: Floats = np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)
    return area
