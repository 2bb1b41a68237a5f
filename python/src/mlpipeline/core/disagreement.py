"""Answers of both colours to the same mirrored requests: how often do they disagree, and is it more than was allowed?

A request counts as one draw. Of a request with many rows the share of rows that differ is taken, a number between 0 and 1: the
test of :class:`mlpipeline.core.proportions.AboveTest` stays an e-process for such draws, because
``(d / d0)^x ((1 - d) / (1 - d0))^(1 - x)`` is convex in x and therefore at most what it is, on average, for 0 and 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isclose, isnan
from typing import Any

import msgspec

from mlpipeline.core.proportions import AboveTest, RateInterval

NAME = "disagreement"
WEIGHT = 0.5
"""Part of the release's error budget; the other half is the other metrics', together."""
_REMEMBERED = 20_000


class DisagreementPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is allowed.

    Args:
        allowed: Share of mirrored requests whose answers may differ.
        tolerance: Relative difference up to which two numbers are the same answer.
    """

    allowed: float
    tolerance: float = 0.0


class Join:
    """Finds the two answers to one request among what both colours kept, each pair once.

    Args:
        tolerance: See :class:`DisagreementPlan`.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._done: dict[str, None] = {}

    def add(self, candidate: Mapping[str, str], champion: Mapping[str, str]) -> tuple[int, float]:
        """New pairs among the answers by request id: how many, and the sum of their disagreements (0 to 1 each).

        An answer that is no prediction is left out, as its request is counted as an error elsewhere.
        """
        compared, differing = 0, 0.0
        for request in candidate.keys() & champion.keys() - self._done.keys():
            self._done[request] = None
            found = difference(candidate[request], champion[request], self._tolerance)
            if found is not None:
                compared += 1
                differing += found
        for request in list(self._done)[: max(0, len(self._done) - _REMEMBERED)]:
            del self._done[request]
        return compared, round(differing, 6)


def difference(ours: str, theirs: str, tolerance: float) -> float | None:
    """Share of the rows that two answers (JSON with ``predictions``) disagree on; 1 when they have not as many rows.

    Absent when either is no such answer, or both have no rows.
    """
    here, there = _predictions(ours), _predictions(theirs)
    if here is None or there is None or not (here or there):
        return None
    if len(here) != len(there):
        return 1.0
    return sum(not _same(one, other, tolerance) for one, other in zip(here, there, strict=True)) / len(here)


def _predictions(answer: str) -> list[Any] | None:
    try:
        found = json.loads(answer)
    except ValueError:
        return None
    rows = found.get("predictions") if isinstance(found, dict) else None
    return rows if isinstance(rows, list) else None


def _same(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(*pair, tolerance) for pair in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key], tolerance) for key in one)
    if _is_number(one) and _is_number(other):
        return isclose(one, other, rel_tol=tolerance) or (isnan(one) and isnan(other))
    return bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class DisagreementState:
    """Running evidence against "at most the allowed share of mirrored requests is answered differently"."""

    def __init__(self, plan: DisagreementPlan, confidence: float) -> None:
        self.plan = plan
        self.compared, self.differing = 0, 0.0
        self._test = AboveTest(plan.allowed)
        self._interval = RateInterval(confidence)

    def add(self, compared: int, differing: float) -> None:
        self.compared += compared
        self.differing += differing
        self._test.add(compared, differing)
        self._interval.add(compared, differing)

    @property
    def log_e(self) -> float:
        return self._test.log_e

    @property
    def interval(self) -> tuple[float, float, float]:
        """Estimate and confidence sequence of the share of requests."""
        return self._interval.estimate, *self._interval.interval

    @property
    def within(self) -> bool:
        """Whether the confidence sequence lies within what is allowed."""
        return self._interval.interval.high <= self.plan.allowed

    def summary(self, meaning: str) -> str:
        estimate, low, high = self.interval
        return (
            f"{NAME}: {100 * estimate:.3g} % of {self.compared} mirrored requests were answered differently, "
            f"{100 * self.plan.allowed:g} % are allowed; 95 % interval {100 * low:.3g} to {100 * high:.3g} %; {meaning}"
        )
