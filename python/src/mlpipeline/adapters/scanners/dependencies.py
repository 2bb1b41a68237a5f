"""Known vulnerabilities of the locked requirements: pip-audit, or an offline database in OSV's format.

What counts is how many packages were really looked up: a scan of none is no clean scan.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.scanners.programs import answer, module_command, version_of
from mlpipeline.core.findings import Finding, Level, NotRun, Scan
from mlpipeline.ports import Scanned

_PINNED = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*===?\s*([^\s;#\\]+)")
_REQUIREMENT = re.compile(r"^\s*[A-Za-z0-9]")
_LEVELS: dict[str, Level] = {"LOW": "low", "MODERATE": "medium", "MEDIUM": "medium", "HIGH": "high", "CRITICAL": "critical"}


class Dependencies:
    """Implements :class:`mlpipeline.ports.Scanner`."""

    name = "dependencies"

    def scan(self, scanned: Scanned) -> Scan:
        """Every pinned package; a line that pins nothing counts as skipped."""
        pinned, loose = _packages(scanned.locked)
        if not pinned:
            raise NotRun("the locked requirements are not known" if not scanned.locked else "no requirement is pinned")
        if scanned.database is not None:
            return _offline(scanned.database, pinned, loose)
        return _online(scanned, pinned, loose)


def _packages(lines: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Name to version of what is pinned, and the lines that pin nothing."""
    pinned: dict[str, str] = {}
    loose = []
    for line in lines:
        if found := _PINNED.match(line):
            pinned[_normal(found.group(1))] = found.group(2)
        elif _REQUIREMENT.match(line):
            loose.append(line.split("#")[0].strip())
    return pinned, loose


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- pip-audit --------------------------------------------------------------------------------------------------------


def _online(scanned: Scanned, pinned: dict[str, str], loose: list[str]) -> Scan:
    version = version_of("pip-audit")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("".join(f"{name}=={number}\n" for name, number in sorted(pinned.items())))
        output = answer(
            [
                *module_command("pip_audit", "pip-audit"),
                *("-r", str(file), "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner", "off", "--desc", "off"),
            ],
            folder=Path(folder),
            limit_seconds=scanned.limit_seconds,
            environment=scanned.environment,
            codes=(0, 1),
            parsed=True,
        )
    said = msgspec.json.decode(output)["dependencies"]
    audited = [one for one in said if "skip_reason" not in one]
    if not audited:
        why = next((f": {one['skip_reason']}"[:200] for one in said), "")
        raise NotRun(f"pip-audit looked up none of {len(pinned)} packages{why}")
    findings = [_advisory(one, vulnerability) for one in audited for vulnerability in one.get("vulns", ())]
    unaudited = sorted(set(pinned) - {_normal(one["name"]) for one in audited})
    return _scan("pip-audit", version, len(audited), [*unaudited, *loose], findings)


def _advisory(package: dict[str, Any], known: dict[str, Any]) -> Finding:
    fixed = ", ".join(known.get("fix_versions") or ()) or "no version yet"
    names = ", ".join(known.get("aliases") or ())
    return Finding(
        str(known["id"]), "high", f"{package['name']}=={package['version']}", f"{names + '; ' if names else ''}fixed in {fixed}"
    )


def _scan(tool: str, version: str, audited: int, skipped: list[str], findings: list[Finding]) -> Scan:
    notes = (f"{audited} packages looked up" + (f"; not looked up: {', '.join(skipped[:20])}" if skipped else ""),)
    unread = [Finding("not-audited", "medium", name, "it pins no version that could be looked up") for name in skipped]
    return Scan(
        tool=tool,
        version=version,
        targets=audited,
        skipped=len(skipped),
        findings=tuple(sorted({*findings, *unread})),
        notes=notes,
    )


# --- an offline database ----------------------------------------------------------------------------------------------


def _offline(database: Path, pinned: dict[str, str], loose: list[str]) -> Scan:
    known = 0
    newest = ""
    findings = []
    for advisory in _advisories(database):
        for affected in advisory.get("affected", ()):
            package = affected.get("package", {})
            if package.get("ecosystem") != "PyPI":
                continue
            known += 1
            newest = max(newest, str(advisory.get("modified", "")))
            name = _normal(str(package.get("name", "")))
            if name in pinned and not advisory.get("withdrawn") and _hits(affected, pinned[name]):
                findings.append(_osv(advisory, affected, name, pinned[name]))
    if not known:
        raise NotRun(f"the database {database.name} has no advisory on a Python package")
    scan = _scan("osv database", newest[:10], len(pinned), loose, findings)
    return msgspec.structs.replace(
        scan, notes=(*scan.notes, f"{known} advisories in {database.name}, newest of {newest[:10] or 'unknown'}")
    )


def _advisories(database: Path) -> Iterator[dict[str, Any]]:
    """One by one from a zip as OSV publishes it, a folder of JSON files, or one JSON file with one or a list of them."""
    try:
        if database.is_dir():
            for file in sorted(database.rglob("*.json")):
                yield from _decoded(file.read_bytes(), file.name)
        elif zipfile.is_zipfile(database):
            with zipfile.ZipFile(database) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(".json"):
                        yield from _decoded(archive.read(name), name)
        else:
            yield from _decoded(database.read_bytes(), database.name)
    except (OSError, zipfile.BadZipFile) as error:
        raise NotRun(f"the database {database} cannot be read: {error}") from error


def _decoded(text: bytes, name: str) -> list[dict[str, Any]]:
    try:
        content = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise NotRun(f"the database is damaged: {name} is no JSON ({error})") from error
    found = content if isinstance(content, list) else content.get("vulns", [content]) if isinstance(content, dict) else []
    return [one for one in found if isinstance(one, dict)]


def _hits(affected: dict[str, Any], version: str) -> bool:
    if version in affected.get("versions", ()):
        return True
    return any(
        _in_range(one.get("events", ()), version)
        for one in affected.get("ranges", ())
        if one.get("type") in {"ECOSYSTEM", "SEMVER"}
    )


def _in_range(events: Iterable[dict[str, str]], version: str) -> bool:
    """OSV's rule: the last event at or before the version decides."""
    from packaging.version import InvalidVersion, Version

    try:
        ours = Version(version)
        inside = False
        for event in sorted(events, key=_event_key):
            if "introduced" in event and (event["introduced"] == "0" or ours >= Version(event["introduced"])):
                inside = True
            if "fixed" in event and ours >= Version(event["fixed"]):
                inside = False
            if "last_affected" in event and ours > Version(event["last_affected"]):
                inside = False
    except InvalidVersion:
        return True  # what cannot be compared is not known to be safe
    return inside


def _event_key(event: dict[str, str]) -> Any:
    from packaging.version import Version

    text = next(iter(event.values()))
    return Version("0" if text == "0" else text)


def _osv(advisory: dict[str, Any], affected: dict[str, Any], name: str, version: str) -> Finding:
    words = [
        str((affected.get("database_specific") or {}).get("severity", "")),
        str((advisory.get("database_specific") or {}).get("severity", "")),
    ]
    level: Level = next((_LEVELS[word.upper()] for word in words if word.upper() in _LEVELS), "high")
    aliases = ", ".join(advisory.get("aliases") or ())
    text = "; ".join(part for part in (aliases, str(advisory.get("summary", ""))[:160]) if part)
    return Finding(str(advisory.get("id", "unknown")), level, f"{name}=={version}", text)
