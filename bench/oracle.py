"""What can be reached at all: rules that are told how rough the traffic is, which no tool is. For ``bench/verification.py``.

*Fixed*: one look at the deadline, one metric, the whole 1 % spent on it: no rule that compares colours can find more, whatever it
does (the generalised least-squares score for a shift in an AR(1) with noise, which is the Neyman-Pearson test for the linearised
model; its critical value is taken from simulated healthy releases). *Any time*: the e-process that is told the roughness, so what
it costs to look often. *Either*: one look at the deadline that may err once in a hundred in hard and in hard2, told what both are
and how great the harm is, but not which of the two it is (the most powerful test of the linearised model against the least
favourable mixture of both): the limit of rules that keep the promise in both. *Torn*: the e-process that is told that roughness
is that of hard or of hard2, but not which, and holds 1 % in both: what it costs not to know how long a wander lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np

Counts = np.ndarray
_SHIFTS = np.array([0.15, 0.3, 0.5, 0.8, 1.2, 1.8])
_CUT = 2.5


def sums(looks: Counts, memory: float, deviation: float, clumping: float) -> tuple[Counts, Counts, Counts]:
    """Score, information and log-likelihood of no shift, after each tick, of one Kalman filter."""
    runs, ticks, _ = looks.shape
    wander, response, variance = np.zeros(runs), np.zeros(runs), np.full(runs, deviation**2)
    found = np.zeros((3, runs, ticks))
    score, information, null = np.zeros(runs), np.zeros(runs), np.zeros(runs)
    for tick in range(ticks):
        n, k, m, h = looks[:, tick].astype(float).T
        some = (n > 0) & (m > 0) & (k + h > 0)
        p = n / np.maximum(n + m, 1)
        weight = np.where(some, (k + h) * p * (1 - p), 1.0)
        wander, response = memory * wander, memory * response
        variance = memory**2 * variance + deviation**2 * (1 - memory**2)
        total = variance + clumping / weight
        z = np.clip(((k - (k + h) * p) / weight - wander) / np.sqrt(total), -_CUT, _CUT)
        gain, effect = np.where(some, variance / total, 0.0), 1 - response
        wander, response, variance = wander + gain * z * np.sqrt(total), response + gain * effect, (1 - gain) * variance
        score += some * effect * z / np.sqrt(total)
        information += some * effect**2 / total
        null -= some * (np.log(total) + z**2) / 2
        found[:, :, tick] = score, information, null
    return found[0], found[1], found[2]


def fixed(healthy: Counts, harmed: Counts, roughness: tuple[float, float, float], ticks: int, alpha: float) -> Counts:
    """Which harmed releases one look after so many ticks finds."""
    scores = []
    for looks in (healthy, harmed):
        score, information, _ = sums(looks[:, :ticks], *roughness)
        scores.append(score[:, -1] / np.sqrt(information[:, -1] + 1e-9))
    return scores[1] > np.quantile(scores[0], 1 - alpha)


def either(healthy: Sequence[Counts], harmed: Counts, roughness: tuple[float, float, float], ticks: int, alpha: float) -> Counts:
    """Which harmed releases one look finds that does not know whether a wander lasts as in hard or as in hard2."""
    memory, deviation, clumping = roughness
    n, k, m, h = harmed.reshape(-1, 4).sum(axis=0)
    shift = min(1.0, log(k / n * m / h))  # scores are cut, so that greater ones would not be likelier under greater shifts
    parts = []
    for looks in (*healthy, harmed):
        score, information, short = (part[:, -1] for part in sums(looks[:, :ticks], memory, deviation, clumping))
        parts.append(
            (
                shift * score - shift**2 * information / 2 + short,
                short,
                sums(looks[:, :ticks], 0.9, deviation, clumping)[2][:, -1],
            )
        )
    found = []
    for weight in (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98):
        first, second, told = (over - np.logaddexp(log(weight) + short, log(1 - weight) + long) for over, short, long in parts)
        null, likely = (
            np.concatenate([first, second]),
            np.repeat([weight / len(first), (1 - weight) / len(second)], [len(first), len(second)]),
        )
        order = np.argsort(null)[::-1]
        found.append(told > null[order][np.searchsorted(np.cumsum(likely[order]), alpha)])
    return min(found, key=np.sum)


def any_time(looks: Counts, roughness: tuple[float, float, float], alpha: float) -> Counts:
    """Which releases the e-process finds that is told the roughness."""
    score, information, _ = sums(looks, *roughness)
    return (_ratio(score, information).max(axis=1) >= -log(alpha)).astype(bool)


def torn(looks: Counts, clumping: float, alpha: float) -> Counts:
    """Which releases the e-process finds that knows of hard and hard2 alone."""
    deviation = 0.3 * np.sqrt(2)
    score, information, hard = sums(looks, 0.6, deviation, clumping)
    _, _, longer = sums(looks, 0.9, deviation, clumping)
    evidence = _ratio(score, information) + hard - np.logaddexp(hard, longer) + log(2)
    return (evidence.max(axis=1) >= -log(alpha)).astype(bool)


def _ratio(score: Counts, information: Counts) -> Counts:
    terms = score[:, :, None] * _SHIFTS - information[:, :, None] * _SHIFTS**2 / 2
    return np.logaddexp.reduce(terms, axis=2) - log(len(_SHIFTS))
