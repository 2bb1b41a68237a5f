"""Values of the right type that no machine could work with, wherever they stand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import msgspec

from mlpipeline.config.durations import written_duration
from mlpipeline.config.model import Config
from mlpipeline.config.shape import Problem, described, dotted
from mlpipeline.config.text import Way
from mlpipeline.config.values import Duration

LONGEST = Duration(36500 * 86400)
"""A hundred years: what clocks and time-outs of every library can still hold."""
LARGEST = 10**12
OWN_LARGEST: Mapping[Way, int] = {
    ("data", "sample_rows"): 10**4,
    ("gate", "resamples"): 10**6,
    ("gate", "latency", "predictions"): 10**6,
    ("gate", "importance", "rows"): 10**6,
    ("gate", "reuse", "budget"): 10**6,
    ("train", "sweep", "trials"): 10**5,
    ("train", "sweep", "workers"): 1024,
    ("target", "local", "threads"): 1024,
    ("target", "docker", "threads"): 1024,
    ("target", "kubernetes", "threads"): 1024,
}
"""Numbers that memory or time are proportional to."""


def problems(config: Config) -> Iterator[Problem]:
    """What is too large, and text that no file name, command or query can hold."""
    for way, value in _leaves(config, ()):
        name = dotted(way)
        if isinstance(value, Duration) and value > LONGEST:
            yield Problem(way, f"{name} is longer than {written_duration(LONGEST)}, a hundred years")
        elif isinstance(value, float) and not math.isfinite(value):
            yield Problem(way, f"{name} must be a finite number", found=described(value))
        elif isinstance(value, int) and abs(value) > (largest := OWN_LARGEST.get(way, LARGEST)):
            yield Problem(way, f"{name} must be at most {largest}", found=described(value))
        elif isinstance(value, str) and "\0" in value:
            yield Problem(way, f"{name} holds a NUL character, which no command or file name can", found=repr(value)[:80])


def _leaves(value: object, way: Way) -> Iterator[tuple[Way, object]]:
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*way, key))
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*way, index))
    else:
        yield way, value
