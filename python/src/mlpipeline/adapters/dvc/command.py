"""The ``dvc`` command of the worker's own environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def dvc(folder: Path, *arguments: str, limit_seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """Runs it in the folder, asking nobody anything. Raises subprocess.TimeoutExpired."""
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=limit_seconds,
        check=False,
    )
