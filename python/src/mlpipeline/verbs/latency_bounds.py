"""Which bucket bound stands for the latency objective, and in words why there is none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf

from mlpipeline.core.histogram import bound_of, nearest_bound
from mlpipeline.errors import ConfigurationError
from mlpipeline.packs.shape import Buckets, Traffic

_TRAFFIC: tuple[Traffic, ...] = ("live", "mirror")


def bounds_of(latency: Buckets, series: Iterable[Mapping[str, str]]) -> frozenset[float]:
    """Bounds in seconds of the histogram's buckets among series with these labels, infinity among them."""
    return frozenset(
        round(bound_of(labels["le"]) * latency.seconds, 12)
        for labels in series
        if any(latency.series.matches(labels, traffic) for traffic in _TRAFFIC)
    )


def shared_bound(latency: Buckets, found: Mapping[str, Collection[float]], objective: float) -> float:
    """The bound nearest to the objective that every colour has.

    Args:
        found: Colour to the bounds of its buckets.

    Raises ConfigurationError where there is none; it names the histogram, and the bounds of each colour.
    """
    everywhere = frozenset.intersection(*map(frozenset, found.values())) if found else frozenset()
    bound = nearest_bound(sorted(everywhere), objective)
    if bound is not None:
        return bound
    what, likely = _why_none(latency, found, objective)
    raise ConfigurationError(
        what,
        facts={f"buckets of {colour}": in_words(bounds) for colour, bounds in found.items()},
        likely=likely,
        tries=(*((latency.needs,) if latency.needs else ()), "verify.latency.enabled: false"),
    )


def in_words(bounds: Collection[float]) -> str:
    """The bounds in seconds, in ascending order."""
    return ", ".join("+Inf" if bound == inf else f"{bound:g}" for bound in sorted(bounds)) or "none"


def _why_none(latency: Buckets, found: Mapping[str, Collection[float]], objective: float) -> tuple[str, str]:
    name = latency.series.name
    absent = [colour for colour, bounds in found.items() if not bounds]
    if absent:
        return (
            f"latency cannot be compared: the histogram {name} of {' and '.join(absent)} does not exist",
            "the runtime does not export it, or has answered no request yet",
        )
    nearest = {colour: nearest_bound(sorted(bounds), objective) for colour, bounds in found.items()}
    open_ended = [colour for colour, bound in nearest.items() if bound is None]
    if open_ended:
        return (
            f"latency cannot be compared: the histogram {name} of {' and '.join(open_ended)} has no bucket but +Inf",
            "the runtime was told no bucket bounds",
        )
    told = " and ".join(f"{bound:g} s of {colour}" for colour, bound in nearest.items())
    return (
        f"latency cannot be compared: the colours share no bucket of the histogram {name}; "
        f"the nearest to the objective of {objective:g} s are {told}",
        "the colours run versions with different buckets",
    )
