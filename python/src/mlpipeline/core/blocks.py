"""Evidence judged on blocks of seconds that do not depend on how often one looks.

A burst or a clump of retries lasts for seconds. Looks that are shorter cut it into pieces, and to a test that takes each look for
a tick of its own the pieces are as many witnesses: by rules 3 up to twice as many healthy releases were taken back with a look
each 2 seconds as with one each 10, and by rules 4 six times as many were passed early whose harm was at the margin. So looks are
summed until they are a block of :data:`BLOCK_SECONDS`, and blocks are judged.

Blatant harm should not wait for that. Beside it runs a second e-process, look by look, against "at most ``effect * 1.25`` times
the champion's rate", which looks for large shifts only: so far from it pieces of one burst do no damage. The evidence is the
weighted mean of both (:class:`Budget`), and a mean of e-processes is one.

**The last look** (rules 5). A test that may be looked at any time needs more evidence than one that is looked at once. The
planned end of a release is known, so a third of the budget is for one look there: ``1{p <= a} / a`` is an e-value for a
p-value ``p``, and until then it counts nothing. ``p`` is :attr:`PairedBank.doubt`, so the level holds as far as the roughness is
learned right.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpipeline.core.paired import BLATANT, EXCLUSION, RULES_5, PairedBank, Weights
from mlpipeline.core.sequential import Tick

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_SECONDS = 10.0
BEYOND = 1.25
"""Times the effect: harm of at most that is none to the test that looks at each look."""
_NEARLY = 0.95
"""Of a block, that is taken for a whole one: looks come a little early or late."""


class Budget(NamedTuple):
    """Which part of the error is for what; at most 1 together, and what is left is a reserve."""

    blocks: float
    blatant: float
    last_look: float


OF_RULES_4 = Budget(0.8, 1 - 0.8, 0.0)
OF_RULES_5 = Budget(0.42, 0.13, 0.35)
EXCLUSION_RESERVE = 2.5
"""The evidence that excludes harm is divided by so much: a wander that lasts is easily taken for the absence of harm."""


class _Blocks:
    """Looks of many tests, summed until they last a block."""

    def __init__(self, tests: int) -> None:
        import numpy as np

        self._sums: NDArray[Any] = np.zeros((tests, 4))
        self._seconds = 0.0

    def add(self, ticks: Sequence[Tick], seconds: float) -> bool:
        """Takes in one look; whether a block is whole now."""
        import numpy as np

        self._sums += np.array(ticks, float).reshape(-1, 4)
        self._seconds += seconds
        return lasts_a_block(self._seconds)

    def end(self) -> tuple[list[Tick], float]:
        """Everything since the last block, and how many seconds that is."""
        ended = [Tick(*counts) for counts in self._sums.astype(int).tolist()], self._seconds
        self._sums[:] = 0
        self._seconds = 0.0
        return ended


def lasts_a_block(seconds: float) -> bool:
    return seconds >= _NEARLY * BLOCK_SECONDS


class BlockedBank:
    """Many harm tests side by side, each against "the candidate's rate is at most ``effect`` times the champion's".

    Args:
        effects: Of each test.
        weights: Of the rules by which blocks are judged.
        budget: Of the same rules.
    """

    def __init__(self, effects: Sequence[float], weights: Weights = RULES_5, budget: Budget = OF_RULES_5) -> None:
        import numpy as np

        self._blocks = PairedBank(effects, weights)
        self._looks = PairedBank([BEYOND * effect for effect in effects], BLATANT)
        self._of_blocks = self._blocks.log_e
        self._sums = _Blocks(len(effects))
        self._budget = budget
        self._at_last = np.full(len(effects), -inf)

    def add(self, ticks: Sequence[Tick], seconds: float) -> None:
        """Takes in what one look found of each test, all of them so many seconds long."""
        self._looks.add(ticks, seconds)
        if self._sums.add(ticks, seconds):
            self._end_block()

    def next_stage(self) -> None:
        """Ends the present stage, and with it the block: the split of the traffic changes."""
        self._end_block()
        for bank in (self._blocks, self._looks):
            bank.next_stage()
        self._of_blocks = self._blocks.log_e

    def last(self, levels: Sequence[float]) -> NDArray[Any]:
        """The last look, which is taken once: spends what was kept for it, and returns each test's p-value.

        Args:
            levels: Of each test: at most this p-value is harm.
        """
        import numpy as np

        self._end_block()
        doubt = self._blocks.doubt
        self._at_last = np.where(doubt <= np.array(levels), -np.log(levels), -inf)
        return doubt

    def _end_block(self) -> None:
        self._blocks.add(*self._sums.end())
        self._of_blocks = self._blocks.log_e

    @property
    def log_e(self) -> NDArray[Any]:
        """Natural logarithm of each e-value so far."""
        import numpy as np

        any_time = np.logaddexp(log(self._budget.blocks) + self._of_blocks, log(self._budget.blatant) + self._looks.log_e)
        if not self._budget.last_look:
            return np.asarray(any_time)
        return np.asarray(np.logaddexp(any_time, log(self._budget.last_look) + self._at_last))


class ExclusionBank:
    """Many tests side by side, each against "the candidate's rate is at least ``margin`` times the champion's": the same kind of
    test with the roles exchanged, over the whole release and over the present stage alone.

    Args:
        margins: Of each test.

    Attributes:
        log_e: Natural logarithm of each e-value over the whole release, the reserve taken off.
    """

    def __init__(self, margins: Sequence[float]) -> None:
        self._effects = [1 / margin for margin in margins]
        self._whole, self._stage = self._bank(), self._bank()
        self._blocks_of_stage: list[tuple[list[Tick], float]] = []
        self._sums = _Blocks(len(margins))
        self.log_e = self._weighed(self._whole)

    def _bank(self) -> PairedBank:
        return PairedBank(self._effects, EXCLUSION)

    def add(self, ticks: Sequence[Tick], seconds: float) -> None:
        """Takes in what one look found, the roles exchanged already."""
        if self._sums.add(ticks, seconds):
            self._end_block()

    def next_stage(self) -> None:
        """Ends the present stage, and with it the block. The next one learns roughness anew: to the null, what was excluded
        before is wander that lasts."""
        self._end_block()
        self._stage = self._bank()
        self._blocks_of_stage.clear()

    @property
    def log_e_of_stage(self) -> NDArray[Any]:
        """The same of the present stage alone. Taken in when it is asked for: only an early pass asks."""
        for block in self._blocks_of_stage:
            self._stage.add(*block)
        self._blocks_of_stage.clear()
        return self._weighed(self._stage)

    def _end_block(self) -> None:
        ended = self._sums.end()
        self._whole.add(*ended)
        self._blocks_of_stage.append(ended)
        self.log_e = self._weighed(self._whole)

    @staticmethod
    def _weighed(bank: PairedBank) -> NDArray[Any]:
        return bank.log_e - log(EXCLUSION_RESERVE)
