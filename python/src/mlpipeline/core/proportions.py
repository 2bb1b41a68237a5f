"""Rates of single streams and their difference: confidence sequences and tests that may be looked at after every request.

Assumption of everything here: requests are events independently of each other, with a rate that does not change (for
``AboveTest`` and ``LevelTest``: a rate that never crosses the level). Real traffic is rougher; releases are therefore judged by
:mod:`mlpipeline.core.sequential`, which compares colours over the same seconds. Use these where each request is a draw of its
own: wrong predictions, disagreement on mirrored requests, rows with a label.
"""

from __future__ import annotations

from math import inf, lgamma, log, log1p
from typing import NamedTuple

from mlpipeline.core.sequential import Calibration, HarmTest, Tick, log_weighted_sum

_STEPS = 60
_ABOVE = ((0.3, 2.0), (0.4, 3.0), (0.2, 5.0), (0.1, 10.0))
"""Weights, and rates over the allowed one, that the mixture bets on."""


class Bounds(NamedTuple):
    """Ends of an interval; which unit they have, the function says."""

    low: float
    high: float


class RateInterval:
    """Confidence sequence for one rate: covers it at *all* looks together with probability ``confidence``.

    Beta-binomial mixture (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics 2021, section 3): rate ``p`` is
    excluded while ``B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) >= p^k (1 - p)^(n - k) / (1 - confidence)``. Bounds of all looks are
    intersected.

    Args:
        confidence: Within (0, 1).
    """

    def __init__(self, confidence: float) -> None:
        self._threshold = -log1p(-confidence)
        self.requests, self.events = 0, 0.0
        self._bounds = Bounds(0.0, 1.0)

    def add(self, requests: int, events: float) -> None:
        """Takes in requests, and how many of them were events; fractions count as draws between 0 and 1."""
        self.requests += requests
        self.events += events
        if requests:
            low, high = self._now()
            self._bounds = Bounds(max(self._bounds.low, low), min(self._bounds.high, high))

    @property
    def estimate(self) -> float:
        """Events per request; 0 before any."""
        return self.events / self.requests if self.requests else 0.0

    @property
    def interval(self) -> Bounds:
        """In events per request. Empty (low above high) only if the assumption does not hold."""
        return self._bounds

    def _now(self) -> Bounds:
        hits, misses, at = self.events, self.requests - self.events, self.estimate
        bar = _log_beta(hits + 0.5, misses + 0.5) - _log_beta(0.5, 0.5) - self._threshold
        low = 0.0 if not hits else _crossing(0.0, at, hits, misses, bar)
        high = 1.0 if not misses else _crossing(1.0, at, hits, misses, bar)
        return Bounds(low, high)


class DifferenceInterval:
    """Confidence sequence for the difference of two rates, candidate's minus champion's.

    Both rates are covered with half the error each, and so is every difference of theirs (union bound): wider than need be by
    about a quarter, never too narrow, whatever the two have to do with each other.
    """

    def __init__(self, confidence: float) -> None:
        half = 1 - (1 - confidence) / 2
        self._candidate, self._champion = RateInterval(half), RateInterval(half)

    def add(self, tick: Tick) -> None:
        self._candidate.add(tick.candidate, tick.candidate_events)
        self._champion.add(tick.champion, tick.champion_events)

    @property
    def estimate(self) -> float:
        """In events per request."""
        return self._candidate.estimate - self._champion.estimate

    @property
    def interval(self) -> Bounds:
        """In events per request, within -1 and 1."""
        ours, theirs = self._candidate.interval, self._champion.interval
        return Bounds(ours.low - theirs.high, ours.high - theirs.low)


class TwoSidedTest:
    """E-process against "the candidate's rate is ``ratio`` times the champion's", whichever way it differs.

    The mean of two harm tests, one with the colours exchanged and ``1 / ratio``; see :class:`HarmTest` for what is a theorem.
    With ``tolerated`` above 1 the null is "between ``1 / tolerated`` and ``tolerated`` times".
    """

    def __init__(self, calibration: Calibration, *, tolerated: float = 1.0) -> None:
        self._more, self._less = HarmTest(tolerated, calibration), HarmTest(tolerated, calibration)

    def add(self, tick: Tick) -> None:
        self._more.add(tick)
        self._less.add(tick.swapped)

    @property
    def log_e(self) -> float:
        return log_weighted_sum([(0.5, self._more.log_e), (0.5, self._less.log_e)])


class AboveTest:
    """E-process against "the rate is at most ``allowed``", of one stream.

    Weighted mean over ``d > allowed`` of ``(d / allowed)^k ((1 - d) / (1 - allowed))^(n - k)``: a supermartingale for every rate
    up to the allowed one, also one that changes below it. About ``ln(2.5 / alpha) / KL(rate || allowed)`` requests are needed:
    some 80 for 15 % where 5 % are allowed and ``alpha`` is 1 %. Events may be fractions: draws between 0 and 1 with a mean.

    Args:
        allowed: Within (0, 1).
    """

    def __init__(self, allowed: float) -> None:
        if not 0 < allowed < 1:
            raise ValueError(f"the allowed rate must lie between 0 and 1, not be {allowed}")
        rates = [(weight, allowed * times) for weight, times in _ABOVE if allowed * times < 1] or [(1.0, (1 + allowed) / 2)]
        total = sum(weight for weight, _ in rates)
        self._terms = [(weight / total, log(rate / allowed), log1p(-rate) - log1p(-allowed)) for weight, rate in rates]
        self.requests, self.events = 0, 0.0

    def add(self, requests: int, events: float) -> None:
        self.requests += requests
        self.events += events

    @property
    def log_e(self) -> float:
        hits, misses = self.events, self.requests - self.events
        return log_weighted_sum([(weight, hits * hit + misses * miss) for weight, hit, miss in self._terms])


def _crossing(outside: float, inside: float, hits: float, misses: float, bar: float) -> float:
    """Where the log-likelihood falls to the bar between the two; of the last interval the end outside, so never too narrow."""
    for _ in range(_STEPS):
        middle = (outside + inside) / 2
        if _log_likelihood(middle, hits, misses) > bar:
            inside = middle
        else:
            outside = middle
    return outside


def _log_likelihood(rate: float, hits: float, misses: float) -> float:
    if (hits and rate <= 0) or (misses and rate >= 1):
        return -inf
    return (hits * log(rate) if hits else 0.0) + (misses * log1p(-rate) if misses else 0.0)


def _log_beta(one: float, other: float) -> float:
    return lgamma(one) + lgamma(other) - lgamma(one + other)
