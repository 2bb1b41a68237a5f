"""The image's own packages: trivy or grype, whichever is installed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.scanners.programs import answer
from mlpipeline.core.findings import Finding, Level, NotRun, Scan
from mlpipeline.ports import Scanned

_LEVELS: dict[str, Level] = {
    **{"UNKNOWN": "medium", "NEGLIGIBLE": "low", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "CRITICAL": "critical"}
}


class Image:
    """Implements :class:`mlpipeline.ports.Scanner`."""

    name = "image"

    def scan(self, scanned: Scanned) -> Scan:
        """The image that was packaged, as a file or a reference."""
        path = scanned.environment.get("PATH", "")
        trivy, grype = shutil.which("trivy", path=path), shutil.which("grype", path=path)
        if trivy is None and grype is None:
            raise NotRun("neither trivy nor grype is installed")
        if not scanned.image:
            raise NotRun("there is no image; scan again after mlpipeline package made one")
        return _trivy(trivy, scanned) if trivy is not None else _grype(str(grype), scanned)


def _trivy(program: str, scanned: Scanned) -> Scan:
    what = ["--input", scanned.image] if Path(scanned.image).exists() else [scanned.image]
    said = _asked([program, "image", "--quiet", "--format", "json", "--scanners", "vuln", *what], scanned, "trivy")
    results = said.get("Results") or []
    findings = [
        Finding(
            str(one["VulnerabilityID"]),
            _LEVELS.get(str(one.get("Severity", "")).upper(), "high"),
            f"{one.get('PkgName')}=={one.get('InstalledVersion')}",
            f"fixed in {one.get('FixedVersion') or 'no version yet'}",
        )
        for result in results
        for one in result.get("Vulnerabilities") or ()
    ]
    return _scan("trivy", str((said.get("Trivy") or {}).get("Version", "")), len(results), findings)


def _grype(program: str, scanned: Scanned) -> Scan:
    place = Path(scanned.image)
    kind = "oci-dir:" if place.is_dir() else "docker-archive:" if place.is_file() else "registry:"
    said = _asked([program, "--quiet", "--output", "json", f"{kind}{scanned.image}"], scanned, "grype")
    matches = said.get("matches") or []
    findings = [
        Finding(
            str(one["vulnerability"]["id"]),
            _LEVELS.get(str(one["vulnerability"].get("severity", "")).upper(), "high"),
            f"{one['artifact']['name']}=={one['artifact']['version']}",
            f"fixed in {', '.join((one['vulnerability'].get('fix') or {}).get('versions') or ()) or 'no version yet'}",
        )
        for one in matches
    ]
    return _scan("grype", str((said.get("descriptor") or {}).get("version", "")), 1 if said.get("source") else 0, findings)


def _asked(command: list[str], scanned: Scanned, name: str) -> dict[str, Any]:
    output = answer(command, folder=scanned.project, limit_seconds=scanned.limit_seconds, environment=scanned.environment)
    try:
        said: dict[str, Any] = msgspec.json.decode(output)
    except msgspec.DecodeError as error:
        raise NotRun(f"{name} gave no report") from error
    return said


def _scan(tool: str, version: str, targets: int, findings: list[Finding]) -> Scan:
    if not targets:
        raise NotRun(f"{tool} found nothing in the image that it can look up")
    return Scan(tool=tool, version=version, targets=targets, findings=tuple(sorted(set(findings))))
