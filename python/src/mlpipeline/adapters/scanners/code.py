"""bandit: what the project's own Python code does that it had better not."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlpipeline.adapters.scanners.model_places import every, shown
from mlpipeline.adapters.scanners.programs import answer, module_command, version_of
from mlpipeline.core.findings import Finding, Level, NothingToDo, NotRun, Scan
from mlpipeline.ports import Scanned

_LEVELS: dict[str, Level] = {"LOW": "low", "MEDIUM": "medium", "HIGH": "high"}


class Code:
    """Implements :class:`mlpipeline.ports.Scanner`."""

    name = "code"

    def scan(self, scanned: Scanned) -> Scan:
        """Python files that git tracks or that are packaged."""
        version = version_of("bandit")
        files = sorted({file for file in (*scanned.tracked, *every(scanned)) if file.suffix == ".py" and file.is_file()})
        if not files:
            raise NothingToDo("there is no Python file")
        output = answer(
            [*module_command("bandit", "bandit"), "-q", "-f", "json", "--exit-zero", *(_argument(file) for file in files)],
            folder=scanned.project,
            limit_seconds=scanned.limit_seconds,
            environment=scanned.environment,
        )
        try:
            said = msgspec.json.decode(output)
        except msgspec.DecodeError as error:
            raise NotRun("bandit gave no report") from error
        findings = [
            Finding(
                str(one["test_id"]),
                _LEVELS.get(str(one["issue_severity"]), "high"),
                f"{shown(one['filename'], scanned.project)}:{one['line_number']}",
                str(one["issue_text"]).splitlines()[0][:200],
            )
            for one in said["results"]
        ]
        unread = [
            Finding(
                "unreadable", "high", shown(one["filename"], scanned.project), f"bandit could not read it: {one['reason']}"[:200]
            )
            for one in said["errors"]
        ]
        return Scan(
            tool="bandit",
            version=version,
            targets=len(files) - len(unread),
            skipped=len(unread),
            findings=tuple(sorted({*findings, *unread})),
        )


def _argument(file: Path) -> str:
    return str(file)
