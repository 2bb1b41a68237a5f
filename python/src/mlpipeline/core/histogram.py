"""Prometheus histograms: classic ones with cumulative buckets ``le``, and native ones with buckets of exponential width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, inf, isinf, log, log2
from typing import NamedTuple

from mlpipeline.core.proportions import Bounds, RateInterval


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


def spread_bounds(buckets: Mapping[float, float], most: int, edge: float = 0.02) -> tuple[float, ...]:
    """At most so many finite bounds, about evenly spread over the counted values; none with less than ``edge`` on one side.

    Counting above each of them tells how values are distributed, without interpolation.
    """
    total = buckets.get(inf, 0.0)
    shares = {bound: count / total for bound, count in buckets.items() if not isinf(bound)} if total > 0 else {}
    usable = sorted(bound for bound, share in shares.items() if edge <= share <= 1 - edge)
    wanted = [(place + 0.5) / most for place in range(most)]
    return tuple(sorted({min(usable, key=lambda bound: abs(shares[bound] - share)) for share in wanted})) if usable else ()


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


class NativeBucket(NamedTuple):
    """One populated bucket of a native histogram: ``lower`` and ``upper`` bound, and how much was counted in it."""

    lower: float
    upper: float
    counted: float


class NativeHistogram(NamedTuple):
    """One sample of a native histogram, as Prometheus' HTTP API answers it; only populated buckets are listed."""

    total: float
    sum: float
    buckets: tuple[NativeBucket, ...]

    def cumulative(self, bound: float) -> float | None:
        """How much was counted up to the bound; absent where the bound lies inside a populated bucket.

        Which end of a bucket is open does not matter here: a value that equals a bound is rare for a measured quantity.
        """
        if bound == inf:
            return self.total
        if any(bucket.lower < bound < bucket.upper for bucket in self.buckets):
            return None
        return sum(bucket.counted for bucket in self.buckets if bucket.upper <= bound)


def parse_native(answer: object) -> NativeHistogram:
    """Reads ``{"count": "3", "sum": "1.2", "buckets": [[0, "0.5", "1", "3"]]}``. Raises ValueError for anything else.

    Source: prometheus.io/docs/prometheus/latest/querying/api, "Native histograms"; a bucket is ``[boundary rule, left bound,
    right bound, count]``.
    """
    if not isinstance(answer, Mapping) or "count" not in answer:
        raise ValueError(f"{answer!r} is no native histogram")
    found = []
    for bucket in answer.get("buckets") or ():
        if not isinstance(bucket, Sequence) or len(bucket) != 4:
            raise ValueError(f"{bucket!r} is no bucket of a native histogram")
        found.append(NativeBucket(float(bucket[1]), float(bucket[2]), float(bucket[3])))
    return NativeHistogram(float(answer["count"]), float(answer.get("sum", "nan")), tuple(sorted(found)))


def native_bounds(schema: int = 2, least: float = 2.0**-10, most: float = 2.0**6) -> tuple[float, ...]:
    """Bounds ``2^(j / 2^schema)`` that every native histogram of this or a finer schema has, within the range; in seconds
    these are about 1 ms to a minute. Fixed, so that counts of different scrapes can be subtracted."""
    parts = 2**schema
    first, last = ceil(log2(least) * parts), floor(log2(most) * parts)
    return tuple(2.0 ** (place / parts) for place in range(first, last + 1))


def classic_of(native: NativeHistogram, bounds: Sequence[float]) -> dict[float, float]:
    """Cumulative counts by finite bound and infinity, as of a classic histogram; bounds inside a populated bucket are left out.

    Bounds are matched within a millionth: Prometheus writes them in decimal.
    """
    found, below, place = {}, 0.0, 0
    buckets = native.buckets
    for bound in sorted(bounds):
        slack = abs(bound) * 1e-6
        while place < len(buckets) and buckets[place].upper <= bound + slack:
            below += buckets[place].counted
            place += 1
        if place == len(buckets) or buckets[place].lower >= bound - slack:
            found[bound] = below
    return {**found, inf: native.total}


class QuantileInterval:
    """Confidence sequence for a quantile from bucket counts: the true one lies between two bucket bounds at *all* looks together
    with probability ``confidence``.

    The quantile lies above a bound when the share of values up to it is shown to be smaller than ``share``, and at or below it
    when it is shown to be at least that: a :class:`RateInterval` at each bound. Shares grow with the bounds, so an error at any
    of them is one at the bound next to the quantile, and no correction for their number is needed. (Howard & Ramdas,
    "Sequential estimation of quantiles", Bernoulli 2022, do the same for single values, uniformly over all quantiles.) Assumes
    independent values of one distribution.

    Args:
        share: Of the values that lie below the quantile: 0.99.
    """

    def __init__(self, bounds: Sequence[float], share: float, confidence: float) -> None:
        self._share = share
        self._at = {bound: RateInterval(confidence) for bound in sorted(bounds) if not isinf(bound)}

    def add(self, buckets: Mapping[float, float]) -> None:
        """Takes in the increments of cumulative buckets, infinity among them; a bound that is absent learns nothing."""
        total = round(buckets.get(inf, 0.0))
        for bound, interval in self._at.items():
            if bound in buckets:
                interval.add(total, min(total, max(0, round(buckets[bound]))))

    @property
    def interval(self) -> Bounds:
        """In the unit of the bounds; minus infinity and infinity where the data exclude nothing."""
        above = [bound for bound, found in self._at.items() if found.interval.high < self._share]
        upto = [bound for bound, found in self._at.items() if found.interval.low >= self._share]
        return Bounds(max(above, default=-inf), min(upto, default=inf))
