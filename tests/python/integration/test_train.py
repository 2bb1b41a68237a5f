from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from fake_nvml import Card, FakeNvml
from mlpipeline.config.sections.records import Tracking
from mlpipeline.config.values import Duration
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.verbs import train
from small_project import SmallProject, TrackingRegistry


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    return SmallProject(tmp_path)


def test_training_is_recorded_with_everything_it_was_made_of(project: SmallProject) -> None:
    run = project.run()
    project.passed(run, "gate-data", data_version={"data/flights.parquet": "md5:0123"})
    result = train.run(project.context(), run)
    evidence = result.evidence
    assert result.verdict is Verdict.PASS
    assert evidence["commit"] == run.commit and evidence["dirty"] == ""
    assert evidence["data_version"] == {"data/flights.parquet": "md5:0123"}
    assert evidence["params"] == {"forest.trees": "10", "seed": "1"}
    assert evidence["metrics"] == {"auc": 0.75, "by.june": 0.7}
    assert evidence["model"] == "model"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", evidence["model_digest"])
    assert set(evidence["environment"]) == {"python", "fingerprint"}
    assert evidence["train_seconds"] > 0
    assert evidence["mlflow_run"] == "a1b2"
    assert project.context().runs.result(run.id, "train") == result
    assert "training" in project.console.lines
    assert (project.context().runs.folder(run.id) / result.links["log"]).read_text() == "training\n"
    assert isinstance(project.registry, TrackingRegistry)
    [(tags, metrics, params)] = project.registry.trainings
    assert tags["mlpipeline.commit"] == run.commit and tags["mlpipeline.run"] == run.id
    assert metrics == evidence["metrics"] and params == evidence["params"]


def test_uncommitted_changes_are_in_the_record(project: SmallProject) -> None:
    (project.folder / "params.yaml").write_text("seed: 2\n")
    evidence = train.run(project.context(), project.run()).evidence
    assert str(evidence["dirty"]).startswith("sha256:")
    assert evidence["params"] == {"seed": "2"}


def test_second_training_of_the_same_inputs_does_no_work(project: SmallProject) -> None:
    run = project.run()
    first = train.run(project.context(), run)
    written = (project.folder / "model" / "MLmodel").stat().st_mtime_ns
    entries = len(project.context().ledger.read())
    assert train.run(project.context(), run) == first
    assert (project.folder / "model" / "MLmodel").stat().st_mtime_ns == written
    assert len(project.context().ledger.read()) == entries


@pytest.mark.parametrize("change", ["code", "data", "model", "command"])
def test_changed_inputs_or_a_touched_model_are_trained_again(project: SmallProject, change: str) -> None:
    run = project.run()
    project.passed(run, "gate-data", data_version={"d": "md5:1"})
    train.run(project.context(), run)
    project.passed(run, "package", digest="sha256:of the old model")
    if change == "code":
        with (project.folder / "train.py").open("a") as file:
            file.write("print('another')\n")
    elif change == "data":
        project.passed(run, "gate-data", data_version={"d": "md5:2"})
    elif change == "model":
        (project.folder / "model" / "MLmodel").write_text("edited: by hand\n")
    else:
        project.configured(command=f"{project.config.train.command} --more")
    train.run(project.context(), run)
    assert isinstance(project.registry, TrackingRegistry)
    assert len(project.registry.trainings) == 2
    assert project.context().runs.result(run.id, "package") is None, "it rested on the older model"


def test_command_gets_the_callers_environment_and_where_to_log_to(project: SmallProject) -> None:
    names = ["PATH", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLPIPELINE_RUN", "DVC_NO_ANALYTICS"]
    (project.folder / "train.py").write_text(
        (project.folder / "train.py").read_text()
        + f"import os; pathlib.Path('seen.json').write_text(json.dumps({{name: os.environ[name] for name in {names}}}))\n"
    )
    run = project.run()
    train.run(project.context(), run)
    assert project.wrote() == {
        "PATH": os.environ["PATH"],
        "MLFLOW_TRACKING_URI": f"sqlite:///{project.places.tracking}/mlflow.db",
        "MLFLOW_EXPERIMENT_NAME": "tiny",
        "MLPIPELINE_RUN": run.id,
        "DVC_NO_ANALYTICS": "1",
    }


def left_by_an_earlier_training(project: SmallProject) -> None:
    shutil.copytree(project.folder / "made", project.folder / "model")
    project.configured(command="echo up to date", metrics="")


def test_a_training_that_leaves_the_model_of_an_earlier_one_left_no_model(project: SmallProject) -> None:
    left_by_an_earlier_training(project)
    with pytest.raises(Failed, match="left no model: the one that stands there is from before") as caught:
        train.run(project.context(), project.run())
    assert "echo up to date" in caught.value.render()


@pytest.mark.parametrize("keeper", ["earlier training", "git", "dvc"])
def test_command_that_finds_nothing_to_do_passes_where_the_model_is_known_and_says_so(project: SmallProject, keeper: str) -> None:
    left_by_an_earlier_training(project)
    if keeper == "git":
        project.git("add", "--force", "model")
        project.git("commit", "--quiet", "-m", "the model")
    elif keeper == "dvc":
        subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=project.folder, check=True)
        (project.folder / ".gitignore").write_text("made/\nmetrics.json\n.mlpipeline/\n")
        subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", "model"], cwd=project.folder, check=True)
        project.git("add", "--all")
        project.git("commit", "--quiet", "-m", "the model")
    else:
        command = "test -e model/MLmodel || cp -r made model"
        shutil.rmtree(project.folder / "model")
        project.configured(command=command, metrics="")
        train.run(project.context(), project.run("earlier"))
    assert "unchanged" in train.run(project.context(), project.run()).summary


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("echo no such column; exit 3", "failed with exit code 3"),
        ("no-such-program-anywhere", "failed with exit code 127"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("true", "left no model"),
        ("mkdir -p model", "not an MLflow model"),
        ("mkdir -p model && touch model/MLmodel", "MLmodel file is empty"),
        ("cp -r made model && sed -i '/^signature:/,/^type_hint/d' model/MLmodel", "no signature"),
        ("cp -r made model && sed -i 's/python_function:/r_function:/' model/MLmodel", "no python_function"),
        ("cp -r made model", "no readable metrics"),
        ("cp -r made model; echo '{' >metrics.json", "no readable metrics"),
    ],
)
def test_bad_training_fails_with_the_reason_in_error_and_record(project: SmallProject, command: str, what: str) -> None:
    project.configured(command=command)
    run = project.run()
    with pytest.raises(Failed, match=what) as caught:
        train.run(project.context(), run)
    result = project.context().runs.result(run.id, "train")
    assert result is not None and result.verdict is Verdict.FAIL
    assert what in result.summary and caught.value.what == result.summary
    assert result.evidence["commit"] == run.commit
    assert project.context().ledger.read()[-1].verdict == "fail"
    assert caught.value.exit_code == 10


