"""SARIF 2.1.0, which code hosts and editors show beside the lines that findings are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec

from mlpipeline.core.findings import Finding, Level, Scan

_LEVELS: Mapping[Level, str] = {"low": "note", "medium": "warning", "high": "error", "critical": "error"}
_SEVERITIES: Mapping[Level, str] = {"low": "3.0", "medium": "5.5", "high": "8.0", "critical": "9.5"}


class Suppressed(msgspec.Struct, frozen=True):
    """A finding that was accepted, and the words of that."""

    finding: Finding
    why: str


def sarif(scans: Mapping[str, Scan], suppressed: Mapping[str, Sequence[Suppressed]]) -> bytes:
    """One run per scanner that ran; what was accepted is there too, marked as suppressed.

    Args:
        scans: By the scanner's name.
        suppressed: By the scanner's name.
    """
    runs = [_run(name, scan, {one.finding: one.why for one in suppressed.get(name, ())}) for name, scan in scans.items()]
    document = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": runs}
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def _run(name: str, scan: Scan, accepted: Mapping[Finding, str]) -> dict[str, object]:
    ids = sorted({finding.id for finding in scan.findings})
    worst = {one: max((f.level for f in scan.findings if f.id == one), key=list(_LEVELS).index) for one in ids}
    rules = [
        {"id": one, "defaultConfiguration": {"level": _LEVELS[level]}, "properties": {"security-severity": _SEVERITIES[level]}}
        for one, level in worst.items()
    ]
    driver: dict[str, object] = {"name": scan.tool, "rules": rules}
    if scan.version:
        driver["version"] = scan.version
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"mlpipeline/{name}"},
        "results": [_result(finding, ids.index(finding.id), accepted.get(finding)) for finding in scan.findings],
    }


def _result(finding: Finding, rule: int, why: str | None) -> dict[str, object]:
    place, _, line = finding.where.rpartition(":")
    artifact = {"uri": quote(place if line.isdigit() else finding.where, safe="/!=+@,")}
    region = {"region": {"startLine": max(1, int(line))}} if line.isdigit() else {}
    result: dict[str, object] = {
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": _LEVELS[finding.level],
        "message": {"text": finding.text or finding.id},
        "locations": [{"physicalLocation": {"artifactLocation": artifact, **region}}],
    }
    if why is not None:
        result["suppressions"] = [{"kind": "external", "justification": why}]
    return result
