"""Drift: how far two distributions are apart, and when several looks at them add up to a retraining."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

_HALF = 0.5
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
