"""The image's own packages: trivy or grype, whichever is installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.scanners.programs import answer
from mlpipeline.core.findings import Finding, Level, NothingToDo, NotRun, Scan
from mlpipeline.ports import Scanned

_LEVELS: dict[str, Level] = {
    **{"UNKNOWN": "medium", "NEGLIGIBLE": "low", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "CRITICAL": "critical"}
}
_OPERATOR = (
    "TRIVY_CACHE_",
    "TRIVY_DB_",
    "TRIVY_JAVA_DB_",
    "TRIVY_SKIP_",
    "TRIVY_OFFLINE_",
    "GRYPE_DB_",
    "XDG_CACHE_HOME",
    "DOCKER_CONFIG",
)
"""What an agent says of the advisories it has. Nothing that would leave findings out."""
_QUIET = {"GRYPE_CHECK_FOR_APP_UPDATE": "false", "TRIVY_SKIP_VERSION_CHECK": "true", "TRIVY_DISABLE_TELEMETRY": "true"}
"""What is scanned is nobody's business elsewhere."""


class Image:
    """Implements :class:`mlpipeline.ports.Scanner`."""

    name = "image"

    def scan(self, scanned: Scanned) -> Scan:
        """The image that was packaged, as a file, a layout or a reference.

        The program starts in an empty folder: a file of the project such as ``.trivyignore`` would leave findings out, by
        nobody and for ever; ``security.ignore`` is for that.
        """
        path = scanned.environment.get("PATH", "")
        trivy, grype = shutil.which("trivy", path=path), shutil.which("grype", path=path)
        if trivy is None and grype is None:
            raise NotRun("neither trivy nor grype is installed")
        if not scanned.image:
            raise NothingToDo("there is no image yet; mlpipeline package looks into the one that it makes")
        with tempfile.TemporaryDirectory() as name:
            empty = Path(name, "empty")
            empty.mkdir()
            kind, subject = _subject(scanned, Path(name))
            if trivy is not None:
                return _trivy(trivy, scanned, empty, kind, subject)
            return _grype(str(grype), scanned, empty, kind, subject)


def _subject(scanned: Scanned, folder: Path) -> tuple[str, str]:
    """How it lies there (``file``, ``folder`` or ``reference``), and where the programs find it and nothing else."""
    place = scanned.project / scanned.image
    if place.is_file():
        return "file", str(place)
    if place.is_dir():
        return "folder", str(_alone(place, scanned.image_digest, folder / "image"))
    return "reference", scanned.image


def _alone(layout: Path, digest: str, folder: Path) -> Path:
    """A layout with this one image: of several, trivy would look into the first and grype into none."""
    try:
        index = msgspec.json.decode((layout / "index.json").read_bytes())
        listed = [one for one in index["manifests"] if not digest or one["digest"] == digest]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise NotRun(f"{layout} is no OCI layout") from error
    if len(listed) != 1:
        raise NotRun(f"the image is not in {layout} any more" if digest else f"there are {len(listed)} images in {layout}")
    if len(index["manifests"]) == 1:
        return layout
    folder.mkdir()
    (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_bytes(msgspec.json.encode({**index, "manifests": listed}))
    (folder / "blobs").symlink_to((layout / "blobs").resolve())
    return folder


def _trivy(program: str, scanned: Scanned, empty: Path, kind: str, subject: str) -> Scan:
    what = [subject] if kind == "reference" else ["--input", subject]
    fixed = ["image", "--no-progress", "--format", "json", "--scanners", "vuln", "--list-all-pkgs"]
    said = _decoded(_asked([program, *fixed, *what], scanned, empty), "trivy")
    results = said.get("Results") or []
    packages = sum(len(result.get("Packages") or ()) for result in results)
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
    return _scan("trivy", str((said.get("Trivy") or {}).get("Version", "")), packages, findings)


def _grype(program: str, scanned: Scanned, empty: Path, kind: str, subject: str) -> Scan:
    source = {"file": "docker-archive:", "folder": "oci-dir:", "reference": "registry:"}[kind]
    listed = empty.with_name("packages.json")
    # Its own form names what was found alone; the other one what was looked at.
    formats = ["--output", "json", "--output", f"cyclonedx-json={listed}"]
    said = _decoded(_asked([program, *formats, f"{source}{subject}"], scanned, empty), "grype")
    findings = [
        Finding(
            str(one["vulnerability"]["id"]),
            _LEVELS.get(str(one["vulnerability"].get("severity", "")).upper(), "high"),
            f"{one['artifact']['name']}=={one['artifact']['version']}",
            f"fixed in {', '.join((one['vulnerability'].get('fix') or {}).get('versions') or ()) or 'no version yet'}",
        )
        for one in said.get("matches") or ()
    ]
    return _scan("grype", str((said.get("descriptor") or {}).get("version", "")), _components(listed), findings, _notes(said))


def _components(file: Path) -> int:
    """How many packages grype looked up."""
    try:
        said = _decoded(file.read_bytes(), "grype")
    except OSError as error:
        raise NotRun("grype does not say what it looked at") from error
    return sum(1 for one in said.get("components") or () if one.get("type") == "library")


def _notes(said: Mapping[str, Any]) -> tuple[str, ...]:
    database = (said.get("descriptor") or {}).get("db") or {}
    built = (database.get("status") or database).get("built", "")
    left_out = len(said.get("ignoredMatches") or ())
    return (
        *((f"advisories of {built}",) if built else ()),
        *((f"{left_out} matches left out by grype's own rules",) if left_out else ()),
    )


def _asked(command: list[str], scanned: Scanned, folder: Path) -> bytes:
    return answer(
        command,
        folder=folder,
        limit_seconds=scanned.limit_seconds,
        environment=scanned.environment,
        kept=_OPERATOR,
        more=_QUIET,
    )


def _decoded(output: bytes, name: str) -> dict[str, Any]:
    try:
        said: dict[str, Any] = msgspec.json.decode(output, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise NotRun(f"{name} gave no report") from error
    return said


def _scan(tool: str, version: str, packages: int, findings: Iterable[Finding], notes: tuple[str, ...] = ()) -> Scan:
    found = tuple(sorted(set(findings)))
    targets = max(packages, len({one.where for one in found}))
    if not targets:
        raise NotRun(f"{tool} found no package in the image that it can look up")
    return Scan(tool=tool, version=version, targets=targets, findings=found, notes=notes)
