"""A named person lets one check not stop a release until a day, for a reason. What was measured stays as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from mlpipeline.core.verdict import Verdict

NEVER = ("candidate.", "champion.", "holdout.", "waiver.")
"""Checks that say that nothing could be measured: there is nothing a person could vouch for."""


@dataclass(frozen=True)
class Waiver:
    """One waiver.

    Args:
        check: Name of the check, or a pattern with ``*``.
        until: First moment at which it no longer holds, aware.
        model: Digest of the only model it is for; empty: every model of the service.
        entry: Where it stands in the ledger.
    """

    check: str
    who: str
    why: str
    until: datetime
    model: str = ""
    entry: int = 0

    def covers(self, check: str, model: str) -> bool:
        return fnmatchcase(check, self.check) and (not self.model or self.model == model)

    def expired(self, now: datetime) -> bool:
        return now >= self.until

    @property
    def last_day(self) -> str:
        return f"{self.until:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class Waived:
    """What a check's verdict becomes.

    Args:
        words: To be added to the check's own summary.
        waiver: The waiver that holds, or the newest that no longer does; absent when nobody waived it.
    """

    verdict: Verdict
    words: str = ""
    waiver: Waiver | None = None
    expired: bool = False


def waivable(check: str) -> bool:
    """Whether a person may vouch for what it says; ``data.<name>.readable`` says that nothing could be read either."""
    return not check.startswith(NEVER) and not (check.startswith("data.") and check.endswith(".readable"))


def apply(check: str, verdict: Verdict, model: str, waivers: Sequence[Waiver], now: datetime) -> Waived:
    """A ``fail`` or ``inconclusive`` under a waiver that holds passes; an error never does: it is no measurement."""
    if verdict not in {Verdict.FAIL, Verdict.INCONCLUSIVE} or not waivable(check):
        return Waived(verdict)
    about = [waiver for waiver in waivers if waiver.covers(check, model)]
    holding = [waiver for waiver in about if not waiver.expired(now)]
    if holding:
        chosen = max(holding, key=lambda waiver: waiver.until)
        return Waived(Verdict.PASS, f"waived until {chosen.last_day} by {chosen.who}: {chosen.why}", chosen)
    if about:
        last = max(about, key=lambda waiver: waiver.until)
        return Waived(verdict, f"the waiver of {last.who} expired on {last.last_day}", last, expired=True)
    return Waived(verdict)
