"""Which trials a sweep makes: every combination of a grid, or draws."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Value = str | int | float | bool


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, evenly over the orders of magnitude with ``log``."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, source: random.Random) -> Value:
        if self.log:
            number = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        else:
            number = source.uniform(self.low, self.high)
        return min(round(self.high), max(round(self.low), round(number))) if self.whole else min(self.high, max(self.low, number))


def grid(parameters: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
    """Every combination; the last parameter changes fastest."""
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*parameters.values())]


def draws(parameters: Mapping[str, Sequence[Value] | Range], trials: int, seed: int) -> list[dict[str, Value]]:
    """So many draws, no two alike where the parameters allow as many."""
    source = random.Random(seed)  # noqa: S311 - no secret: the same seed has to give the same trials
    found: list[dict[str, Value]] = []
    for _ in range(20 * trials):
        if len(found) == trials:
            break
        drawn = {
            name: values.draw(source) if isinstance(values, Range) else source.choice(list(values))
            for name, values in parameters.items()
        }
        if drawn not in found:
            found.append(drawn)
    return found
