"""From what a model printed to what the metrics need: labels as class codes, probabilities by class."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpipeline.core.scores import Answers, Kind, Truth

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Mismatch(ValueError):
    """What the model says is not of the label's kind; the text says how, without a full stop."""


@dataclass(frozen=True)
class Output:
    """What one model said about the holdout, as it came.

    Args:
        predictions: One value per row (numbers as float64, else text), or one column per class.
        probabilities: One column per class, when the model offers them.
        classes: The classes of those columns, in order, as float64 or text.
    """

    predictions: NDArray[Any]
    probabilities: NDArray[Any] | None = None
    classes: NDArray[Any] | None = None


def is_number(values: NDArray[Any]) -> bool:
    return bool(values.dtype.kind in "fiub")


def missing(output: Output) -> int:
    """How many rows have a NaN or an empty answer."""
    import numpy as np

    values = output.predictions
    if is_number(values):
        gaps = np.isnan(values.astype(float))
        return int(gaps.reshape(len(values), -1).any(axis=1).sum())
    return int((values == "").sum())


def truth_of(labels: NDArray[Any], positive: str, kinds: Collection[Kind]) -> tuple[Truth, NDArray[Any]]:
    """The labels for the metrics of these kinds, and the classes (sorted; empty for regression alone).

    Raises:
        Mismatch: The label is text where a number is needed, or ``positive`` is none of its values.
    """
    import numpy as np

    numbers = labels.astype(float) if is_number(labels) else None
    if numbers is None and "number" in kinds:
        raise Mismatch(f"the label is text ({labels[0]!r}) and the metric needs numbers")
    if not set(kinds) - {"number"}:
        return Truth(numbers=numbers), np.array([])
    classes, codes = np.unique(labels if numbers is None else numbers, return_inverse=True)
    place = _positive_place(classes, positive)
    return Truth(codes=codes, numbers=numbers, classes=len(classes), positive=place), classes


def _positive_place(classes: NDArray[Any], positive: str) -> int:
    import numpy as np

    if not positive:
        return len(classes) - 1
    wanted: Any = positive
    if is_number(classes):
        wanted = {"true": 1.0, "false": 0.0}.get(positive.lower(), positive)
        try:
            wanted = float(wanted)
        except ValueError:
            raise Mismatch(f"the positive class {positive!r} is not a number and the labels are") from None
    found = np.flatnonzero(classes == wanted)
    if not len(found):
        raise Mismatch(f"the positive class {positive!r} is none of the labels {listed(classes)}")
    return int(found[0])


def listed(values: NDArray[Any], most: int = 5) -> str:
    """A few values as text."""
    shown = ", ".join(f"{value:g}" if is_number(values) else repr(str(value)) for value in values[:most])
    return shown + (", ..." if len(values) > most else "")


def answers_of(output: Output, truth: Truth, classes: NDArray[Any]) -> Answers:
    """What the metrics need of one model's output.

    Numbers between 0 and 1 that are no labels, with two classes, are taken as the probability of the greater class.

    Raises:
        Mismatch: The output has another shape than rows and classes, or nothing in it is one of the labels.
    """
    import numpy as np

    _check_shapes(output)
    output = _flat(output, classes)
    said = output.predictions
    numbers = said.astype(float) if is_number(said) and said.ndim == 1 else None
    if truth.codes is None:
        if numbers is None:
            raise Mismatch(f"the model answers {listed(said.reshape(len(said), -1)[:, 0])} where one number per row is needed")
        return Answers(numbers=numbers)
    if numbers is not None and not np.isin(numbers, classes if is_number(classes) else []).all() and output.probabilities is None:
        return _from_scores(numbers, truth, classes)
    codes = _codes(said, classes)
    if output.probabilities is None:
        return Answers(codes=codes, numbers=numbers)
    known = classes if output.classes is None else output.classes
    columns = {value: place for place, value in enumerate(known.tolist())}
    order = [columns.get(value, -1) for value in classes.tolist()]
    if max(order) < 0:
        raise Mismatch(f"the model gives probabilities of {listed(known)}, none of which is one of the labels {listed(classes)}")
    padded = np.column_stack([output.probabilities, np.zeros(len(said))])
    by_class = padded[:, order]
    return Answers(
        codes=codes, score=by_class[:, truth.positive], of_truth=by_class[np.arange(len(said)), truth.codes], numbers=numbers
    )


def _check_shapes(output: Output) -> None:
    said, probabilities = output.predictions, output.probabilities
    if said.ndim > 2:
        raise Mismatch(f"the model answers an array of shape {said.shape[1:]} for each row")
    if probabilities is None or output.classes is None:
        return
    wanted = (len(said), len(output.classes))
    if probabilities.shape != wanted:
        raise Mismatch(
            f"the model's probabilities have the shape {probabilities.shape} for {wanted[0]} rows and {wanted[1]} classes"
        )


def _flat(output: Output, classes: NDArray[Any]) -> Output:
    """Predictions with one column per class become probabilities and the most probable class."""
    said = output.predictions
    if said.ndim == 1:
        return output
    if said.shape[1] == 1:
        return Output(said[:, 0], output.probabilities, output.classes)
    known = classes if output.classes is None else output.classes
    if output.probabilities is None and len(known) == said.shape[1]:
        return Output(known[said.argmax(axis=1)], said, known)
    wanted = f"the label has {len(classes)} classes" if len(classes) else "one number per row is needed"
    raise Mismatch(f"the model answers {said.shape[1]} columns per row and {wanted}")


def _from_scores(numbers: NDArray[Any], truth: Truth, classes: NDArray[Any]) -> Answers:
    import numpy as np

    inside = bool(((numbers >= 0) & (numbers <= 1)).all())
    if len(classes) != 2 or not (inside or not np.isin(numbers, classes if is_number(classes) else []).any()):
        return Answers(codes=_codes(numbers, classes), numbers=numbers)
    score = numbers if truth.positive == 1 else (1.0 - numbers if inside else -numbers)
    if not inside:
        return Answers(score=score, numbers=numbers)
    return Answers(
        codes=(numbers >= 0.5).astype(int),
        score=score,
        of_truth=np.where(truth.codes == 1, numbers, 1.0 - numbers),
        numbers=numbers,
    )


def _codes(said: NDArray[Any], classes: NDArray[Any]) -> NDArray[Any]:
    """Index of each predicted class; one more than the last for answers no row has as label."""
    import numpy as np

    if is_number(said) != is_number(classes):
        raise Mismatch(f"the model answers {listed(np.unique(said))} and the labels are {listed(classes)}")
    places = np.clip(np.searchsorted(classes, said), 0, len(classes) - 1)
    known = classes[places] == said
    if not known.any():
        raise Mismatch(
            f"no prediction is one of the labels: the model answers {listed(np.unique(said))}, labels {listed(classes)}"
        )
    codes: NDArray[Any] = np.where(known, places, len(classes))
    return codes
