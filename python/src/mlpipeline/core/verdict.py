"""The four outcomes of a measurement, and how several become one."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """``error`` means that the measurement itself broke, which is neither good nor bad news of the candidate."""

    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    FAIL = "fail"


_BADNESS = {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 1, Verdict.ERROR: 2, Verdict.FAIL: 3}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several outcomes: fail before error before inconclusive before pass.

    Nothing measured is inconclusive: silence never passes.
    """
    return max(verdicts, key=_BADNESS.__getitem__, default=Verdict.INCONCLUSIVE)


def failing_first(verdict: Verdict) -> int:
    """Sort key: the worst comes first."""
    return -_BADNESS[verdict]
