"""Bounds for shares of rows and for the differences of such shares. All bounds are one-sided: each holds with ``confidence``."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist


def wilson(hits: float, rows: float, confidence: float) -> tuple[float, float]:
    """Bounds for a share (Wilson 1927); honest with few rows, and at 0 and 1. ``rows`` may be an effective number."""
    if rows <= 0:
        return 0.0, 1.0
    quantile = NormalDist().inv_cdf(confidence)
    share, square = hits / rows, quantile * quantile
    centre = (share + square / (2 * rows)) / (1 + square / rows)
    reach = quantile / (1 + square / rows) * math.sqrt(share * (1 - share) / rows + square / (4 * rows * rows))
    low = 0.0 if hits <= 0 else max(0.0, centre - reach)
    high = 1.0 if hits >= rows else min(1.0, centre + reach)
    return low, high


FEW = 40
"""With fewer rows of either kind Wilson's one-sided bounds hold less often than they say, so that exact ones are taken."""


def share_bounds(hits: int, rows: int, confidence: float) -> tuple[float, float, str]:
    """Bounds for a share, and how they were found: Wilson's, or the exact ones (Clopper and Pearson) with few rows of a kind."""
    if rows <= 0 or min(hits, rows - hits) >= FEW:
        return (*wilson(hits, rows, confidence), "wilson")
    return (*exact_bounds(hits, rows, confidence), "exact")


def exact_bounds(hits: int, rows: int, confidence: float) -> tuple[float, float]:
    """Bounds for a share that hold with at least their confidence, whatever the share is (Clopper and Pearson 1934)."""
    if rows <= 0:
        return 0.0, 1.0
    if hits > rows - hits:
        low, high = exact_bounds(rows - hits, rows, confidence)
        return 1.0 - high, 1.0 - low
    error = 1.0 - confidence
    low = 0.0 if hits == 0 else _root(lambda share: 1.0 - _at_most(hits - 1, rows, share), error)
    high = 1.0 if hits == rows else _root(lambda share: -_at_most(hits, rows, share), -error)
    return low, high


def _at_most(hits: int, rows: int, share: float) -> float:
    """Probability of at most so many hits."""
    if share <= 0.0 or share >= 1.0:
        return 1.0 if share <= 0.0 or hits >= rows else 0.0
    logs = (
        math.lgamma(rows + 1)
        - math.lgamma(count + 1)
        - math.lgamma(rows - count + 1)
        + count * math.log(share)
        + (rows - count) * math.log1p(-share)
        for count in range(hits + 1)
    )
    return min(1.0, math.fsum(math.exp(log) for log in logs))


def _root(rising: Callable[[float], float], wanted: float) -> float:
    """Where a rising function of a share has this value."""
    left, right = 0.0, 1.0
    for _ in range(60):
        middle = (left + right) / 2
        left, right = (left, middle) if rising(middle) >= wanted else (middle, right)
    return (left + right) / 2


def newcombe(hits: float, rows: float, other_hits: float, other_rows: float, confidence: float) -> tuple[float, float]:
    """Bounds for the difference of two shares of different rows (Newcombe 1998, method 10)."""
    if rows <= 0 or other_rows <= 0:
        return -1.0, 1.0
    share, other = hits / rows, other_hits / other_rows
    low, high = wilson(hits, rows, confidence)
    other_low, other_high = wilson(other_hits, other_rows, confidence)
    difference = share - other
    return (
        difference - math.hypot(share - low, other_high - other),
        difference + math.hypot(high - share, other - other_low),
    )


def logit_bounds(value: float, variance: float, confidence: float) -> tuple[float, float]:
    """Bounds for a number between 0 and 1 with this variance, on the scale of the log odds; (0, 1) at the ends."""
    if not 0 < value < 1:
        return 0.0, 1.0
    centre = math.log(value / (1 - value))
    reach = NormalDist().inv_cdf(confidence) * math.sqrt(max(variance, 0.0)) / (value * (1 - value))
    return 1 / (1 + math.exp(min(reach - centre, 700.0))), 1 / (1 + math.exp(max(-reach - centre, -700.0)))


def holm(chances: list[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: each may be held against the level of the whole family."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    adjusted, highest = [1.0] * len(chances), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - place) * chances[index]))
        adjusted[index] = highest
    return adjusted
