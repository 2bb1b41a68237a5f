"""The project's files that git tracks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mlpipeline.adapters.scanners.programs import answer, program


def tracked_files(project: Path, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Those that are there now, below the project's folder, links left out. Raises NotRun when git cannot tell."""
    listed = answer([program("git", environment), "ls-files", "-z"], folder=project, limit_seconds=60, environment=environment)
    files = (project / os.fsdecode(name) for name in listed.split(b"\0") if name)
    return tuple(file for file in files if file.is_file() and not file.is_symlink())
