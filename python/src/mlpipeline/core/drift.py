"""Drift: how far two distributions are apart, and when several looks at them add up to a retraining."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from mlpipeline.core.sketch import Sketch

_HALF = 0.5
_PARTS = 10
"""Bins of a picture, and of the indices that are computed over bins."""
_NAMED = 10
_EXPECTED = 5
"""Rows that a category needs on the smaller side for the chi-square distribution to hold."""
_ONE_IN_A_THOUSAND = 3.0902
"""Quantile of the standard normal distribution."""


class Outcome(StrEnum):
    """What one look at one kind of drift found. ``unknown``: it could not be made, which is no news either way."""

    DRIFTED = "drifted"
    STEADY = "steady"
    UNKNOWN = "unknown"


class Look(msgspec.Struct, frozen=True):
    """One night.

    Args:
        at: Unix seconds.
        kinds: Outcome by kind of drift (``data``, ``live``, ``accuracy``).
    """

    at: float
    kinds: Mapping[str, Outcome]


def stability_index(before: Sequence[float], now: Sequence[float]) -> float:
    """Population stability index of counts over the same bins.

    Half a count is added to each bin, so that one which is empty on one side weighs much but not infinitely. Raises
    ValueError when the bins differ or a side has no count at all.
    """
    if len(before) != len(now):
        raise ValueError(f"{len(before)} bins cannot be compared with {len(now)}")
    if not sum(before) or not sum(now):
        raise ValueError("one side is empty")
    sides = [[(count + _HALF) / (sum(counts) + _HALF * len(counts)) for count in counts] for counts in (before, now)]
    return math.fsum((new - old) * math.log(new / old) for old, new in zip(*sides, strict=True))


def by_chance(before: Sequence[float], now: Sequence[float]) -> float:
    """The index that one in a thousand comparisons exceeds although nothing drifted, for so many counts in so many bins.

    Without drift the index times ``nm / (n + m)`` follows a chi-square distribution with one degree of freedom less than bins
    in use; its quantile is Wilson's and Hilferty's. Without this, sixty bins of 500 against 500 exceed 0.25 every fourth time.
    """
    used = sum(1 for old, new in zip(before, now, strict=True) if old or new)
    if used < 2:
        return 0.0
    spread = 2 / (9 * (used - 1))
    return (used - 1) * (1 - spread + _ONE_IN_A_THOUSAND * math.sqrt(spread)) ** 3 * (1 / sum(before) + 1 / sum(now))


def drifted(before: Sequence[float], now: Sequence[float], limit: float) -> bool:
    """Whether the distance is both as large as the limit and larger than chance makes it. Errors as :func:`stability_index`."""
    return stability_index(before, now) >= max(limit, by_chance(before, now))


def apart(looks: Sequence[Look], seconds: float) -> list[Look]:
    """Looks at least this far apart, the newest first among equals: a build that is run again is no second night."""
    kept: list[Look] = []
    for look in sorted(looks, key=lambda look: -look.at):
        if not kept or kept[-1].at - look.at >= seconds:
            kept.append(look)
    return kept[::-1]


def due(looks: Sequence[Look], *, at_least: int, of: int) -> dict[str, tuple[int, int]]:
    """Kinds of drift that call for a retraining: the newest look found it, and so did ``at_least`` of the last ``of``.

    Looks that could not be made are passed over, except the newest: then nothing is known today.

    Returns:
        By kind, in how many looks it was found, of how many.
    """
    found: dict[str, tuple[int, int]] = {}
    for kind in looks[-1].kinds if looks else ():
        if looks[-1].kinds[kind] is not Outcome.DRIFTED:
            continue
        known = [look.kinds[kind] for look in looks if look.kinds.get(kind, Outcome.UNKNOWN) is not Outcome.UNKNOWN][-of:]
        drifted = known.count(Outcome.DRIFTED)
        if drifted >= at_least:
            found[kind] = (drifted, len(known))
    return found


class Shift(msgspec.Struct, frozen=True):
    """How far one column moved.

    Args:
        effect: The greatest difference in probability that any event of the column shows, between 0 and 1: Kolmogorov and
            Smirnov's distance for numbers, total variation for categories, the difference of the missing shares if greater.
            It estimates a property of the two distributions, and does not grow with the number of rows.
        p: Probability of a difference like this without drift, over the two tests of the column.
        adjusted: ``p`` corrected by Holm for all columns that were looked at.
        distances: By name: ``ks``, ``wasserstein`` (in interquartile ranges of the reference), ``psi``, ``js`` (bits),
            ``chi_square``, ``missing_before``, ``missing_now``.
        new: Categories that the reference has not, the most frequent first.
        vanished: Categories that only the reference has.
        before: Shares of the reference over the bins of the picture, and now; the last one is missing values.
    """

    column: str
    kind: str
    rows: tuple[int, int]
    effect: float
    p: float
    adjusted: float
    distances: dict[str, float]
    new: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    before: tuple[float, ...] = ()
    now: tuple[float, ...] = ()


def shifts(before: Mapping[str, Sketch], now: Mapping[str, Sketch]) -> list[Shift]:
    """All columns that both sides have as the same kind of values, the furthest moved first."""
    both = [name for name in before if name in now and before[name].kind == now[name].kind]
    found = [_shift(name, before[name], now[name]) for name in both]
    corrected = holm([one.p for one in found])
    settled = [msgspec.structs.replace(one, adjusted=p) for one, p in zip(found, corrected, strict=True)]
    return sorted(settled, key=lambda one: (-one.effect, one.column))


def drifting(found: Sequence[Shift], *, false_alarms: float, effect: float) -> list[Shift]:
    """Those that moved by at least ``effect``, where chance alone makes as much of any of them with at most that probability."""
    return [one for one in found if one.adjusted <= false_alarms and one.effect >= effect]


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the same order: at most ``alpha`` of the true nulls' families have one at or below ``alpha``."""
    adjusted = [1.0] * len(p)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = highest
    return adjusted


