"""Scanners asked, what they said judged, and how both stand in results: shared by the gates that scan."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from mlpipeline.config.sections.security import ScannerRule
from mlpipeline.core.findings import Finding, NothingToDo, NotRun, Scan
from mlpipeline.core.security import Accepted, Judged, Rule, judge, judge_not_run, judge_nothing
from mlpipeline.ports import Scanned, Scanner
from mlpipeline.record.result import Reason
from mlpipeline.reports.sarif import Suppressed, sarif
from mlpipeline.verbs.context import Context

_TOLD = 20
"""Findings that a reason shows; all of them stand in the SARIF file."""
_KEPT = 200
"""Findings of one scanner that the evidence carries."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one scanner."""

    name: str
    rule: ScannerRule
    judged: Judged
    scan: Scan | None = None
    why: str = ""


def surroundings(context: Context) -> Mapping[str, str]:
    """What scanners are started with."""
    return context.environment or dict(os.environ)


def rule_of(context: Context, name: str) -> ScannerRule:
    rule: ScannerRule = getattr(context.config.security, name, ScannerRule())
    return rule


def accepted_in(context: Context) -> list[Accepted]:
    return [
        Accepted(one.id, one.reason, one.person, date.fromisoformat(one.expires), one.where)
        for one in context.config.security.ignore
    ]


def outcome_of(scanner: Scanner, rule: ScannerRule, scanned: Scanned, accepted: Sequence[Accepted], today: date) -> Outcome:
    plain = Rule(rule.policy, rule.fail_at, rule.not_run)
    try:
        scan = scanner.scan(msgspec.structs.replace(scanned, limit_seconds=float(rule.timeout)))
    except NothingToDo as nothing:
        return Outcome(scanner.name, rule, judge_nothing(scanner.name, str(nothing)), why=str(nothing))
    except NotRun as absent:
        return Outcome(scanner.name, rule, judge_not_run(scanner.name, str(absent), plain), why=str(absent))
    except Exception as fault:  # noqa: BLE001 - a scanner that breaks has not run, and must not hide what the others found
        why = f"it broke: {type(fault).__name__}: {str(fault)[:200]}"
        return Outcome(scanner.name, rule, judge_not_run(scanner.name, why, plain), why=why)
    return Outcome(scanner.name, rule, judge(scanner.name, scan, plain, accepted, today), scan)


def reason_of(one: Outcome) -> Reason:
    judged = one.judged
    shown = [f"{finding.level}: {_line(finding)}" for finding in (*judged.stopping, *judged.told)][:_TOLD]
    shown += [f"ignored until {ignored.by.expires}: {_line(ignored.finding)} ({ignored.by.reason})" for ignored in judged.ignored]
    numbers = {"targets": one.scan.targets, "findings": len(one.scan.findings)} if one.scan else {}
    return Reason(f"security.{one.name}", judged.verdict, judged.summary, dict(numbers), tuple(shown[: 2 * _TOLD]))


def _line(finding: Finding) -> str:
    return f"{finding.id} in {finding.where}: {finding.text}"


def evidence_of(one: Outcome) -> dict[str, object]:
    known: dict[str, object] = {"policy": one.rule.policy, "verdict": str(one.judged.verdict), "ran": one.scan is not None}
    if one.scan is None:
        return {**known, "why": one.why}
    findings = [_plain(finding) for finding in (*one.judged.stopping, *one.judged.told)]
    return {
        **known,
        "tool": one.scan.tool,
        "version": one.scan.version,
        "targets": one.scan.targets,
        "skipped": one.scan.skipped,
        "findings": findings[:_KEPT],
        **({"more_findings": len(findings) - _KEPT} if len(findings) > _KEPT else {}),
        "ignored": [
            {
                **_plain(ignored.finding),
                "reason": ignored.by.reason,
                "person": ignored.by.person,
                "expires": ignored.by.expires.isoformat(),
            }
            for ignored in one.judged.ignored
        ],
        "notes": list(one.scan.notes),
    }


def _plain(finding: Finding) -> dict[str, object]:
    return {"id": finding.id, "level": finding.level, "where": finding.where, "text": finding.text}


def sarif_of(outcomes: Sequence[Outcome]) -> bytes:
    scans = {one.name: one.scan for one in outcomes if one.scan is not None}
    suppressed = {
        one.name: [
            Suppressed(ignored.finding, f"{ignored.by.reason} ({ignored.by.person}, until {ignored.by.expires.isoformat()})")
            for ignored in one.judged.ignored
        ]
        for one in outcomes
    }
    return sarif(scans, suppressed)
