"""Bounds for shares of rows and for the differences of such shares. All bounds are one-sided: each holds with ``confidence``."""

from __future__ import annotations

import math
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
