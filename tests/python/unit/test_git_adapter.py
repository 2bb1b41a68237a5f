from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlpipeline.adapters.git import checkout
from mlpipeline.errors import ConfigurationError


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=trunk")
    (folder / "train.py").write_text("print('hello')\n")
    git(folder, "add", "train.py")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def test_clean_checkout_has_commit_and_branch_and_no_changes(repository: Path) -> None:
    found = checkout(repository)
    assert found.commit == git(repository, "rev-parse", "HEAD")
    assert found.branch == "trunk"
    assert found.dirty == ""


def test_changes_to_tracked_files_show_and_untracked_files_do_not(repository: Path) -> None:
    (repository / "notes.txt").write_text("not tracked")
    assert checkout(repository).dirty == ""
    (repository / "train.py").write_text("print('other')\n")
    one = checkout(repository).dirty
    git(repository, "add", "train.py")
    assert checkout(repository).dirty == one, "staging changes nothing about the content"
    (repository / "train.py").write_text("print('third')\n")
    assert checkout(repository).dirty not in ("", one)


def test_files_that_a_release_writes_itself_are_no_change(repository: Path) -> None:
    for name in ("dvc.lock", "metrics.json"):
        (repository / name).write_text("1")
        git(repository, "add", name)
    git(repository, "commit", "--quiet", "-m", "outputs")
    (repository / "dvc.lock").write_text("2")
    assert checkout(repository).dirty == ""
    (repository / "metrics.json").write_text("2")
    assert checkout(repository).dirty != ""
    assert checkout(repository, written=("metrics.json", "not-there.json")).dirty == ""


def test_digest_does_not_depend_on_where_it_is_asked(repository: Path) -> None:
    (repository / "part").mkdir()
    (repository / "train.py").write_text("print('other')\n")
    assert checkout(repository / "part") == checkout(repository)


def test_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")
    assert checkout(repository).branch == ""


def test_repository_without_commit_says_what_to_do(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(ConfigurationError, match="no commit") as caught:
        checkout(tmp_path)
    assert "git commit" in caught.value.tries[0]


def test_folder_without_repository_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ConfigurationError, match="not in a git repository") as caught:
        checkout(tmp_path)
    assert "git init" in caught.value.tries[0]
