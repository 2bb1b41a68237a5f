"""Evidence judged on blocks of seconds that do not depend on how often one looks.

A burst or a clump of retries lasts for seconds. Looks that are shorter cut it into pieces, and to a test that takes each look for
a tick of its own the pieces are as many witnesses: by rules 3 up to twice as many healthy releases were taken back with a look
each 2 seconds as with one each 10. So looks are summed until they are a block of :data:`BLOCK_SECONDS`, and blocks are judged.

Blatant harm should not wait for that. Beside it runs a second e-process, look by look, against "at most ``effect * 1.25`` times
the champion's rate", which looks for large shifts only: so far from it pieces of one burst do no damage. The evidence is the
weighted mean of both, 0.8 for the blocks, and a mean of e-processes is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING, Any

from mlpipeline.core.paired import BLATANT, RULES_4, PairedBank
from mlpipeline.core.sequential import Tick

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_SECONDS = 10.0
BLOCKS = 0.8
"""Of the evidence; the rest is for blatant harm."""
BEYOND = 1.25
"""Times the effect: harm of at most that is none to the test that looks at each look."""
_NEARLY = 0.95
"""Of a block, that is taken for a whole one: looks come a little early or late."""


class BlockedBank:
    """Many harm tests side by side, each against "the candidate's rate is at most ``effect`` times the champion's".

    Args:
        effects: Of each test.
    """

    def __init__(self, effects: Sequence[float]) -> None:
        import numpy as np

        self._blocks = PairedBank(effects, RULES_4)
        self._looks = PairedBank([BEYOND * effect for effect in effects], BLATANT)
        self._of_blocks = self._blocks.log_e
        self._sums: NDArray[Any] = np.zeros((len(effects), 4))
        self._seconds = 0.0

    def add(self, ticks: Sequence[Tick], seconds: float) -> None:
        """Takes in what one look found of each test, all of them so many seconds long."""
        import numpy as np

        self._looks.add(ticks, seconds)
        self._sums += np.array(ticks, float).reshape(-1, 4)
        self._seconds += seconds
        if self._seconds >= _NEARLY * BLOCK_SECONDS:
            self._end_block()
            self._of_blocks = self._blocks.log_e

    def next_stage(self) -> None:
        """Ends the present stage, and with it the block: the split of the traffic changes."""
        self._end_block()
        for bank in (self._blocks, self._looks):
            bank.next_stage()
        self._of_blocks = self._blocks.log_e

    def _end_block(self) -> None:
        self._blocks.add([Tick(*counts) for counts in self._sums.astype(int).tolist()], self._seconds)
        self._sums[:] = 0
        self._seconds = 0.0

    @property
    def log_e(self) -> NDArray[Any]:
        """Natural logarithm of each e-value so far."""
        import numpy as np

        return np.asarray(np.logaddexp(log(BLOCKS) + self._of_blocks, log(1 - BLOCKS) + self._looks.log_e))