def test_last_lines_of_a_failed_training_are_in_the_error(project: SmallProject) -> None:
    project.configured(command="echo 'KeyError: delay' >&2; exit 1")
    with pytest.raises(Failed) as caught:
        train.run(project.context(), project.run())
    assert "KeyError: delay" in caught.value.facts["last lines"]


@pytest.mark.real
def test_hung_training_is_told_from_a_failed_one(project: SmallProject) -> None:
    project.configured(command="sleep 600", timeout=Duration(0.5))
    with pytest.raises(Failed, match="did not end within its time limit"):
        train.run(project.context(), project.run())


def test_training_killed_from_outside_is_worth_a_retry_and_no_verdict(project: SmallProject) -> None:
    project.configured(command="kill -KILL $$")
    run = project.run()
    with pytest.raises(EnvironmentFault, match="killed by SIGKILL") as caught:
        train.run(project.context(), run)
    assert "memory" in caught.value.likely
    assert project.context().runs.result(run.id, "train") is None


def test_unreachable_mlflow_is_told_before_hours_are_spent(project: SmallProject) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        project.config = msgspec.structs.replace(project.config, tracking=Tracking(uri=uri))
        with pytest.raises(EnvironmentFault, match="MLflow server does not answer") as caught:
            train.run(project.context(), project.run())
    assert caught.value.facts["server"] == uri
    assert not (project.folder / "model").exists()


def test_training_that_could_not_be_logged_is_not_repeated(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    run, registry = project.run(), project.registry
    assert isinstance(registry, TrackingRegistry)

    def down(*_: object) -> str:
        raise EnvironmentFault("down")

    monkeypatch.setattr(registry, "log_training", down)
    with pytest.raises(EnvironmentFault, match="down"):
        train.run(project.context(), run)
    monkeypatch.undo()
    project.folder.joinpath("made").rename(project.folder / "away")
    result = train.run(project.context(), run)
    assert result.verdict is Verdict.PASS and len(registry.trainings) == 1


def test_moved_checkout_is_refused(project: SmallProject) -> None:
    run = project.run()
    (project.folder / "params.yaml").write_text("seed: 3\n")
    project.git("commit", "--quiet", "--all", "-m", "second")
    with pytest.raises(ConfigurationError, match="another commit"):
        train.run(project.context(), run)


_WORKER = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from mlpipeline.adapters.process import run_command
import os
run_command({command!r}, folder=Path({folder!r}), environment=dict(os.environ), log=Path({log!r}),
            record=Path({record!r}), limit_seconds=600)
"""


@pytest.mark.real
def test_training_of_a_killed_worker_is_ended_before_the_next_one_starts(project: SmallProject, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = _WORKER.format(
        paths=sys.path,
        command=f"echo $$ >{pid_file}; exec sleep 600",
        folder=str(project.folder),
        log=str(tmp_path / "log"),
        record=str(project.places.work / "train.json"),
    )
    worker = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 60
        while not (pid_file.is_file() and pid_file.read_text().strip()):
            assert time.monotonic() < deadline and worker.poll() is None
            time.sleep(0.05)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    orphan = int(pid_file.read_text())
    os.kill(orphan, 0)
    assert train.run(project.context(), project.run()).verdict is Verdict.PASS
    stat = Path(f"/proc/{orphan}/stat")
    assert not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_training_records_what_it_took_from_its_gpus(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(Card(), Card(free=60 << 30)))
    monkeypatch.setenv("MLPIPELINE_GPUS", "1")
    told = train.run(project.context(), project.run())
    use = told.evidence["gpu"]
    assert isinstance(use, dict)
    assert (use["devices"], use["peak_memory_bytes"]) == (("GPU-1",), 20 << 30)
    assert "trouble" not in use
    assert told.reasons[0].numbers["gpu_seconds"] == use["held_seconds"]
