"""``make demo`` does what it says, to the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[3] / "demo" / "run.py"


@pytest.mark.real
@pytest.mark.timeout(1500)
def test_all_five_acts_go_as_told(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    log = tmp_path / "log"
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, str(DEMO), "--folder", str(folder)],
            env=os.environ | {"HOME": str(tmp_path)},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=1440,
        )
    told = log.read_text()
    assert done.returncode == 0, told[-8000:]
    assert "all five acts went as told" in told
    assert len(list(folder.glob("flights/.mlpipeline/runs/*/report/index.html"))) == 4
    assert not processes_of(folder), "the demo left processes behind"


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that mention the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found
