"""Fairness with more than two classes and groups: each class in turn, with bounds for all of them together."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipeline.core import fairness

CLASSES = ("early", "late", "punctual")


def drawn(
    seed: int, shares: dict[str, tuple[float, float, float]], rows: int = 1000
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """What a model says of each group, which is also true; groups by name."""
    random = np.random.default_rng(seed)
    said = np.concatenate([random.choice(3, rows, p=share) for share in shares.values()])
    groups = {name: np.arange(rows * place, rows * (place + 1)) for place, name in enumerate(shares)}
    return said, said.copy(), groups


def found(seed: int, shares: dict[str, tuple[float, float, float]], rows: int = 1000) -> fairness.Gap:
    said, true, groups = drawn(seed, shares, rows)
    gap = fairness.gap_of_classes(
        "demographic_parity", said, true, groups, classes=CLASSES, confidence=0.95, effective=lambda _: 1.0
    )
    assert gap is not None
    return gap


def test_the_class_and_the_two_of_three_groups_that_differ_most_are_named() -> None:
    gap = found(1, {"a": (0.3, 0.3, 0.4), "b": (0.3, 0.5, 0.2), "c": (0.3, 0.4, 0.3)})
    assert (gap.of_class, gap.least, gap.most) in {("late", "a", "b"), ("punctual", "b", "a")}
    assert gap.value == pytest.approx(0.2, abs=0.06)
    assert gap.low < 0.2 < gap.high
    assert gap.low > 0.1


def test_a_class_that_is_fair_hides_no_other_one() -> None:
    """One against the rest of the first class shows nothing."""
    gap = found(2, {"a": (0.5, 0.5, 0.0), "b": (0.5, 0.0, 0.5)})
    assert gap.low > 0.4


def test_bounds_hold_for_all_classes_and_pairs_together() -> None:
    """Where nothing differs, the lower bound is above zero in at most 5 % of cases, within the exact binomial bound."""
    even = dict.fromkeys(("a", "b", "c"), (0.2, 0.3, 0.5))
    wrong = sum(found(seed, even, 200).low > 0 for seed in range(400))
    assert wrong <= 31, "more than 31 of 400 has less than 1 % probability at 5 %"


def test_groups_without_rows_of_a_kind_are_no_gap() -> None:
    said = np.array([0, 1, 2])
    gap = fairness.gap_of_classes(
        "equal_opportunity", said, said, {"a": np.array([0, 1, 2])}, classes=CLASSES, confidence=0.95, effective=lambda _: 1.0
    )
    assert gap is None
