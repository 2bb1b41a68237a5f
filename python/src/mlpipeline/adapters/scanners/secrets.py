"""detect-secrets: keys, tokens and passwords in what git tracks and in what is packaged. A secret itself is never told."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.adapters.scanners.model_places import every, shown
from mlpipeline.adapters.scanners.programs import answer, module_command, version_of
from mlpipeline.core.findings import Finding, Level, NothingToDo, NotRun, Scan
from mlpipeline.ports import Scanned

LARGEST = 1 << 20
"""Bytes of the largest file that is searched."""
_DATA = frozenset({".csv", ".tsv", ".parquet", ".npy", ".npz", ".png", ".jpg", ".jpeg", ".gif", ".pdf", ".svg", ".lock"})
_GUESSES: dict[str, Level] = {"Base64 High Entropy String": "low", "Hex High Entropy String": "low", "Public IP (ipv4)": "low"}
"""Kinds that only say what looks random; hashes of data do too."""
_AT_ONCE = 400
_VARIABLE = re.compile(r"""_env["']?\s*:\s*["']?[A-Z_][A-Z0-9_]*["']?\s*[,}]?\s*(#.*)?$""")
"""``password_env: RELEASE_WORD`` in our own file: where a secret is looked for, not the secret."""


class Secrets:
    """Implements :class:`mlpipeline.ports.Scanner`."""

    name = "secrets"

    def scan(self, scanned: Scanned) -> Scan:
        """Text files of the repository and of the package, up to ``LARGEST`` bytes each."""
        version = version_of("detect-secrets")
        wanted = sorted({*scanned.tracked, *every(scanned)})
        files = [file for file in wanted if _searched(file)]
        if not files:
            raise NothingToDo("there is no text file")
        findings: list[Finding] = []
        for start in range(0, len(files), _AT_ONCE):
            findings += self._ask(files[start : start + _AT_ONCE], scanned)
        return Scan(
            tool="detect-secrets",
            version=version,
            targets=len(files),
            skipped=len(wanted) - len(files),
            findings=tuple(sorted(set(findings))),
            notes=(f"passed over: binary files, tables, and files above {LARGEST >> 20} MiB",)
            if len(files) < len(wanted)
            else (),
        )

    def _ask(self, files: list[Path], scanned: Scanned) -> list[Finding]:
        plain = [file for file in files if _is_plain(file, scanned.project)]
        found = self._asked({str(file): file for file in plain}, scanned.project, scanned)
        odd = [file for file in files if not _is_plain(file, scanned.project)]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            copies = {str(folder / f"{number}.txt"): file for number, file in enumerate(odd)}
            for copy, file in copies.items():
                Path(copy).write_bytes(file.read_bytes())
            return found + self._asked(copies, folder, scanned)

    def _asked(self, named: dict[str, Path], folder: Path, scanned: Scanned) -> list[Finding]:
        """What stands in files that are given by absolute paths, so that no name is taken for an option."""
        if not named:
            return []
        # --no-verify: to verify a secret it would be sent to the service that it opens.
        output = answer(
            [
                *module_command("detect_secrets", "detect-secrets"),
                *("scan", "--no-verify", "--all-files"),
                *("--disable-filter", "detect_secrets.filters.heuristic.is_lock_file"),
                *named,
            ],
            folder=folder,
            limit_seconds=scanned.limit_seconds,
            environment=scanned.environment,
        )
        try:
            known: dict[str, list[dict[str, Any]]] = msgspec.json.decode(output)["results"]
        except (msgspec.DecodeError, KeyError) as error:
            raise NotRun("detect-secrets gave no report") from error
        return [
            _finding(named.get(str(folder / place), Path(place)), one, scanned.project)
            for place, found in known.items()
            for one in found
            if not _names_a_variable(named.get(str(folder / place), Path(place)), int(one["line_number"]))
        ]


def _names_a_variable(file: Path, line: int) -> bool:
    if file.name != "mlpipeline.yaml":
        return False
    try:
        return _VARIABLE.search(file.read_text("utf-8").splitlines()[line - 1]) is not None
    except (OSError, UnicodeDecodeError, IndexError):
        return False


def _is_plain(file: Path, project: Path) -> bool:
    """Whether detect-secrets reads the file under its own name: it silently passes over what lies outside of the folder it is
    started in, and a name that is no text breaks its report of all others."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return file.resolve().is_relative_to(project.resolve())


def _finding(place: Path, one: dict[str, Any], project: Path) -> Finding:
    kind = str(one["type"])
    slug = re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")
    where = f"{shown(place, project)}:{one['line_number']}"
    return Finding(
        f"secret-{slug}", _GUESSES.get(kind, "high"), where, f"{kind}; take it out, and out of use, as history keeps it"
    )


def _searched(file: Path) -> bool:
    try:
        if file.suffix.lower() in _DATA or not 0 < file.stat().st_size <= LARGEST:
            return False
        with file.open("rb") as content:
            return b"\0" not in content.read(8192)
    except OSError:
        return False
