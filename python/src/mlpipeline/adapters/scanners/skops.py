"""What skops itself says of ``.skops`` files: types outside its allow-list and outside ours."""

from __future__ import annotations

import json
import sys

from mlpipeline.adapters.scanners.imports import Allowed, libraries_of
from mlpipeline.adapters.scanners.model_places import shown, with_suffix
from mlpipeline.adapters.scanners.programs import answer, version_of
from mlpipeline.core.findings import Finding, NothingToDo, NotRun, Scan
from mlpipeline.ports import Scanned

_ASK = """
import json, sys
from skops.io import get_untrusted_types
for line in sys.stdin.read().split("\\0"):
    if line:
        try:
            print(json.dumps([line, sorted(get_untrusted_types(file=line)), ""]))
        except Exception as error:
            print(json.dumps([line, [], f"{type(error).__name__}: {error}"[:200]]))
"""


class Skops:
    """Implements :class:`mlpipeline.ports.Scanner`."""

    name = "skops"

    def scan(self, scanned: Scanned) -> Scan:
        """Every ``.skops`` file of the model and of what is packaged with it."""
        files = with_suffix(scanned, ".skops")
        if not files:
            raise NothingToDo("there is no .skops file")
        version = version_of("skops")
        allowed = Allowed(libraries_of(scanned.requirements), scanned.allow, by_value=scanned.allow_code_by_value)
        output = answer(
            [sys.executable, "-P", "-c", _ASK],
            folder=scanned.project,
            limit_seconds=scanned.limit_seconds,
            environment=scanned.environment,
            text="\0".join(map(str, files)).encode(errors="surrogateescape"),
        )
        findings, read = [], 0
        for line in output.decode(errors="surrogateescape").splitlines():
            path, types, trouble = json.loads(line)
            where = shown(path, scanned.project)
            if trouble:
                findings.append(Finding("unreadable", "high", where, f"skops cannot read it: {trouble}"))
                continue
            read += 1
            for full in types:
                module, _, name = full.rpartition(".")
                if allowed.trust(module, name) != "allowed":
                    text = f"it names {full}, which neither skops nor the allow-list trusts"
                    findings.append(Finding("skops-untrusted", "high", where, text, full))
        if not read and not findings:
            raise NotRun("skops gave no answer")
        return Scan(tool="skops", version=version, targets=read, skipped=len(files) - read, findings=tuple(sorted(findings)))
