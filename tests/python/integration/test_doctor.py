"""``mlpipeline doctor`` finds what would stop a release, says all of it at once.

The project's faults and the machine's are told apart."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipeline import cli
from prometheus_server import running_prometheus


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mlpipeline.yaml").write_text(
        f"service: doctored\ntrain:\n  command: {sys.executable} train.py\ntarget:\n  local:\n    port: {free_port()}\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "-qm", "one"], cwd=folder, check=True)
    return folder


def doctor(project: Path, *settings: str) -> tuple[int, dict[str, dict[str, str]]]:
    file = project / ".mlpipeline" / "doctor.json"
    options = [part for setting in settings for part in ("--set", setting)]
    code = cli.main(["doctor", "--project", str(project), "--result", str(file), *options])
    return code, {reason["check"]: reason for reason in json.loads(file.read_text())["reasons"]}


@pytest.mark.real
def test_a_healthy_project_on_a_healthy_machine_passes(project: Path) -> None:
    code, checks = doctor(project)
    assert code == 0, checks
    assert {check.split(".")[1] for check in checks} == {
        *("commit", "train", "suites", "dvc", "mlflow", "files", "prometheus", "metrics", "traffic", "router", "port", "disk")
    }


@pytest.mark.real
def test_a_machine_fault_is_worth_a_retry(project: Path) -> None:
    code, checks = doctor(project, f"tracking.uri=http://127.0.0.1:{free_port()}")
    assert code == 3
    assert checks["machine.mlflow"]["verdict"] == "error"


@pytest.mark.real
def test_a_port_in_use_names_its_holder(project: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, checks = doctor(project, f"target.local.port={other.getsockname()[1]}")
    assert code == 3
    assert "cannot listen" in checks["machine.port"]["summary"]


@pytest.mark.real
def test_an_unreachable_prometheus_is_found(project: Path) -> None:
    code, checks = doctor(project, f"verify.prometheus=http://127.0.0.1:{free_port()}", "verify.timeout=1s")
    assert code == 3
    assert checks["machine.prometheus"]["verdict"] == "error"


@pytest.mark.real
def test_a_query_that_cannot_be_read_is_found_before_any_traffic_moves(project: Path, tmp_path: Path) -> None:
    conditions = "verify.conditions=[{name: drift, query: 'sum(drift', success: result < 1}]"
    with running_prometheus(tmp_path / "prometheus", {"nobody": {"127.0.0.1:1": {}}}) as url:
        healthy, _ = doctor(project, f"verify.prometheus={url}", "verify.pack=vllm")
        code, checks = doctor(project, f"verify.prometheus={url}", conditions)
    assert (healthy, code) == (0, 2)
    assert "cannot run this query" in checks["configuration.prometheus"]["summary"]
    assert any("sum(drift" in line for line in checks["configuration.prometheus"]["sample"])


@pytest.mark.real
def test_faults_of_the_project_are_all_told_and_are_no_retry(project: Path) -> None:
    (project / "suite.json").write_text("{}")
    code, checks = doctor(
        project, "train.command=no-such-program --fast", "data.files.a.path=a.csv", "data.files.a.suite=suite.json"
    )
    assert code == 2
    assert "no-such-program" in checks["configuration.train"]["summary"]
    assert "no Great Expectations suite" in checks["configuration.suites"]["summary"]


@pytest.mark.real
def test_a_misspelt_expectation_is_told_before_any_data_is_read(project: Path) -> None:
    misspelt = {"type": "expect_column_values_to_be_uniqe", "kwargs": {"column": "a"}}
    (project / "suite.json").write_text(json.dumps({"name": "a", "expectations": [misspelt]}))
    code, checks = doctor(project, "data.files.a.path=a.csv", "data.files.a.suite=suite.json")
    assert code == 2
    assert "expect_column_values_to_be_uniqe" in checks["configuration.suites"]["summary"]


@pytest.mark.real
def test_a_repository_without_a_commit_is_the_projects_fault(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "mlpipeline.yaml").write_text(
        f"service: fresh\ntrain:\n  command: {sys.executable} x.py\ntarget: {{local: {{port: {free_port()}}}}}\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    code, checks = doctor(folder)
    assert code == 2
    assert "no commit" in checks["configuration.commit"]["summary"]


def test_a_broken_configuration_is_told_like_everywhere_else(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "mlpipeline.yaml").write_text("service: x\ntrane: {}\n")
    assert cli.main(["doctor", "--project", str(project)]) == 2
    assert "nearest  train" in capsys.readouterr().err


@pytest.mark.real
def test_a_folder_that_cannot_be_written_is_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.access
    monkeypatch.setattr("os.access", lambda path, mode, **rest: Path(path) != project and allowed(path, mode, **rest))
    code, checks = doctor(project)
    assert code == 3
    assert checks["machine.disk"]["verdict"] == "error"
    assert any(str(project) in line for line in checks["machine.disk"]["sample"])
