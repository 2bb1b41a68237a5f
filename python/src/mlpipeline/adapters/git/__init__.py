"""The project's repository, through the ``git`` command."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlpipeline.errors import ConfigurationError, EnvironmentFault

_LIMIT_SECONDS = 60.0


class Checkout(msgspec.Struct, frozen=True):
    """What is checked out.

    Args:
        commit: Full hash.
        branch: Short name; empty when the head is detached (as Jenkins checks out).
        dirty: ``sha256:...`` of the uncommitted changes to tracked files; empty when there are none.
    """

    commit: str
    branch: str
    dirty: str


def checkout(project: Path, *, written: Sequence[str] = ()) -> Checkout:
    """Reads commit, branch and uncommitted changes.

    Args:
        project: Any folder of the repository.
        written: Tracked files (relative to the project) that a release writes itself, such as its metrics, and that must not
            make it look like another one. Every ``dvc.lock`` counts as such: its content is the data version.

    Raises ConfigurationError without a repository or without a commit, EnvironmentFault without a working git.
    """
    top = _git(project, "rev-parse", "--show-toplevel")
    if top.returncode != 0:
        raise _no_repository(project, top.stderr.decode(errors="replace").strip())
    head = _git(project, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head.returncode != 0:
        raise ConfigurationError(
            "the repository has no commit, and a release is always of a commit",
            facts={"folder": project},
            likely="git init was run, but nothing was committed yet",
            tries=("git add --all && git commit -m 'First version'",),
        )
    branch = _git(project, "symbolic-ref", "--quiet", "--short", "HEAD")
    return Checkout(
        commit=head.stdout.decode().strip(),
        branch=branch.stdout.decode(errors="replace").strip() if branch.returncode == 0 else "",
        dirty=_dirty(project, written),
    )


def file_at(project: Path, path: str, commit: str) -> bytes | None:
    """A file (path relative to the project) as it was at the commit; nothing when git does not track it there."""
    found = _git(project, "cat-file", "blob", f"{commit}:./{path}")
    return found.stdout if found.returncode == 0 else None


def committed(project: Path, folder: Path) -> bool:
    """Whether the folder is tracked and stands as it was committed."""
    tracked = _git(project, "ls-files", "--", str(folder))
    changed = _git(project, "status", "--porcelain", "--ignored", "--untracked-files=all", "--", str(folder))
    return bool(tracked.stdout) and changed.returncode == 0 and not changed.stdout


def commit_time(project: Path, commit: str) -> int:
    """When the commit was made, Unix seconds; 0 when git does not know it here."""
    found = _git(project, "show", "--no-patch", "--format=%ct", commit)
    text = found.stdout.decode(errors="replace").strip()
    return int(text) if found.returncode == 0 and text.isdigit() else 0


def _dirty(project: Path, written: Sequence[str]) -> str:
    excluded = [":(top,exclude,glob)**/dvc.lock", *(f":(exclude,literal){path}" for path in written)]
    # Configuration of the user (pagers, external tools, prefixes) must not change the digest.
    changes = _git(
        project,
        *("-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "-c", "core.quotePath=true"),
        *("diff", "HEAD", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"),
        *("--unified=3", "--ignore-submodules=none", "--diff-algorithm=myers"),
        *("--", ":(top)", *excluded),
    )
    if changes.returncode != 0:
        raise EnvironmentFault(
            "git cannot tell what was changed",
            facts={"folder": project, "git said": changes.stderr.decode(errors="replace").strip()},
            tries=("git status",),
        )
    return f"sha256:{hashlib.sha256(changes.stdout).hexdigest()}" if changes.stdout else ""


def _git(project: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _REDIRECTING}
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=project,
            env={**environment, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        if not project.is_dir():
            raise ConfigurationError("the project folder does not exist", facts={"folder": project}) from error
        raise EnvironmentFault(
            "git is not installed", facts={"PATH": os.environ.get("PATH", "")}, tries=("apt-get install git",)
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFault(
            f"git did not answer within {_LIMIT_SECONDS:.0f} s",
            facts={"command": " ".join(["git", *arguments]), "folder": project},
            likely="the repository lies on a file system that hangs",
        ) from error


_REDIRECTING = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS"})
"""A hook that starts the worker sets these; they would point every question at another repository."""


def _no_repository(project: Path, said: str) -> ConfigurationError:
    if "dubious ownership" in said:
        return ConfigurationError(
            "git refuses the repository, because it belongs to another user",
            facts={"folder": project, "git said": said.splitlines()[0]},
            tries=(f"git config --global --add safe.directory {project}",),
        )
    return ConfigurationError(
        "the project is not in a git repository, and a release is always of a commit",
        facts={"folder": project},
        tries=("git init && git add --all && git commit -m 'First version'", "start mlpipeline in the project's folder"),
    )
