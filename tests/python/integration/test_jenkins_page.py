"""The how-to page for Jenkins: its commands do what it says, and its files are what the worker reads."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fake_nvml import Card, FakeNvml
from jenkins_server import TOKEN, FakeJenkins, build, fake_jenkins
from mlpipeline.cli import main
from mlpipeline.config.load import load
from tutorial_page import blocks

PAGES = Path(__file__).resolve().parents[3] / "docs" / "how-to"


def commands(page: str) -> list[list[str]]:
    lines = [line for block in blocks((PAGES / page).read_text()) if not block.file for line in block.text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("mlpipeline ")]


def files(page: str) -> dict[str, str]:
    return {block.file: block.text for block in blocks((PAGES / page).read_text()) if block.file}


def release_waits(jenkins: FakeJenkins) -> None:
    jenkins.builds["churn/release"] = [build(7, 1000, result=None)]
    jenkins.ask("churn/release", 7)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the files of the page, and its folder as the working folder."""
    folder = tmp_path / "churn"
    folder.mkdir()
    for name, text in files("jenkins.md").items():
        start = "service: churn\ntrain: {command: dvc repro}\ntarget: {local: {port: 8099}}\n"
        (folder / name).write_text(start + text if name.endswith(".yaml") else text)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "remote", "add", "origin", "https://git.example.org/ml/churn.git"], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLPIPELINE_HOME", str(tmp_path / "state"))
    return folder


def test_the_commands_of_the_page_work_as_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    with fake_jenkins() as jenkins:
        for name, value in jenkins.environment().items():
            monkeypatch.setenv(name, value)
        secret = tmp_path / ".config" / "mlpipeline" / "jenkins"
        secret.parent.mkdir(parents=True)
        secret.write_text(f"url={jenkins.url}\nuser=admin\ntoken={TOKEN}\n")
        secret.chmod(0o600)
        for words in commands("jenkins.md"):
            verb = " ".join(words[:2])
            if verb in {"jenkins approve", "jenkins reject"}:
                release_waits(jenkins)
            code = main([str(secret) if word.startswith("~") else word for word in words])
            printed = capsys.readouterr()
            # Nothing was released and nothing ran yet: the night and the health of the jobs are open questions.
            assert code == (11 if verb in {"nightly", "jenkins health"} else 0), (words, printed)
            told.append(printed.out)
            assert TOKEN not in printed.out + printed.err
    assert {answer[0] for answer in jenkins.answers} == {"submit", "abort"}
    assert jenkins.started == [("churn/release", {"REASON": "retrain: new tariffs since Monday"})]
    assert set(jenkins.jobs) == {"churn", "churn/release", "churn/nightly"}
    assert "Europe/Paris" in jenkins.jobs["churn/nightly"]
    assert "3 of 3 items would change" in told[0] and "everything is as it should be" in told[2]


def test_the_settings_of_the_page_are_valid(project: Path) -> None:
    nightly = load(project, environment={}).config.nightly
    assert (nightly.zone, nightly.live.enabled, nightly.accuracy.at_least) == ("Europe/Paris", True, 0.8)


def test_the_command_of_the_gpu_page_works_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(Card()))
    for name in ("MLPIPELINE_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    ((first, *rest),) = commands("gpu-agents.md")
    assert main([first, *rest]) == 0, capsys.readouterr().err
