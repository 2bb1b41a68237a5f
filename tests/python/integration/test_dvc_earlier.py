"""Data as it was at an earlier commit, with the real git and DVC."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipeline.adapters.dvc.earlier import get
from mlpipeline.adapters.git import file_at
from mlpipeline.errors import EnvironmentFault

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def run(project: Path, *words: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c"}
    environment = {**os.environ, **who, "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(words, cwd=project, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def test_data_of_an_earlier_commit_comes_back_and_the_checkout_stays(tmp_path: Path) -> None:
    project, to = tmp_path / "repository" / "project", tmp_path / "to"
    project.mkdir(parents=True)
    to.mkdir()
    run(project.parent, "git", "init", "--quiet")
    run(project, sys.executable, "-m", "dvc", "init", "--quiet", "--subdir")
    for version in ("old", "new"):
        (project / "data.csv").write_text(f"x\n{version}\n")
        (project / "small.csv").write_text(f"y\n{version}\n")
        run(project, sys.executable, "-m", "dvc", "add", "--quiet", "data.csv")
        run(project, "git", "add", "--all")
        run(project, "git", "commit", "--quiet", "--message", version)
    earlier = run(project, "git", "rev-parse", "HEAD~1")
    assert file_at(project, "small.csv", earlier) == b"y\nold\n"
    assert file_at(project, "data.csv", earlier) is None, "git only tracks where it lies"
    assert get(project, "data.csv", earlier, to).read_text() == "x\nold\n"
    assert (project / "data.csv").read_text() == "x\nnew\n"
    with pytest.raises(EnvironmentFault, match="cannot be had"):
        get(project, "absent.csv", earlier, to)
