"""How long a release takes to find harm: releases are simulated and judged by the very tests that judge real ones.

Each simulated release answers ``Poisson`` requests of which ``Binomial`` are events, independently of each other: the calmest
traffic there is. Bursts and colours that wander against each other take longer, see ``bench/verification.py``. The same numbers
always give the same answer (fixed seed).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import ceil, exp, inf, log
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mlpipeline.core.blocks import BLOCK_SECONDS, OF_RULES_5
from mlpipeline.core.judge import MetricPlan
from mlpipeline.core.proportions import AboveTest
from mlpipeline.core.rules import LAST_LOOKS, tests_of
from mlpipeline.core.sequential import Tick

if TYPE_CHECKING:
    from numpy.typing import NDArray

RELEASES = 32
MOST_TICKS = 120
"""A release is looked at so often at most: more looks cost time and change the answer by less than a fifth."""
_SEED = 20260301
_GUESSES = 4
"""At how many labels will do, each four times the one before."""


class Stretch(NamedTuple):
    """A stage: how long it lasts, and the requests per second that each colour answers in it."""

    seconds: float
    candidate: float
    champion: float


def threshold(false_alarm: float, parts: int, weight: float = 1.0) -> float:
    """Logarithm of the e-value that one part needs for the whole to fail while all others say nothing.

    The whole is ``weight * mean(parts) + (1 - weight)`` and fails at ``1 / false_alarm``.
    """
    return log(parts * (1 / false_alarm - (1 - weight)) / weight - (parts - 1))


def found_after(
    metric: MetricPlan, rate: float, stretches: Sequence[Stretch], *, rules: int, interval: float, log_threshold: float
) -> list[float]:
    """Seconds after which each simulated release with a candidate of ``margin`` times the rate has failed, in ascending order;
    infinite for those that were not found.

    Args:
        rate: The champion's events per request.
        rules: By which it is judged.
        interval: Seconds between two looks.
    """
    import numpy as np

    copies = [
        MetricPlan(str(number), "", "", 0.0, metric.margin, metric.effect, calibration=metric.calibration)
        for number in range(RELEASES)
    ]
    rates = np.tile((min(1.0, rate * metric.margin), min(1.0, rate)), (RELEASES, 1))
    return _simulated(copies, rates, stretches, rules=rules, interval=interval, log_threshold=log_threshold)


def threshold_of_class(log_threshold: float, classes: int) -> float:
    """What one of so many classes needs alone for their mean, which is one part, to be at ``log_threshold``."""
    return log_threshold + log(classes - (classes - 1) * exp(-log_threshold))


def shift_found_after(
    metric: MetricPlan, share: float, stretches: Sequence[Stretch], *, rules: int, interval: float, log_threshold: float
) -> list[float]:
    """As :func:`found_after`, of a class of predictions: every other release answers it ``margin`` times as rarely as the
    champion, the others as many times as often where that is possible.

    Args:
        share: Of the champion's predictions.
    """
    import numpy as np

    often = [number % 2 == 0 and share * metric.margin <= 1 for number in range(RELEASES)]
    shares = np.array([share * metric.margin if more else share / metric.margin for more in often])
    copies = [msgspec.structs.replace(metric, name=str(number)) for number in range(RELEASES)]
    rates = np.stack([shares, np.full(RELEASES, share)], axis=1)
    return _simulated(copies, rates, stretches, rules=rules, interval=interval, log_threshold=log_threshold)


def _simulated(
    copies: Sequence[MetricPlan],
    rates: NDArray[Any],
    stretches: Sequence[Stretch],
    *,
    rules: int,
    interval: float,
    log_threshold: float,
) -> list[float]:
    """Of releases with one metric each. ``rates``: of the candidate and the champion, a row a release."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    tests = tests_of(rules, copies)
    found, at = dict.fromkeys((copy.name for copy in copies), inf), 0.0
    for begins, tick, stretch in _ticks(stretches, interval):
        if begins:
            tests.next_stage()
        requests = random.poisson((stretch.candidate * tick, stretch.champion * tick), (RELEASES, 2))
        events = random.binomial(requests, rates)
        rows = np.stack([requests[:, 0], events[:, 0], requests[:, 1], events[:, 1]], axis=1).tolist()
        tests.add({copy.name: Tick(*row) for copy, row in zip(copies, rows, strict=True)}, tick)
        at += tick
        found |= {name: at for name, (harm, _) in tests.log_e().items() if harm >= log_threshold and found[name] == inf}
        if inf not in found.values():
            return sorted(found.values())
    if rules >= LAST_LOOKS:
        level = OF_RULES_5.last_look * exp(-log_threshold)
        doubts = tests.last(dict.fromkeys(found, level))
        directions = 2 if copies[0].label else 1
        found |= {name: at for name, seconds in found.items() if seconds == inf and doubts[name] <= level / directions}
    return sorted(found.values())


def _ticks(stretches: Sequence[Stretch], interval: float) -> Iterator[tuple[bool, float, Stretch]]:
    """Of each look: whether a stage begins that is not the first, its seconds, and the stage."""
    tick = max(interval, sum(stretch.seconds for stretch in stretches) / MOST_TICKS)
    for number, stretch in enumerate(stretches):
        for look in range(max(1, round(stretch.seconds / tick))):
            yield number > 0 and look == 0, tick, stretch


def labels_needed(metric: MetricPlan, rate: float, *, rules: int, log_threshold: float) -> int | None:
    """About how many labels each colour needs until harm of ``margin`` is found in half of all releases, where both colours'
    answers are labelled alike; absent where it is never found, as the champion is wrong so often that little worse is possible.

    Taken where they come within 20 minutes; the same number takes up to twice as many where it takes hours, and few are new at
    each look.

    Args:
        rate: Of the champion's labelled answers, the share that is wrong; more than 0.
    """
    worse = metric.margin
    # what a pair of labels says for the true rates against equal ones, were nothing but these two to be told apart
    each = rate * (worse * log(2 * worse / (1 + worse)) + log(2 / (1 + worse)))
    most = ceil(4 * log_threshold / each)
    seconds = BLOCK_SECONDS * MOST_TICKS
    for _ in range(_GUESSES):
        stretches = [Stretch(seconds, most / seconds, most / seconds)]
        after = found_after(metric, rate, stretches, rules=rules, interval=BLOCK_SECONDS, log_threshold=log_threshold)
        median = after[len(after) // 2 - 1]
        needed = ceil(median / seconds * most) if median < inf else 4 * most
        if 2 * needed > most > needed:
            return needed
        most = ceil(1.5 * needed)
    return None


def draws_needed(allowed: float, true: float, log_threshold: float) -> int:
    """About how many requests it takes to find that more than ``allowed`` of the answers differ where ``true`` of them do.

    Taken where every draw is the mean: half of all releases are about that quick.
    """

    def finds(requests: int) -> bool:
        test = AboveTest(allowed)
        test.add(requests, requests * true)
        return test.log_e >= log_threshold

    most = 1
    while not finds(most):
        most *= 2
    return bisect_left(range(most), True, lo=most // 2, key=finds)
