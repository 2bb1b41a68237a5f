#!/usr/bin/env python
"""How long a command takes to answer, beside ``dvc --version`` and a bare Python, alternating in one run; medians and ratios."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDER_OF_PROGRAMS = Path(sys.executable).parent
LIMIT = 0.5
"""Of ``dvc --version``."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--json", metavar="FILE", help="write the medians and ratios here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measured(Path(folder), options.repetitions)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    reference = medians["dvc --version"]
    for name, median in medians.items():
        print(f"{name:<22} {median * 1000:7.0f} ms   {median / reference:5.2f} of dvc --version")
    if options.json:
        figures = {name: {"median_seconds": median, "of_dvc": median / reference} for name, median in medians.items()}
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n")
    slow = [name for name, median in medians.items() if name.startswith("mlpipeline") and median >= LIMIT * reference]
    print(f"not under {LIMIT:g} of dvc --version: {', '.join(slow)}" if slow else f"all under {LIMIT:g} of dvc --version")
    return 1 if slow else 0


def measured(folder: Path, repetitions: int) -> dict[str, list[float]]:
    """Wall seconds of each command, the commands taking turns, after one round that nobody counts."""
    (folder / "mlpipeline.yaml").write_text("service: churn\ntrain:\n  command: dvc repro\n")
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    for arguments in (["init", "-q"], ["add", "--all"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    worker = str(FOLDER_OF_PROGRAMS / "mlpipeline")
    commands = {
        "bare python": [sys.executable, "-c", "pass"],
        "dvc --version": [str(FOLDER_OF_PROGRAMS / "dvc"), "--version"],
        "mlpipeline --help": [worker, "--help"],
        "mlpipeline config": [worker, "config"],
        "mlpipeline status": [worker, "status"],
    }
    environment = {**os.environ, "MLPIPELINE_HOME": str(folder / "home"), "DVC_NO_ANALYTICS": "1"}
    # An installed worker has its byte code; a checkout gets it in the round that nobody counts.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repetitions + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
