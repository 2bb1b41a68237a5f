"""By which tests a release is judged: those of today, and those that evidence recorded earlier names.

1. :mod:`mlpipeline.core.first_rules`: a vote by ticks and a likelihood ratio. Evidence that names no rules.
2. :mod:`mlpipeline.core.sequential`: ticks vote by their number of effective events.
3. :mod:`mlpipeline.core.paired`: how much the colours wander against each other is learned while they are compared.
4. :mod:`mlpipeline.core.blocks`: so on blocks of seconds, however often one looks, and with more weight on wander that lasts.

Nothing that 1, 2 or 3 compute may change. That harm of the margin is excluded is tested as by 2 ever since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from mlpipeline.core.blocks import BlockedBank
from mlpipeline.core.first_rules import FirstHarmTest
from mlpipeline.core.paired import RULES_3, PairedBank
from mlpipeline.core.sequential import (
    EXCLUSION_CAUTION,
    Calibration,
    HarmBank,
    LevelBank,
    LevelTest,
    RestartedBank,
    RestartedHarmTest,
    Tick,
    log_mean_exp,
)

if TYPE_CHECKING:
    from mlpipeline.core.judge import MetricPlan

NOTHING = Tick(0, 0, 0, 0)


class ReleaseTests(Protocol):
    """The running evidence of all metrics of a release."""

    def add(self, ticks: Mapping[str, Tick], seconds: float) -> None:
        """Takes in what one look found of each metric, all over the same seconds."""

    def next_stage(self) -> None:
        """A stage is over."""

    def log_e(self) -> dict[str, tuple[float, float]]:
        """Of each metric: against "no harm", and against "harm of the margin"."""


def tests_of(rules: int, metrics: Sequence[MetricPlan]) -> ReleaseTests:
    """The tests by which a plan of these rules is judged."""
    if rules == 1:
        return _FirstTests(metrics)
    return _Tests(metrics, rules)


class _FirstTests:
    """The tests of evidence that names no rules, metric by metric."""

    def __init__(self, metrics: Sequence[MetricPlan]) -> None:
        self._harm = {each.name: RestartedHarmTest(each.effect, each.calibration, FirstHarmTest) for each in metrics}
        self._benign = {each.name: FirstHarmTest(1 / each.margin, each.calibration) for each in metrics}
        self._level = {each.name: LevelTest(each.tolerate) for each in metrics if 0 < each.tolerate < 1}

    def add(self, ticks: Mapping[str, Tick], seconds: float) -> None:
        del seconds
        for name, tick in ticks.items():
            self._harm[name].add(tick)
            self._benign[name].add(tick.swapped)
            if name in self._level:
                self._level[name].add(tick.candidate, tick.candidate_events)

    def next_stage(self) -> None:
        for test in self._harm.values():
            test.next_stage()

    def log_e(self) -> dict[str, tuple[float, float]]:
        """Of each metric: against "no harm", and against "harm of the margin"."""
        return {name: (test.log_e, self._excluded(name)) for name, test in self._harm.items()}

    def _excluded(self, name: str) -> float:
        benign = self._benign[name].log_e
        return log_mean_exp([benign, self._level[name].log_e]) if name in self._level else benign


def _harm_tests(
    rules: int, effects: Sequence[float], calibrations: Sequence[Calibration]
) -> RestartedBank | PairedBank | BlockedBank:
    if rules == 2:
        return RestartedBank(effects, calibrations)
    return PairedBank(effects, RULES_3) if rules == 3 else BlockedBank(effects)


class _Tests:
    """The tests of all metrics at once. A class of predictions has those of the other direction too."""

    def __init__(self, metrics: Sequence[MetricPlan], rules: int) -> None:
        self._rows = [*((each, False) for each in metrics), *((each, True) for each in metrics if each.label)]
        calibrations = [each.calibration for each, _ in self._rows]
        effects = [each.effect for each, _ in self._rows]
        self._harm = _harm_tests(rules, effects, calibrations)
        self._benign = HarmBank([1 / each.margin for each, _ in self._rows], calibrations, EXCLUSION_CAUTION)
        self._levelled = [each for each in metrics if 0 < each.tolerate < 1]
        self._level = LevelBank([each.tolerate for each in self._levelled])

    def add(self, ticks: Mapping[str, Tick], seconds: float) -> None:
        if not ticks:
            return
        straight = [ticks.get(each.name, NOTHING) for each, _ in self._rows]
        turned = [tick.swapped for tick in straight]
        fewer = [turn for _, turn in self._rows]
        self._harm.add([turned[at] if turn else straight[at] for at, turn in enumerate(fewer)], seconds)
        self._benign.add([straight[at] if turn else turned[at] for at, turn in enumerate(fewer)])
        levelled = [ticks.get(each.name, NOTHING) for each in self._levelled]
        self._level.add([tick.candidate for tick in levelled], [tick.candidate_events for tick in levelled])

    def next_stage(self) -> None:
        self._harm.next_stage()

    def log_e(self) -> dict[str, tuple[float, float]]:
        """Of each metric: against "no harm", and against "harm of the margin" in the direction that is excluded less, or because
        the rate itself is negligible."""
        levels = dict(zip((each.name for each in self._levelled), self._level.log_e.tolist(), strict=True))
        found: dict[str, tuple[float, float]] = {}
        for (metric, fewer), harm, benign in zip(self._rows, self._harm.log_e.tolist(), self._benign.log_e.tolist(), strict=True):
            if fewer:
                more = found[metric.name]
                found[metric.name] = (log_mean_exp([more[0], harm]), min(more[1], benign))
            else:
                level = levels.get(metric.name)
                found[metric.name] = (harm, benign if level is None else log_mean_exp([benign, level]))
        return found
