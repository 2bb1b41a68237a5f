"""What a model may say that no metric can be measured on."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipeline.core.answers import Mismatch, Output, answers_of, truth_of
from mlpipeline.core.scores import Answers, Truth, Undefined, value

LABELS = np.array(["late", "punctual", "late", "punctual"])
SAID = np.array(["late", "late", "late", "punctual"])


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (Output(np.ones((4, 2, 2))), r"an array of shape \(2, 2\) for each row"),
        (Output(np.ones((4, 3))), "3 columns per row and the label has 2 classes"),
        (Output(SAID, np.full((2, 2), 0.5), np.array(["late", "punctual"])), r"shape \(2, 2\) for 4 rows and 2 classes"),
        (Output(SAID, np.full((4, 3), 0.5), np.array(["late", "punctual"])), r"shape \(4, 3\) for 4 rows and 2 classes"),
        (Output(SAID, np.full((4, 2), 0.5), np.array([0.0, 1.0])), "none of which is one of the labels 'late', 'punctual'"),
    ],
)
def test_answers_of_another_shape_are_told_and_crash_nothing(output: Output, words: str) -> None:
    truth, classes = truth_of(LABELS, "", {"classes", "probability"})
    with pytest.raises(Mismatch, match=words):
        answers_of(output, truth, classes)


def test_several_numbers_for_a_row_are_not_measured_against_one() -> None:
    truth, classes = truth_of(np.arange(4.0), "", {"number"})
    with pytest.raises(Mismatch, match="one number per row is needed"):
        answers_of(Output(np.ones((4, 2))), truth, classes)


@pytest.mark.parametrize("metric", ["log_loss", "brier", "ece"])
@pytest.mark.parametrize("beyond", [3.0, -0.1])
def test_what_is_no_probability_never_looks_like_a_perfect_one(metric: str, beyond: float) -> None:
    said = np.array([beyond, 0.5, 0.5, 0.5])
    with pytest.raises(Undefined, match="1 of 4 probabilities are not between 0 and 1"):
        value(metric, Truth(codes=np.array([1, 0, 1, 0]), classes=2), Answers(score=said, of_truth=said))


def test_a_probability_in_single_precision_may_be_rounded_beyond_one() -> None:
    said = np.array([1.0000001, 1.0])
    assert value("log_loss", Truth(codes=np.array([1, 1]), classes=2), Answers(of_truth=said)) == pytest.approx(0)
