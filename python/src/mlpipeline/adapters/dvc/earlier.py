"""A data file as it was at an earlier commit, through ``dvc get``, which knows what DVC tracks and what git tracks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mlpipeline.adapters.dvc.command import dvc
from mlpipeline.errors import EnvironmentFault


def get(project: Path, path: str, commit: str, to: Path, *, limit_seconds: float = 1800.0) -> Path:
    """Brings the file (or folder) into the existing folder ``to``; the checkout is not touched.

    Args:
        path: Relative to the project.

    Raises EnvironmentFault when the commit, the file or its data cannot be had.
    """
    top = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=project, capture_output=True, text=True, check=False)
    root = Path(top.stdout.strip() or project)
    wanted = os.path.relpath((project / path).absolute(), root)
    place = to / Path(path).name
    try:
        done = dvc(to, "get", "--quiet", "--rev", commit, "--out", str(place), str(root), wanted, limit_seconds=limit_seconds)
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFault(
            f"dvc get did not end within {limit_seconds:g} s", facts={"path": path, "commit": commit}, tries=("run it again",)
        ) from error
    if done.returncode or not place.exists():
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip() and "troubles" not in line]
        raise EnvironmentFault(
            f"{path} as it was at commit {commit[:12]} cannot be had",
            facts={"path": path, "commit": commit, "dvc": "\n".join(said[-4:]) or "nothing"},
            likely="neither git nor DVC tracks it, the checkout is too shallow, or its data is in no cache or remote",
            tries=("dvc push, where the model was trained", "name a file that is there: nightly.data.reference"),
        )
    return place
