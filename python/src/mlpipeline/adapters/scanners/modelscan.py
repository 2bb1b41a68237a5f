"""modelscan: unsafe operators in pickles, Keras and TensorFlow files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.scanners.imports import SAFE, Allowed
from mlpipeline.adapters.scanners.model_places import roots, shown
from mlpipeline.adapters.scanners.programs import answer, module_command, version_of
from mlpipeline.core.findings import Finding, Level, NothingToDo, NotRun, Scan
from mlpipeline.ports import Scanned

_LEVELS: dict[str, Level] = {"LOW": "low", "MEDIUM": "medium", "HIGH": "high", "CRITICAL": "critical"}


class Modelscan:
    """Implements :class:`mlpipeline.ports.Scanner`."""

    name = "modelscan"

    def scan(self, scanned: Scanned) -> Scan:
        """The model's folder and what is packaged with it. What it passed over counts as skipped, never as clean."""
        version = version_of("modelscan")
        findings: list[Finding] = []
        read = unread = 0
        for root in roots(scanned):
            said = self._ask(root, scanned)
            read += int(said["summary"]["scanned"]["total_scanned"])
            unread += int(said["summary"]["skipped"]["total_skipped"])
            base = root if root.is_dir() else root.parent
            findings += [_issue(one, base, scanned) for one in said.get("issues", ())]
            findings += [_error(one, base, scanned) for one in said.get("errors", ())]
        if not read:
            raise NothingToDo(f"it reads none of the {unread} files" if unread else "there is no file that it reads")
        return Scan(tool="modelscan", version=version, targets=read, skipped=unread, findings=tuple(sorted(set(findings))))

    def _ask(self, root: Path, scanned: Scanned) -> dict[str, Any]:
        # In an empty folder: it would take settings, which switch scanners off, from the folder it is started in.
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            answer(
                [
                    *module_command("modelscan.cli", "modelscan"),
                    "scan",
                    "-r",
                    "json",
                    "-o",
                    str(report),
                    "-p",
                    str(root),
                    "--show-skipped",
                ],
                folder=Path(folder),
                limit_seconds=scanned.limit_seconds,
                environment=scanned.environment,
                codes=(0, 1, 2, 3),
            )
            try:
                known: dict[str, Any] = msgspec.json.decode(report.read_bytes())
            except (OSError, msgspec.DecodeError) as error:
                raise NotRun("modelscan wrote no report") from error
        return known


def _issue(one: dict[str, Any], base: Path, scanned: Scanned) -> Finding:
    module, name = str(one.get("module", "")), str(one.get("operator", ""))
    trust = Allowed(frozenset(), scanned.allow, by_value=scanned.allow_code_by_value).trust(module or "unknown", name)
    known = f"{module}.{name}" in SAFE or trust == "allowed" or (trust == "by value" and scanned.allow_code_by_value)
    level = "low" if known else _LEVELS.get(str(one.get("severity")), "high")
    return Finding(
        "modelscan-unsafe",
        level,
        shown(base / str(one.get("source", "")), scanned.project),
        str(one.get("description", "")),
        f"{module}.{name}",
    )


def _error(one: dict[str, Any], base: Path, scanned: Scanned) -> Finding:
    where = shown(base / str(one.get("source", "")), scanned.project)
    return Finding("modelscan-unread", "medium", where, f"it could not be read: {str(one.get('description', ''))[:160]}")
