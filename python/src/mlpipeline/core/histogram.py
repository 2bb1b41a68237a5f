"""Classic Prometheus histograms: cumulative buckets ``le``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isinf, log


def bound_of(text: str) -> float:
    """The number in a ``le`` label (``"0.25"``, ``"+Inf"``). Raises ValueError for anything else."""
    return inf if text in ("+Inf", "Inf", "inf") else float(text)


def nearest_bound(bounds: Sequence[float], objective: float) -> float | None:
    """The finite positive bucket bound nearest to the objective by ratio; the smaller of two equals. Absent when none.

    Counting above a bound that exists is exact; interpolating inside a bucket is not, so objectives move to a bound.
    """
    usable = sorted(bound for bound in set(bounds) if bound > 0 and not isinf(bound))
    return min(usable, key=lambda bound: abs(log(bound / objective)), default=None)


def slower_than(buckets: Mapping[float, float], bound: float) -> tuple[int, int]:
    """``(all, slower than the bound)`` from increments of cumulative buckets that contain ``bound`` and infinity.

    Scrapes are atomic per process; a difference that rounds below zero counts as none.
    """
    total = round(buckets.get(inf, 0.0))
    return total, min(total, max(0, total - round(buckets.get(bound, 0.0))))


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The quantile by linear interpolation inside its bucket, for plots only; absent when nothing was counted.

    A quantile in the last, open bucket is its lower bound, as in PromQL.
    """
    total = buckets.get(inf, 0.0)
    if total <= 0:
        return None
    rank, below, lower = share * total, 0.0, 0.0
    for bound in sorted(buckets):
        count = buckets[bound]
        if count >= rank and count > below:
            return lower if isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
        if not isinf(bound):
            below, lower = max(below, count), bound
    return lower
