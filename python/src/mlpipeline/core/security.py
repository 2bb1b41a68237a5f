"""What a scan means for the release: thresholds, named ignores that expire, and scanners that did not run."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from datetime import date
from typing import Literal

import msgspec

from mlpipeline.core.findings import Finding, Level, Scan, at_least
from mlpipeline.core.verdict import Verdict

Policy = Literal["fail", "warn", "off"]


class Rule(msgspec.Struct, frozen=True):
    """How one scanner is judged.

    Args:
        policy: What findings from ``fail_at`` on do: ``fail`` stops the release, ``warn`` only tells.
        fail_at: The level from which they do.
        not_run: What it means that the scanner did not run.
    """

    policy: Policy
    fail_at: Level
    not_run: Literal["fail", "warn"]


class Accepted(msgspec.Struct, frozen=True):
    """A finding that a person accepted until a day.

    Args:
        id: Of the finding.
        where: A pattern of places (``*`` matches anything); empty: everywhere.
        reason: Why it is accepted.
        person: Who accepted it.
        expires: The last day on which it holds.
    """

    id: str
    reason: str
    person: str
    expires: date
    where: str = ""

    def covers(self, finding: Finding) -> bool:
        """Whether it is about this finding, whatever the day."""
        place, _, line = finding.where.rpartition(":")
        names = {finding.where, place} if line.isdigit() else {finding.where}
        return self.id == finding.id and (not self.where or any(fnmatch.fnmatchcase(name, self.where) for name in names))


class Ignored(msgspec.Struct, frozen=True):
    """A finding and the exception that covers it."""

    finding: Finding
    by: Accepted


class Judged(msgspec.Struct, frozen=True):
    """What a scan means.

    Args:
        verdict: Of the scanner.
        summary: One line.
        stopping: The findings that decided a ``fail``.
        told: Those below the threshold, or under a policy that only warns.
        ignored: Those a valid exception covers.
        expired: Those only an expired exception covers; they count as if it were not there.
    """

    verdict: Verdict
    summary: str
    stopping: tuple[Finding, ...] = ()
    told: tuple[Finding, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    expired: tuple[Ignored, ...] = ()


def judge(name: str, scan: Scan, rule: Rule, exceptions: Sequence[Accepted], today: date) -> Judged:
    """The verdict on a scan that was made."""
    stopping: list[Finding] = []
    told: list[Finding] = []
    ignored: list[Ignored] = []
    expired: list[Ignored] = []
    for finding in scan.findings:
        covering = [one for one in exceptions if one.covers(finding)]
        valid = next((one for one in covering if today <= one.expires), None)
        if valid is not None:
            ignored.append(Ignored(finding, valid))
            continue
        if covering:
            expired.append(Ignored(finding, max(covering, key=lambda one: one.expires)))
        (stopping if rule.policy == "fail" and at_least(finding.level, rule.fail_at) else told).append(finding)
    parts = [f"{name}: {_found(stopping, told)}"]
    if ignored:
        parts.append(f"{len(ignored)} ignored by name")
    if expired:
        parts.append("; ".join(dict.fromkeys(_lapsed(one.by) for one in expired)))
    skipped = f", {scan.skipped} could not be" if scan.skipped else ""
    parts.append(f"{_count(scan.targets, 'target')} looked at by {_tool(scan)}{skipped}")
    return Judged(
        Verdict.FAIL if stopping else Verdict.PASS,
        "; ".join(parts),
        tuple(stopping),
        tuple(told),
        tuple(ignored),
        tuple(expired),
    )


def judge_nothing(name: str, why: str) -> Judged:
    """The verdict on a scanner for which there is nothing to look at here."""
    return Judged(Verdict.PASS, f"{name}: nothing to look at: {why}")


def judge_not_run(name: str, why: str, rule: Rule) -> Judged:
    """The verdict on a scanner that did not run: never clean, but policy may let it pass."""
    if rule.not_run == "fail" and rule.policy == "fail":
        return Judged(Verdict.FAIL, f"{name}: not run, and not_run is fail: {why}")
    return Judged(Verdict.PASS, f"{name}: not run: {why}")


def _lapsed(one: Accepted) -> str:
    return f"the ignore of {one.id} by {one.person} expired on {one.expires.isoformat()} and holds no more"


def _found(stopping: Sequence[Finding], told: Sequence[Finding]) -> str:
    if not stopping and not told:
        return "nothing found"
    if not stopping:
        return f"{_count(len(told), 'finding')} below the threshold"
    first = stopping[0]
    return f"{_count(len(stopping), 'finding')}, first: {first.id} ({first.level}) in {first.where}: {first.text}".rstrip(": ")


def _tool(scan: Scan) -> str:
    return f"{scan.tool} {scan.version}".strip()


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
