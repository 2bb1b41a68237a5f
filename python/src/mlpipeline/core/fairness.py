"""How differently one model treats groups of rows, with bounds over all pairs of groups together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from mlpipeline.core.intervals import newcombe

if TYPE_CHECKING:
    from numpy.typing import NDArray

Measure = Literal["demographic_parity", "equal_opportunity", "equalised_odds"]
OF: Mapping[Measure, tuple[str, ...]] = {
    "demographic_parity": ("all",),
    "equal_opportunity": ("positive",),
    "equalised_odds": ("positive", "negative"),
}
"""Among which rows the share that is said to be positive is compared."""


@dataclass(frozen=True)
class Gap:
    """The largest difference between two groups.

    Args:
        low: At least so much, with the confidence.
        high: At most so much, with the confidence.
        most: Group with the largest share, and ``least`` the one with the smallest.
        among: ``all`` rows, or the truly ``positive`` or ``negative`` ones.
        shares: Share of each group, by name, among those rows.
    """

    measure: Measure
    value: float
    low: float
    high: float
    most: str
    least: str
    among: str
    shares: Mapping[str, float]
    of_class: str = ""
    """The class that counts as positive, where there are more than two and each did in turn."""


@dataclass(frozen=True)
class _Group:
    name: str
    hits: int
    rows: int

    @property
    def share(self) -> float:
        return self.hits / self.rows


def gap(
    measure: Measure,
    said: NDArray[Any],
    true: NDArray[Any],
    groups: Mapping[str, NDArray[Any]],
    *,
    confidence: float,
    effective: float = 1.0,
) -> Gap | None:
    """The largest gap of a measure; absent when fewer than two groups have rows it is about.

    Args:
        said: Which rows are said to be positive.
        true: Which rows are.
        groups: Row numbers by name.
        effective: Independent rows that one row is worth: below 1 where the rows of an entity are alike.
    """
    kinds = {among: _groups(among, said, true, groups) for among in OF[measure]}
    pairs = [(among, *pair) for among, found in kinds.items() for pair in combinations(found, 2)]
    if not pairs:
        return None
    level = 1.0 - (1.0 - confidence) / (2 * len(pairs))
    bounds = []
    for among, one, other in pairs:
        bigger, smaller = (one, other) if one.share >= other.share else (other, one)
        low, high = newcombe(
            bigger.hits * effective, bigger.rows * effective, smaller.hits * effective, smaller.rows * effective, level
        )
        bounds.append((bigger.share - smaller.share, low, max(high, -low), among, bigger.name, smaller.name))
    worst = max(bounds, key=lambda bound: bound[0])
    return Gap(
        measure,
        value=worst[0],
        low=max(0.0, *(bound[1] for bound in bounds)) if len(bounds) > 1 else max(0.0, bounds[0][1]),
        high=max(bound[2] for bound in bounds),
        most=worst[4],
        least=worst[5],
        among=worst[3],
        shares={group.name: group.share for group in kinds[worst[3]]},
    )


def gap_of_classes(
    measure: Measure,
    said: NDArray[Any],
    true: NDArray[Any],
    groups: Mapping[str, NDArray[Any]],
    *,
    classes: Sequence[str],
    confidence: float,
    effective: Callable[[NDArray[Any]], float],
) -> Gap | None:
    """The largest gap over all classes, each in turn the positive one; the bounds hold for all of them together.

    Args:
        said: Code of the class that each row is said to be of.
        true: Code of the class that it is of.
        classes: Their names, by code.
        effective: Gives, for the outcomes of one class, the independent rows that one row is worth.
    """
    level = 1.0 - (1.0 - confidence) / len(classes)
    found = []
    for code, name in enumerate(classes):
        one = gap(
            measure, said == code, true == code, groups, confidence=level, effective=effective((said == code).astype(float))
        )
        if one is not None:
            found.append(replace(one, of_class=name))
    if not found:
        return None
    worst = max(found, key=lambda one: one.value)
    return replace(worst, low=max(one.low for one in found), high=max(one.high for one in found))


def _groups(among: str, said: NDArray[Any], true: NDArray[Any], groups: Mapping[str, NDArray[Any]]) -> list[_Group]:
    found = []
    for name, rows in groups.items():
        chosen = rows if among == "all" else rows[true[rows]] if among == "positive" else rows[~true[rows]]
        if len(chosen):
            found.append(_Group(name, int(said[chosen].sum()), len(chosen)))
    return found


def effective_share(outcomes: NDArray[Any], clusters: NDArray[Any] | None) -> float:
    """Independent rows that one row is worth: 1 over the design effect of the outcomes' mean, at most 1."""
    import numpy as np

    if clusters is None:
        return 1.0
    _, codes = np.unique(clusters, return_inverse=True)
    centred = outcomes - outcomes.mean()
    alone = float((centred**2).sum())
    together = float((np.bincount(codes, weights=centred) ** 2).sum())
    return min(1.0, alone / together) if together > 0 else 1.0
