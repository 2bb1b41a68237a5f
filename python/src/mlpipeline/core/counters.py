"""Increments of raw Prometheus counters, with our own reset logic.

``increase()`` loses the first increments of a new series and extrapolates (prometheus issues 3886 and 11433), which is
fatal for rare errors. Here the raw scrapes are followed: what a counter stood at before, and every scrape since.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]


class Point(NamedTuple):
    """One scrape of one series: Unix seconds of the scrape, and the value."""

    at: float
    value: float


def process_of(labels: Labels) -> Hashable:
    """What identifies the scraped process: its job and instance."""
    named = dict(labels)
    return named.get("job", ""), named.get("instance", "")


class Counters:
    """Follows any number of counter series from look to look.

    * A value below the one before is a restart: the counter began at 0 again, and the new value is the increment.
    * A series that appears later on a process already known began at 0: its first value counts in full.
    * A process seen for the first time only sets the base line: what it did before nobody watched.
    * NaN, infinite and negative values are passed over, as if the scrape had not happened.
    """

    def __init__(self) -> None:
        self._last: dict[Labels, Point] = {}
        self._processes: set[Hashable] = set()

    def take(self, series: Mapping[Labels, Sequence[Point]], until: float) -> dict[Labels, float]:
        """Increments since the last call by scrapes up to and including ``until``; the first call only sets the base.

        Args:
            series: All scrapes known, in any overlap with earlier calls, oldest first.
        """
        known = set(self._processes)
        increments = {}
        for labels, points in series.items():
            usable = [point for point in points if point.at <= until and isfinite(point.value) and point.value >= 0]
            last = self._last.get(labels)
            fresh = [point for point in usable if last is None or point.at > last.at]
            if last is None and process_of(labels) in known:
                last = Point(0.0, 0.0)
            increments[labels] = _increment(last, fresh)
            if fresh:
                self._last[labels] = fresh[-1]
                self._processes.add(process_of(labels))
        return increments

    def newest(self) -> Mapping[Labels, Point]:
        """Where each series stood at the last scrape that was taken in."""
        return self._last


def _increment(last: Point | None, fresh: Sequence[Point]) -> float:
    total = 0.0
    for point in fresh:
        if last is not None:
            total += point.value - last.value if point.value >= last.value else point.value
        last = point
    return total


def scrape_interval(series: Mapping[Labels, Sequence[Point]]) -> float:
    """Seconds from one scrape to the next, the median over all series; 0 where none was scraped twice."""
    between = sorted(later.at - earlier.at for points in series.values() for earlier, later in itertools.pairwise(points))
    return between[len(between) // 2] if between else 0.0


def newest_scrape(series: Mapping[Labels, Sequence[Point]]) -> float | None:
    """Time of the newest scrape with a finite value in any of the series; absent when there is none."""
    return max((point.at for points in series.values() for point in points if isfinite(point.value)), default=None)
