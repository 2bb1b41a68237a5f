"""``verify`` of colours that something else deployed: there is no run yet, and looking needs none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlpipeline import cli
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import verify
from mlpipeline.verbs.context import Context


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLPIPELINE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mlpipeline.yaml").write_text(
        "service: iris\ntrain: {command: 'true'}\nverify: {prometheus: 'http://prometheus:9090'}\n"
    )
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for arguments in (("init", "-q"), ("add", "--all"), (*identity, "commit", "-qm", "one")):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize(
    ("options", "code", "kept"),
    [(["--candidate", "green"], 0, True), (["--candidate", "green", "--plan"], 0, False), (["--plan"], 0, False), ([], 2, False)],
)
def test_a_run_begins_only_where_something_is_recorded(
    project: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, kept: bool
) -> None:
    def watched(context: Context, run: Run, **_: object) -> Result:
        return Result(verb="verify", service=context.config.service, run=run.id, verdict=Verdict.PASS, summary="", worker="0")

    monkeypatch.setattr(verify, "run", watched)
    assert cli.main(["verify", "--project", str(project), *options]) == code
    assert bool(list(project.glob(".mlpipeline/runs/*"))) is kept
