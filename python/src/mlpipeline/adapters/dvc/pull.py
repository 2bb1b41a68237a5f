"""``dvc pull`` through the command of the worker's own environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mlpipeline.errors import EnvironmentFault


def pull(project: Path, targets: Sequence[str], remote: str) -> None:
    """Fetches the targets from the default remote and puts them into the checkout.

    Raises EnvironmentFault when the remote cannot be reached, has not got the data, or DVC would have to overwrite
    local changes.
    """
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "pull", "--quiet", *targets],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    absent = any("not in cache" in line or "missing" in line.lower() or "Checkout failed" in line for line in said)
    raise EnvironmentFault(
        "dvc pull did not bring the data",
        facts={"remote": remote, "targets": ", ".join(targets), "dvc": "\n".join(said[-6:])},
        likely="the data was never pushed to this remote"
        if absent
        else "the remote cannot be reached, or its credentials are missing",
        tries=("dvc push, where the data is", f"dvc pull {' '.join(targets)}", "data.pull: never, to use what lies here"),
    )
