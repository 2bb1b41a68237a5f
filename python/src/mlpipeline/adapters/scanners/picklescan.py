"""picklescan: a deny-list of imports in pickles. It misses what its list does not name; our own look goes before it."""

from __future__ import annotations

import re

from mlpipeline.adapters.scanners.imports import SAFE, Allowed
from mlpipeline.adapters.scanners.model_places import roots, shown
from mlpipeline.adapters.scanners.programs import answer, module_command, version_of
from mlpipeline.core.findings import Finding, NothingToDo, NotRun, Scan
from mlpipeline.ports import Scanned

_DANGEROUS = re.compile(r"(?P<where>.+): dangerous import '(?P<module>\S*) (?P<name>\S*)' FOUND")
_UNREAD = re.compile(r"(?:WARNING|ERROR): could not parse (?P<where>.+) as \w+: (?P<why>.+)")
_READ = re.compile(r"Scanned files: (?P<number>\d+)")


class Picklescan:
    """Implements :class:`mlpipeline.ports.Scanner`."""

    name = "picklescan"

    def scan(self, scanned: Scanned) -> Scan:
        """The model's folder and what is packaged with it."""
        version = version_of("picklescan")
        allowed = Allowed(frozenset(), scanned.allow, by_value=scanned.allow_code_by_value)
        findings: list[Finding] = []
        read = unread = 0
        for root in roots(scanned):
            output = answer(
                [*module_command("picklescan", "picklescan"), "--path", str(root)],
                folder=scanned.project,
                limit_seconds=scanned.limit_seconds,
                environment=scanned.environment,
                codes=(0, 1, 2),
                merged=True,
            )
            lines = output.decode(errors="replace").splitlines()
            if not any(_READ.match(line) for line in lines):
                raise NotRun(f"picklescan broke off: {lines[-1][:200] if lines else 'it said nothing'}")
            for line in lines:
                if found := _DANGEROUS.fullmatch(line):
                    where = shown(found["where"], scanned.project)
                    full = f"{found['module']}.{found['name']}"
                    trust = allowed.trust(found["module"], found["name"])
                    known = full in SAFE or trust == "allowed" or (trust == "by value" and allowed.by_value)
                    text = f"it imports {full}, which picklescan calls dangerous"
                    findings.append(Finding("picklescan-dangerous", "low" if known else "critical", where, text, full))
                elif found := _UNREAD.fullmatch(line):
                    unread += 1
                    where = shown(found["where"], scanned.project)
                    findings.append(Finding("picklescan-unread", "medium", where, f"it could not be read: {found['why'][:160]}"))
                elif found := _READ.match(line):
                    read += int(found["number"])
        if not read:
            raise NothingToDo("there is no file that it reads")
        return Scan(
            tool="picklescan",
            version=version,
            targets=max(0, read - unread),
            skipped=unread,
            findings=tuple(sorted(set(findings))),
        )
