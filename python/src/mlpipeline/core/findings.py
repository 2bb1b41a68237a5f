"""What a scanner found, in words that do not depend on the scanner."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["low", "medium", "high", "critical"]
LEVELS: tuple[Level, ...] = ("low", "medium", "high", "critical")
"""From harmless to certain harm."""


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing a scanner found.

    Args:
        id: The scanner's stable name of the rule or the advisory, such as ``CVE-2024-1234``.
        level: How bad it is.
        where: File (with ``:line`` where there is one) relative to what was scanned, or package and version.
        text: What it is, in one line. Never the secret itself.
        subject: What it is about, where an allow-list may name it: ``module.name`` of an import; else empty.
    """

    id: str
    level: Level
    where: str
    text: str = ""
    subject: str = ""


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What one scanner did.

    Args:
        tool: The program or library behind it.
        version: Of that program.
        targets: How many files or packages it really looked into.
        skipped: How many it could not look into, each of them told in ``notes`` or in a finding.
        findings: All of them, sorted.
        notes: What a reader should know besides, one line each.
    """

    tool: str
    version: str = ""
    targets: int = 0
    skipped: int = 0
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


class NotRun(Exception):
    """The scanner is absent or could not do its work; the text says why in one line."""


class NothingToDo(NotRun):
    """The scanner is there, but of what it reads there is nothing here."""


def at_least(level: Level, threshold: Level) -> bool:
    """Whether a finding is as bad as the threshold or worse."""
    return LEVELS.index(level) >= LEVELS.index(threshold)
