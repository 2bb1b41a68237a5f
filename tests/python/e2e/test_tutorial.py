"""The tutorial works as it is written: its files and commands are taken from the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tutorial_page import blocks, free_port

PAGE = Path(__file__).parents[3] / "docs" / "tutorial" / "iris.md"


@pytest.mark.real
@pytest.mark.timeout(900)
def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    """One shell runs all blocks, files appearing where the page shows them; the port is a free one of this machine."""
    page = PAGE.read_text().replace("8321", str(free_port()))
    project = tmp_path / "iris"
    project.mkdir()
    script = ["set -euo pipefail", "trap 'kill ${users:-} 2>/dev/null || true; mlpipeline stop || true' EXIT"]
    for number, block in enumerate(blocks(page)):
        if block.file:
            source = tmp_path / f"block-{number}"
            source.write_text(block.text)
            script.append(f"cp {source} {block.file}")
        else:
            script.append(block.text)
    # The page ends with a rollback: what was taken back is not trained and released again by itself.
    script.append("mlpipeline run && exit 1 || test $? -eq 10")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }
    log = tmp_path / "log"
    with log.open("w") as file:
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=project,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=840,
        )
    told = log.read_text()
    assert done.returncode == 0, told[-6000:]
    assert '"predictions": [0]' in told or '"predictions":[0]' in told
    assert len(list((project / ".mlpipeline" / "runs").glob("*/report/index.html"))) == 3
    assert re.search(r"rolled-back", told)
    assert "quarantined" in told
    assert "a version of this very commit and data was taken back before and is quarantined" in told