def ks_tail(distance: float, n: int, m: int) -> float:
    """Probability of at least this distance between two samples of one distribution: Kolmogorov's limit, which is on the
    safe side for ties, for a grid and for few rows."""
    if not n or not m:
        return 1.0
    x = distance * math.sqrt(n * m / (n + m))
    if x < 0.2:
        return 1.0
    total = 2 * math.fsum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, total))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Probability that a chi-square variable is at least this large: the regularised upper incomplete gamma function."""
    if freedom < 1 or statistic <= 0:
        return 1.0
    shape, x = freedom / 2, statistic / 2
    scale = math.exp(-x + shape * math.log(x) - math.lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        step = shape
        while abs(term) > abs(total) * 1e-16:
            step += 1
            term *= x / step
            total += term
        return max(0.0, 1 - total * scale)
    tiny = 1e-300
    b = x + 1 - shape
    c, d = 1 / tiny, 1 / b
    fraction = d
    for place in range(1, 100_000):
        factor = -place * (place - shape)
        b += 2
        d = factor * d + b or tiny
        c = b + factor / c or tiny
        d = 1 / d
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return min(1.0, max(0.0, scale * fraction))


def _shift(name: str, before: Sketch, now: Sketch) -> Shift:
    p_missing = _two_shares(before.missing, before.rows, now.missing, now.rows)
    absent = [side.missing / side.rows if side.rows else 0.0 for side in (before, now)]
    judged = _numbers(before, now) if before.kind == "number" else _categories(before, now)
    effect = max(judged.effect, abs(absent[1] - absent[0]))
    distances = {**judged.distances, "missing_before": absent[0], "missing_now": absent[1]}
    return Shift(
        name,
        before.kind,
        (before.rows, now.rows),
        effect,
        min(1.0, 2 * min(judged.p, p_missing)),
        1.0,
        distances,
        judged.new,
        judged.vanished,
        (*judged.labels, "missing"),
        (*(part * (1 - absent[0]) for part in judged.before), absent[0]),
        (*(part * (1 - absent[1]) for part in judged.now), absent[1]),
    )


class _Judged(msgspec.Struct, frozen=True):
    effect: float
    p: float
    distances: dict[str, float]
    labels: tuple[str, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]
    new: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()


def _numbers(before: Sketch, now: Sketch) -> _Judged:
    if before.edges != now.edges:
        raise ValueError("the two sides were counted over different grids")
    if not before.present or not now.present:
        return _Judged(0.0, 1.0, _psi(before, now, [before.present], [now.present]), (), (), ())
    old, new = (list(itertools.accumulate(side.counts)) for side in (before, now))
    n, m = before.present, now.present
    apart = [abs(one / n - other / m) for one, other in zip(old, new, strict=True)]
    distance = max(apart)
    cuts = _cuts(old, n)
    coarse = [_coarse(side.counts, cuts) for side in (before, now)]
    distances = {
        "ks": distance,
        "wasserstein": _wasserstein(before, now, apart),
        **_psi(before, now, coarse[0], coarse[1]),
        "js": _jensen_shannon(*coarse),
    }
    labels = (*(f"up to {before.edges[cut]:.4g}" for cut in cuts), "above")
    old_shares, new_shares = (tuple(count / sum(side) for count in side) for side in coarse)
    return _Judged(distance, ks_tail(distance, n, m), distances, labels, old_shares, new_shares)


def _psi(before: Sketch, now: Sketch, old: Sequence[int], new: Sequence[int]) -> dict[str, float]:
    """The stability index with missing values as a bin of their own; nothing for a side without rows."""
    if not before.rows or not now.rows:
        return {}
    return {"psi": stability_index([*old, before.missing], [*new, now.missing])}


def _cuts(cumulated: Sequence[int], total: int) -> list[int]:
    """Places of the edges that are closest to the deciles, each once."""
    cuts: list[int] = []
    for part in range(1, _PARTS):
        place = bisect.bisect_left(cumulated, part * total / _PARTS, hi=len(cumulated) - 1)
        if place < len(cumulated) - 1 and (not cuts or place > cuts[-1]):
            cuts.append(place)
    return cuts


def _coarse(counts: Sequence[int], cuts: Sequence[int]) -> list[int]:
    ends = [0, *(cut + 1 for cut in cuts), len(counts)]
    return [sum(counts[start:end]) for start, end in itertools.pairwise(ends)]


def _wasserstein(before: Sketch, now: Sketch, apart: Sequence[float]) -> float:
    """The area between the two distribution functions, in interquartile ranges of the reference (its range without one)."""
    ends = [value for side in (before, now) for value in (side.low, side.high) if value is not None]
    if not ends or not before.edges:
        return 0.0
    borders = itertools.pairwise([*before.edges, max(ends)])
    area = math.fsum(max(0.0, high - low) * gap for (low, high), gap in zip(borders, apart, strict=False))
    quarters = [_quantile(before, share) for share in (0.25, 0.75)]
    width = quarters[1] - quarters[0] or (before.high or 0.0) - (before.low or 0.0)
    return area / width if width > 0 else (0.0 if area == 0 else math.inf)


def _quantile(sketch: Sketch, share: float) -> float:
    cumulated = list(itertools.accumulate(sketch.counts))
    place = bisect.bisect_left(cumulated, share * sketch.present)
    return sketch.edges[min(place, len(sketch.edges) - 1)]


def _categories(before: Sketch, now: Sketch) -> _Judged:
    if not before.present or not now.present:
        return _Judged(0.0, 1.0, _psi(before, now, [before.present], [now.present]), (), (), ())
    exact = before.whole and now.whole
    names = sorted({*before.values, *now.values}, key=lambda name: (-before.values.get(name, 0), name)) if exact else []
    sides = [[side.values.get(name, 0) for name in names] if exact else list(side.groups) for side in (before, now)]
    statistic, freedom = _chi_square(*sides)
    shares = [[count / sum(side) for count in side] for side in sides]
    distances = {**_psi(before, now, sides[0], sides[1]), "js": _jensen_shannon(*sides), "chi_square": statistic}
    if exact:
        distances["new_share"] = math.fsum(now.values[name] for name in names if name not in before.values) / now.present
    variation = math.fsum(abs(one - other) for one, other in zip(*shares, strict=True)) / 2
    labels, old_shares, new_shares = _drawn(names, shares[0], shares[1])
    fresh = sorted((name for name in names if name not in before.values), key=lambda name: -now.values[name])
    gone = [name for name in names if name not in now.values]
    return _Judged(
        variation,
        chi_square_tail(statistic, freedom),
        distances,
        labels,
        old_shares,
        new_shares,
        tuple(fresh[:_NAMED]),
        tuple(gone[:_NAMED]),
    )


_Drawn = tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]


def _drawn(names: Sequence[str], before: Sequence[float], now: Sequence[float]) -> _Drawn:
    """The categories of the picture: those that moved most, and the others together."""
    if not names:
        return (), (), ()
    chosen = sorted(sorted(range(len(names)), key=lambda place: -abs(now[place] - before[place]))[:_PARTS])
    more = ("others",) if len(names) > len(chosen) else ()

    def shares(side: Sequence[float]) -> tuple[float, ...]:
        shown = [side[place] for place in chosen]
        return (*shown, *(max(0.0, 1 - math.fsum(shown)) for _ in more))

    return (*(names[place] for place in chosen), *more), shares(before), shares(now)


def _chi_square(before: Sequence[int], now: Sequence[int]) -> tuple[float, int]:
    """The statistic of homogeneity and its degrees of freedom; rare categories are taken together until five are expected."""
    n, m = sum(before), sum(now)
    smaller = min(n, m) / (n + m)
    cells: list[tuple[int, int]] = []
    rare = (0, 0)
    for old, new in zip(before, now, strict=True):
        if (old + new) * smaller >= _EXPECTED:
            cells.append((old, new))
        else:
            rare = (rare[0] + old, rare[1] + new)
    seldom = rare[0] + rare[1]
    if seldom * smaller >= _EXPECTED or (seldom and not cells):
        cells.append(rare)
    elif seldom:
        least = min(range(len(cells)), key=lambda place: cells[place][0] + cells[place][1])
        cells[least] = (cells[least][0] + rare[0], cells[least][1] + rare[1])
    statistic = 0.0
    for old, new in cells:
        together = old + new
        statistic += (old - together * n / (n + m)) ** 2 / (together * n / (n + m))
        statistic += (new - together * m / (n + m)) ** 2 / (together * m / (n + m))
    return statistic, len(cells) - 1


def _two_shares(first: int, n: int, second: int, m: int) -> float:
    """Whether two shares are one: chi-square with Yates' correction, on the safe side where events are rare."""
    events, total = first + second, n + m
    if not n or not m or events in {0, total}:
        return 1.0
    gap = max(0.0, abs(first * m - second * n) - total / 2)
    return chi_square_tail(total * gap**2 / (events * (total - events) * n * m), 1)


def _jensen_shannon(before: Sequence[float], now: Sequence[float]) -> float:
    """Jensen and Shannon's divergence in bits: 0 for alike, 1 for nothing in common."""
    sides = [[count / sum(side) for count in side] for side in (before, now)]
    terms: list[float] = []
    for one, other in zip(*sides, strict=True):
        middle = (one + other) / 2
        terms.extend(share / 2 * math.log2(share / middle) for share in (one, other) if share > 0)
    return max(0.0, math.fsum(terms))
