"""Whether two colours answered at the same time: without a concurrent control there is no verdict.

That both answered within one stage is not enough. Whoever compares after with before mistakes the daily wave for the candidate:
on healthy releases such comparisons are wrong in 16 to 73 of a hundred cases (``bench/verification.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST = 0.5
"""Of a colour's requests, that have to come while the other answers too."""
_EXPECTED = 5
"""Requests of the rarer colour that a stretch of time is expected to have; a share of ``exp(-5)`` has none by chance."""

Blocks = Sequence[tuple[int, int]]
"""Requests of candidate and champion in consecutive blocks of time."""


def together(blocks: Blocks) -> bool:
    """Whether at least half of each colour's requests came in stretches of time in which the other answered too.

    Blocks are joined to stretches until the rarer colour, by its share of all requests, is expected to have five: a control slice
    of one percent is no silence.
    """
    candidate, champion = (sum(column) for column in zip(*blocks, strict=True)) if blocks else (0, 0)
    if not candidate or not champion:
        return False
    enough = _EXPECTED * (candidate + champion) / min(candidate, champion)
    shared = [0, 0]
    stretch = [0, 0]
    for place, (of_candidate, of_champion) in enumerate(blocks, start=1):
        stretch[0] += of_candidate
        stretch[1] += of_champion
        if sum(stretch) >= enough or place == len(blocks):
            if all(stretch):
                shared = [shared[0] + stretch[0], shared[1] + stretch[1]]
            stretch = [0, 0]
    return shared[0] >= LEAST * candidate and shared[1] >= LEAST * champion


def silent(blocks: Blocks, others: Blocks) -> bool:
    """Whether nothing was counted in ``blocks`` while more than half of the requests came that were counted in ``others``."""
    pairs = zip(blocks, others, strict=True)
    missed = sum(sum(other) for own, other in pairs if not sum(own))
    return missed > LEAST * sum(sum(other) for other in others)
