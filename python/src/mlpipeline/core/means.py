"""Means and gauges, compared at any look: exact for bounded quantities, asymptotic for all others.

A gauge is scraped far more often than it changes on its own, so neighbouring samples resemble each other. Samples are therefore
averaged in blocks, and blocks are what is taken for independent: choose them longer than the memory of the gauge.
"""

from __future__ import annotations

from math import inf, log, sqrt

from mlpipeline.core.proportions import Bounds
from mlpipeline.core.sequential import log_mean_exp

LEAST_BLOCKS = 20
"""Before as many blocks an asymptotic interval says nothing: the variance is hardly known."""
_GRID = 200
_BETS = (0.05, 0.1, 0.2, 0.4, 0.8)


class AsymptoticMean:
    """Asymptotic confidence sequence for a mean: ``mean +- s sqrt(2 (m r^2 + 1) / (m^2 r^2) * ln(sqrt(m r^2 + 1) / alpha))``
    after ``m`` blocks with standard deviation ``s``.

    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences",
    Annals of Statistics 2024; ``r^2 = (-2 ln alpha + ln(-2 ln alpha) + 1) / tightest``. Assumes blocks that are independent, with
    more than two finite moments; the coverage at all looks from ``LEAST_BLOCKS`` on approaches ``1 - alpha``, it is not
    guaranteed at any. The target is the mean of what was seen, so it may change over time.

    Args:
        confidence: ``1 - alpha``, within (0, 1).
        block: Samples that are averaged into one.
        tightest: Number of blocks at which the interval is to be tightest.
    """

    def __init__(self, confidence: float, *, block: int = 1, tightest: int = 100) -> None:
        alpha = 1 - confidence
        self._alpha = alpha
        self._square = (-2 * log(alpha) + log(-2 * log(alpha)) + 1) / tightest
        self._block, self._pending = block, [0.0, 0.0]
        self._blocks, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        """Takes in one sample, in any unit. NaN and infinite ones must not come here."""
        self._pending = [self._pending[0] + value, self._pending[1] + 1]
        if self._pending[1] < self._block:
            return
        now = self._pending[0] / self._block
        self._pending = [0.0, 0.0]
        self._blocks += 1
        step = now - self._mean
        self._mean += step / self._blocks
        self._squares += step * (now - self._mean)

    @property
    def estimate(self) -> float:
        """Mean of all whole blocks."""
        return self._mean

    @property
    def interval(self) -> Bounds:
        """In the unit of the samples; infinite while fewer than ``LEAST_BLOCKS`` are in."""
        if self._blocks < LEAST_BLOCKS:
            return Bounds(-inf, inf)
        growth = self._blocks * self._square
        width = 2 * (growth + 1) / (self._blocks * growth) * log(sqrt(growth + 1) / self._alpha)
        half = sqrt(self._squares / (self._blocks - 1) * width)
        return Bounds(self._mean - half, self._mean + half)


class MeanDifference:
    """Asymptotic confidence sequence for "candidate's mean minus champion's", of samples taken at the same moments.

    What both colours share at a moment cancels before any variance is estimated. See :class:`AsymptoticMean`.
    """

    def __init__(self, confidence: float, *, block: int = 1, tightest: int = 100) -> None:
        self._of = AsymptoticMean(confidence, block=block, tightest=tightest)

    def add(self, candidate: float, champion: float) -> None:
        self._of.add(candidate - champion)

    @property
    def estimate(self) -> float:
        return self._of.estimate

    @property
    def interval(self) -> Bounds:
        """In the unit of the samples."""
        return self._of.interval


class BoundedMean:
    """Confidence sequence for the mean of quantities between ``low`` and ``high``, exact whatever their distribution.

    Betting (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024): for each possible
    mean ``m`` of a grid, ``mean over bets b of prod(1 + b (x - m) / m)`` and the same downwards are e-processes against "the mean
    is m"; m is excluded once their mean reaches ``1 / alpha``. Assumes only that each mean, given the past, is the same. Bounds
    are the first grid points outside, hence never too narrow.
    """

    def __init__(self, confidence: float, low: float = 0.0, high: float = 1.0) -> None:
        if not low < high:
            raise ValueError(f"low {low} must be below high {high}")
        self._low, self._span = low, high - low
        self._threshold = -log1p_of(confidence)
        self._means = [(place + 0.5) / _GRID for place in range(_GRID)]
        self._up = [[0.0] * len(_BETS) for _ in self._means]
        self._down = [[0.0] * len(_BETS) for _ in self._means]
        self._inside = [True] * _GRID
        self._count, self._sum = 0, 0.0

    def add(self, value: float) -> None:
        """Takes in one value. Raises ValueError for one outside the bounds."""
        x = (value - self._low) / self._span
        if not 0 <= x <= 1:
            raise ValueError(f"{value} lies outside {self._low} and {self._low + self._span}")
        self._count += 1
        self._sum += value
        for place, mean in enumerate(self._means):
            if self._inside[place]:
                up, down = self._up[place], self._down[place]
                for number, bet in enumerate(_BETS):
                    up[number] += log(1 + bet * (x - mean) / mean)
                    down[number] += log(1 - bet * (x - mean) / (1 - mean))
                self._inside[place] = log_mean_exp([*up, *down]) < self._threshold

    @property
    def estimate(self) -> float:
        return self._sum / self._count if self._count else self._low + self._span / 2

    @property
    def interval(self) -> Bounds:
        """In the unit of the values. Empty (low above high) only if the assumption does not hold."""
        inside = [place for place, kept in enumerate(self._inside) if kept]
        if not inside:
            return Bounds(inf, -inf)
        first, last = inside[0], inside[-1]
        low = 0.0 if first == 0 else self._means[first - 1]
        high = 1.0 if last == _GRID - 1 else self._means[last + 1]
        return Bounds(self._low + low * self._span, self._low + high * self._span)


def log1p_of(confidence: float) -> float:
    """``ln(1 - confidence)``. Raises ValueError outside (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence must lie between 0 and 1, not be {confidence}")
    return log(1 - confidence)
