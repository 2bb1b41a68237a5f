"""One holdout, many candidates: which part of the permitted error each comparison may use, and how many are left."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """Which comparison on this holdout one is.

    Args:
        position: 1 for the first.
        budget: Comparisons that all together keep the configured confidence.
        correct: Whether the confidence is corrected.
    """

    position: int
    budget: int
    correct: bool = True

    @property
    def left(self) -> int:
        """Comparisons that remain after this one."""
        return max(0, self.budget - self.position)

    @property
    def used_up(self) -> bool:
        return self.position > self.budget

    def confidence(self, wanted: float) -> float:
        """What this comparison must be judged with, so that all of the budget together err with at most ``1 - wanted``.

        The first gets most, the later ones less and less (proportional to 1 / position squared): most holdouts judge few
        candidates. Which candidate comes next may depend on all verdicts before: each one's level is fixed by its position alone.
        """
        if not self.correct:
            return wanted
        whole = sum(1.0 / place**2 for place in range(1, self.budget + 1))
        return 1.0 - (1.0 - wanted) / (min(self.position, self.budget) ** 2 * whole)
