"""tools/release.sh: a tag whose resources carry a wheel that an agent really installs from; nothing of it on the branch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
VERSION = (ROOT / "resources/mlpipeline/version.txt").read_text().split()[0]
WHEEL = f"mlpipeline-{VERSION}-py3-none-any.whl"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A repository with what the script touches, as it is in this one."""
    made = tmp_path / "library"
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "dist")
    shutil.copytree(ROOT / "python", made / "python", ignore=unwanted)
    shutil.copytree(ROOT / "resources", made / "resources")
    (made / "tools").mkdir()
    shutil.copy(ROOT / "tools/release.sh", made / "tools/release.sh")
    (made / ".gitignore").write_text("*.whl\n__pycache__/\n")
    git(made, "init", "--quiet", "--initial-branch", "main")
    git(made, "add", "--all")
    git(made, "commit", "--quiet", "-m", "first")
    return made


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, env=environment(), check=True, capture_output=True, text=True).stdout


def environment(**more: str) -> dict[str, str]:
    person = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**os.environ, **person, "GIT_CONFIG_NOSYSTEM": "1", "PYTHON": python_with_pip(), **more}


def python_with_pip() -> str:
    """The worker's environment has none; the Python that it was made of has."""
    return str(Path(sys.base_prefix) / "bin/python3")


def released(library: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(library / "tools/release.sh"), *arguments]
    return subprocess.run(
        command, cwd=library.parent, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.real
def test_a_tag_carries_a_wheel_that_an_agent_installs(library: Path, tmp_path: Path) -> None:
    done = released(library, "--line", "v1")
    assert done.returncode == 0, done.stderr
    assert f"git push origin v{VERSION} && git push --force origin v1" in done.stdout
    assert git(library, "rev-parse", f"v{VERSION}^{{commit}}") == git(library, "rev-parse", "v1^{commit}")
    assert git(library, "rev-parse", f"v{VERSION}~1").strip() == git(library, "rev-parse", "main").strip()
    assert not git(library, "status", "--porcelain")
    assert WHEEL not in git(library, "ls-tree", "-r", "--name-only", "main")
    assert git(library, "worktree", "list").count("\n") == 1

    workspace = tmp_path / "workspace"
    workspace.mkdir()
    git(library, "worktree", "add", "--quiet", str(tmp_path / "tag"), f"v{VERSION}")
    resources = tmp_path / "tag/resources/mlpipeline"
    assert (resources / "version.txt").read_text() == f"{VERSION} {WHEEL}\n"
    # The dependencies are the index's part; here they come from the environment of these tests.
    pip = tmp_path / "pip.conf"
    pip.write_text("[install]\nno-deps = true\nno-index = true\n")
    site = next(path for path in sys.path if path.endswith("site-packages"))
    agent = environment(
        HOME=str(tmp_path),
        MLPIPELINE_PYTHON=python_with_pip(),
        PIP_CONFIG_FILE=str(pip),
        PYTHONPATH=site,
        MLPIPELINE_WORKERS=str(tmp_path / "w"),
    )
    (workspace / "call").mkdir()
    script, wheel = str(resources / "install-worker.sh"), str(resources / WHEEL)
    command = ["sh", script, VERSION, "call", wheel, "config", "--schema"]
    told = subprocess.run(command, cwd=workspace, env=agent, capture_output=True, text=True, check=False, timeout=300)
    assert told.returncode == 0, told.stderr
    assert '"service"' in told.stdout
    assert (tmp_path / "w" / VERSION / "complete").exists()


def test_it_refuses_what_would_be_no_release(library: Path) -> None:
    (library / "python/pyproject.toml").touch()
    (library / "new.txt").write_text("x")
    assert "not committed" in released(library).stderr
    (library / "new.txt").unlink()
    git(library, "tag", f"v{VERSION}")
    assert f"there is a tag v{VERSION} already" in released(library).stderr
    git(library, "tag", "--delete", f"v{VERSION}")
    (library / "resources/mlpipeline/version.txt").write_text("9.9.9\n")
    refused = released(library)
    assert refused.returncode == 2
    assert "9.9.9" in refused.stderr
    assert "unknown argument '--lines'" in released(library, "--lines").stderr
    assert "--line needs" in released(library, "--line").stderr
