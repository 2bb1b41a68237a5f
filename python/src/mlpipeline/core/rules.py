"""By which tests a release is judged: those of today, and those that evidence recorded earlier names.

1. :mod:`mlpipeline.core.first_rules`: a vote by ticks and a likelihood ratio. Evidence that names no rules.
2. :mod:`mlpipeline.core.sequential`: ticks vote by their number of effective events.
3. :mod:`mlpipeline.core.paired`: how much the colours wander against each other is learned while they are compared.
4. :mod:`mlpipeline.core.blocks`: so on blocks of seconds, however often one looks, and with more weight on wander that lasts.
5. The same with a third of the budget for one last look at the planned end. That harm of the margin is excluded is tested on
   blocks too, which by 2 to 4 it was not, and the interval of the ratio is computed from blocks.

Nothing that 1 to 4 compute may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from mlpipeline.core.blocks import EXCLUSION_RESERVE, OF_RULES_4, BlockedBank, ExclusionBank
from mlpipeline.core.first_rules import FirstHarmTest
from mlpipeline.core.paired import RULES_3, RULES_4, PairedBank
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
LAST_LOOKS = 5
"""The first rules with a last look, and with everything on blocks."""
LEVEL_CLUMPING = 4.0
"""Events that come together count as one where a rate is shown to be negligible: the most that :mod:`mlpipeline.core.paired`
thinks possible."""


class ReleaseTests(Protocol):
    """The running evidence of all metrics of a release."""

    def add(self, ticks: Mapping[str, Tick], seconds: float) -> None:
        """Takes in what one look found of each metric, all over the same seconds."""

    def next_stage(self) -> None:
        """A stage is over."""

    def last(self, levels: Mapping[str, float]) -> dict[str, float]:
        """The last look at the planned end, taken once: of each metric the p-value. At most its level is harm."""

    def log_excluded_in_stage(self) -> dict[str, float]:
        """Of each metric: against "harm of the margin", by the present stage alone."""

    def log_e(self) -> dict[str, tuple[float, float]]:
        """Of each metric: against "no harm", and against "harm of the margin"."""


def tests_of(rules: int, metrics: Sequence[MetricPlan]) -> ReleaseTests:
    """The tests by which a plan of these rules is judged."""
    if rules == 1:
        return _FirstTests(metrics)
    return _Tests(metrics, rules)


_NO_LAST_LOOK = "rules 1 to 4 know neither a last look nor what one stage excludes"


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

    def last(self, levels: Mapping[str, float]) -> dict[str, float]:
        del levels
        raise ValueError(_NO_LAST_LOOK)

    def log_excluded_in_stage(self) -> dict[str, float]:
        raise ValueError(_NO_LAST_LOOK)

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
    if rules == 3:
        return PairedBank(effects, RULES_3)
    return BlockedBank(effects, RULES_4, OF_RULES_4) if rules == 4 else BlockedBank(effects)


class _Tests:
    """The tests of all metrics at once. A class of predictions has those of the other direction too."""

    def __init__(self, metrics: Sequence[MetricPlan], rules: int) -> None:
        self._rows = [*((each, False) for each in metrics), *((each, True) for each in metrics if each.label)]
        calibrations = [each.calibration for each, _ in self._rows]
        margins = [each.margin for each, _ in self._rows]
        self._last_looks = rules >= LAST_LOOKS
        self._harm = _harm_tests(rules, [each.effect for each, _ in self._rows], calibrations)
        self._benign: HarmBank | ExclusionBank = (
            ExclusionBank(margins)
            if self._last_looks
            else HarmBank([1 / margin for margin in margins], calibrations, EXCLUSION_CAUTION)
        )
        self._levelled = [each for each in metrics if 0 < each.tolerate < 1]
        self._level, self._level_of_stage = self._levels(), self._levels()

    def _levels(self) -> LevelBank:
        levels = [each.tolerate for each in self._levelled]
        return LevelBank(levels, LEVEL_CLUMPING, EXCLUSION_RESERVE) if self._last_looks else LevelBank(levels)

    def add(self, ticks: Mapping[str, Tick], seconds: float) -> None:
        if not ticks:
            return
        straight = [ticks.get(each.name, NOTHING) for each, _ in self._rows]
        turned = [tick.swapped for tick in straight]
        fewer = [turn for _, turn in self._rows]
        self._harm.add([turned[at] if turn else straight[at] for at, turn in enumerate(fewer)], seconds)
        self._benign.add([straight[at] if turn else turned[at] for at, turn in enumerate(fewer)], seconds)
        levelled = [ticks.get(each.name, NOTHING) for each in self._levelled]
        for bank in (self._level, self._level_of_stage):
            bank.add([tick.candidate for tick in levelled], [tick.candidate_events for tick in levelled])

    def next_stage(self) -> None:
        self._harm.next_stage()
        if isinstance(self._benign, ExclusionBank):
            self._benign.next_stage()
        self._level_of_stage = self._levels()

    def last(self, levels: Mapping[str, float]) -> dict[str, float]:
        """The last look at the planned end, taken once: of each metric the p-value, of a class the smaller of both directions.
        At most its level is harm; a class has half of it for each direction."""
        if not (self._last_looks and isinstance(self._harm, BlockedBank)):
            raise ValueError(_NO_LAST_LOOK)
        rows = [(metric.name, levels[metric.name] / (2 if metric.label else 1)) for metric, _ in self._rows]
        found: dict[str, float] = {}
        for (name, _), doubt in zip(rows, self._harm.last([level for _, level in rows]).tolist(), strict=True):
            found[name] = min(found.get(name, 1.0), doubt)
        return found

    def log_excluded_in_stage(self) -> dict[str, float]:
        """Of each metric: against "harm of the margin", by the present stage alone."""
        if not isinstance(self._benign, ExclusionBank):
            raise ValueError(_NO_LAST_LOOK)
        return self._excluded(self._benign.log_e_of_stage.tolist(), self._level_of_stage)

    def log_e(self) -> dict[str, tuple[float, float]]:
        """Of each metric: against "no harm", and against "harm of the margin"."""
        harm: dict[str, list[float]] = {}
        for (metric, _), value in zip(self._rows, self._harm.log_e.tolist(), strict=True):
            harm.setdefault(metric.name, []).append(value)
        excluded = self._excluded(self._benign.log_e.tolist(), self._level)
        return {name: (values[0] if len(values) == 1 else log_mean_exp(values), excluded[name]) for name, values in harm.items()}

    def _excluded(self, benign: Sequence[float], level: LevelBank) -> dict[str, float]:
        """In the direction that is excluded less, or because the rate itself is negligible."""
        levels = dict(zip((each.name for each in self._levelled), level.log_e.tolist(), strict=True))
        found: dict[str, float] = {}
        for (metric, fewer), value in zip(self._rows, benign, strict=True):
            if fewer:
                found[metric.name] = min(found[metric.name], value)
            elif metric.name in levels:
                found[metric.name] = log_mean_exp([value, levels[metric.name]])
            else:
                found[metric.name] = value
        return found
