"""Bad input on the real command line: the right exit code, words that help, a result whoever asked for one, and nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from mlpipeline import cli
from mlpipeline.adapters.bundle import Digests, build
from mlpipeline.hosting.machine import free_port
from mlpipeline.record.lease import Holder, Lease
from mlpipeline.record.places import Places

SERVICE = "tiny"
SMALLEST = f"service: {SERVICE}\ntrain: {{command: 'true'}}\n"
ROWS = "data: {files: {rows: {path: rows.csv, expect: [{column: a, not_null: true}]}}}\n"
GATE = "gate: {holdout: holdout.csv, label: label, metrics: [{metric: accuracy, at_least: 0.5}]}\n"


class Answer(NamedTuple):
    """What one call of the command came to."""

    code: int
    said: str
    result: dict[str, object]


class Folder:
    """A project and its state folder, and the command in it."""

    def __init__(self, project: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.project = project
        self.places = Places(project=project, home=home, service=SERVICE)
        self._capsys = capsys

    def write(self, content: str | bytes, name: str = "mlpipeline.yaml") -> None:
        file = self.project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    def git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=self.project, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "one")

    def call(self, *arguments: str) -> Answer:
        """Runs the command as its entry point does. Whatever comes, it is told without a traceback and is no bug."""
        file = self.project.parent / "result.json"
        file.unlink(missing_ok=True)
        self._capsys.readouterr()
        code = cli.main([*arguments, "--project", str(self.project), "--result", str(file)])
        told = self._capsys.readouterr()
        said = told.out + told.err
        assert code != 70, said
        assert "Traceback" not in said
        result = json.loads(file.read_text())
        assert (result["verdict"] == "pass") == (code == 0), said
        return Answer(code, said, result)

    def refused(self, code: int, words: str, *arguments: str) -> Answer:
        """The call ends with this exit code and says these words, in its result too."""
        answer = self.call(*arguments)
        assert answer.code == code, answer.said
        assert words in answer.said, answer.said
        assert answer.result["summary"]
        return answer


@pytest.fixture
def folder(tmp_path: Path, state_folder: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    made = Folder(tmp_path / "project", state_folder, capsys)
    made.project.mkdir()
    return made


CONFIGURATIONS = {
    "empty": ("", "the configuration is empty"),
    "a list": ("- a\n- b\n", "not a list of keys and values"),
    "a word": ("hello", "not a list of keys and values"),
    "a tab": ("service: tiny\ntrain:\n\tcommand: x\n", "mlpipeline.yaml:3"),
    "a key twice": (SMALLEST + "service: other\n", "stands there twice"),
    "an unknown key": (SMALLEST + "gate: {holdot: x}\n", "gate.holdout"),
    "a wrong type": (SMALLEST + "verify: {interval: soon}\n", "a length of time"),
    "NaN": (SMALLEST + GATE.replace("0.5", ".nan"), "finite number"),
    "a huge number": (SMALLEST + "gate: {resamples: 99999999999999}\n", "at most 1000000"),
    "a huge time": (SMALLEST + "verify: {interval: 99999999999999d}\n", "a hundred years"),
    "Latin-1": (SMALLEST.encode() + b"# caf\xe9\n", "not UTF-8"),
    "UTF-16": (SMALLEST.encode("utf-16"), "not UTF-8"),
    "binary": (bytes(range(256)) * 8, "not UTF-8"),
    "two documents": (SMALLEST + "---\n" + SMALLEST, "several YAML documents"),
    "code": ("service: !!python/object/apply:os.system [ls]\n", "tags are not understood"),
    "never closed": ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    "a command with NUL": (SMALLEST.replace("'true'", '"a\\0b"'), "NUL character"),
    "another service's folder": (SMALLEST.replace("tiny", "../x"), "lower-case letters"),
    "impossible together": (SMALLEST + "rollout: {steps: [50, 10]}\n", "must grow"),
    "data without a name": (SMALLEST + "data: {files: {rows: {path: ''}}}\n", "names no file"),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_a_broken_configuration_is_told_with_its_place(folder: Folder, case: str) -> None:
    content, words = CONFIGURATIONS[case]
    folder.write(content)
    folder.refused(2, words, "run")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["--set", "verify.intervall=5s"], "verify.interval"),
        (["--set", "verify.interval"], "wants a key and a value"),
        (["--set", "rollout.steps=[["], "--set rollout.steps"),
        (["--set", "service=\udcff"], "not UTF-8"),
        (["--defaults", "/nowhere/defaults.yaml"], "/nowhere/defaults.yaml"),
        (["--args", "/nowhere/args.json"], "/nowhere/args.json"),
        (["--run", "../../x"], "there is no run"),
    ],
)
def test_a_wrong_override_is_told_with_its_place(folder: Folder, settings: list[str], words: str) -> None:
    folder.write(SMALLEST)
    folder.refused(2, words, "train", *settings)


@pytest.mark.parametrize("seconds", ["nan", "-1", "inf"])
def test_nobody_can_watch_for_a_time_that_is_none(folder: Folder, seconds: str) -> None:
    folder.write(SMALLEST)
    folder.commit()
    folder.call("gate", "data")
    folder.refused(2, "--seconds must be more than 0", "verify", "--seconds", seconds)


def test_an_unknown_variable_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(SMALLEST)
    monkeypatch.setenv("MLPIPELINE__VERIFY__INTERVALL", "5s")
    folder.refused(2, "$MLPIPELINE__VERIFY__INTERVALL", "run")


def test_without_configuration_repository_or_commit_it_is_said_how_to_make_one(folder: Folder) -> None:
    folder.refused(2, "mlpipeline init", "run")
    folder.write(SMALLEST)
    folder.refused(2, "not in a git repository", "run")
    folder.git("init", "--quiet")
    for verb in (["run"], ["gate", "data"], ["train"], ["deploy"], ["switch"], ["report"], ["approve"]):
        folder.refused(2, "git add --all && git commit", *verb)
    folder.refused(2, "nothing was ever released", "rollback")


DATA = {
    "no file": (None, 2, "no such data file"),
    "zero bytes": (b"", 10, "empty (zero bytes)"),
    "no rows": (b"a,b\n", 10, "has no rows"),
    "no such column": (b"b\n1\n", 10, "column a is missing"),
    "a short line": (b"a,b\n1,2\n3\n", 10, "rows.csv:3"),
    "binary": (bytes(range(256)) * 40, 10, "not UTF-8 text"),
    "compressed": (b"\x1f\x8b\x08\x00" + bytes(400), 10, "not UTF-8 text"),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_data_stops_the_release_with_the_file_and_the_reason(folder: Folder, case: str) -> None:
    content, code, words = DATA[case]
    folder.write(SMALLEST + ROWS)
    folder.commit()
    if content is not None:
        folder.write(content, "rows.csv")
    folder.refused(code, words, "gate", "data")
    folder.write("a,b\n1,2\n", "rows.csv")
    assert folder.call("gate", "data").code == 0


def test_a_cut_parquet_file_is_told(folder: Folder) -> None:
    folder.write(SMALLEST + ROWS.replace("rows.csv", "rows.parquet"))
    folder.commit()
    folder.write(b"PAR1" + bytes(60), "rows.parquet")
    folder.refused(10, "rows.parquet", "gate", "data")


def test_data_that_dvc_knows_but_cannot_bring_is_told(folder: Folder) -> None:
    folder.write(SMALLEST + ROWS)
    folder.write("outs:\n- md5: 0123456789abcdef0123456789abcdef\n  hash: md5\n  path: rows.csv\n", "rows.csv.dvc")
    folder.write("", ".dvc/config")
    folder.commit()
    folder.refused(2, "dvc remote add", "gate", "data")
    folder.write("[[[", ".dvc/config")
    folder.refused(2, "DVC's configuration cannot be read", "gate", "data")
    folder.write("{{{", "rows.csv.dvc")
    folder.refused(2, "rows.csv.dvc", "gate", "data")


SAVE = "rm -rf model && cp -r made model"
MODEL = """
flavors: {python_function: {python_version: 3.11.7, loader_module: nowhere}}
signature: {inputs: '[{"name": "distance", "type": "double"}]'}
"""
NO_SERVER = "tracking: {uri: 'http://127.0.0.1:9'}"
TRAININGS = {
    "leaves nothing": ("true", "", 10, "left no model"),
    "leaves a pickle": ("rm -rf model; touch model", "", 10, "not an MLflow model"),
    "leaves half a model": (f"{SAVE} && : > model/MLmodel", "", 10, "ended while it saved"),
    "leaves no signature": (f"{SAVE} && sed -i /signature/d model/MLmodel", "", 10, "no signature"),
    "leaves no words": (f"{SAVE} && printf '\\377' > model/requirements.txt", "", 10, "not UTF-8 text"),
    "fails": ("echo out of luck; exit 3", "", 10, "out of luck"),
    "is not there": ("no-such-command", "", 10, "not on the PATH"),
    "is killed": ("kill -9 $$", "", 3, "killed by SIGKILL"),
    "crashes": ("kill -SEGV $$", "", 10, "killed by SIGSEGV"),
    "hangs": ("sleep 1000", "  timeout: 500ms", 10, "time limit of 0.5 s"),
    "has no server": (SAVE, NO_SERVER, 3, "the MLflow server does not answer"),
    "has no such server": (SAVE, NO_SERVER.replace("http", "nonsense"), 2, "not the address of an MLflow server"),
}


@pytest.fixture
def trainable(folder: Folder) -> Folder:
    """A project whose model lies ready in ``made``; the training is whatever a test says."""
    folder.write(MODEL, "made/MLmodel")
    folder.write("made/\nmodel/\n", ".gitignore")
    folder.commit()
    return folder


@pytest.mark.parametrize("case", TRAININGS)
def test_a_training_that_comes_to_nothing_is_told_by_what_became_of_it(trainable: Folder, case: str) -> None:
    command, more, code, words = TRAININGS[case]
    trainable.write(f"service: {SERVICE}\ntrain:\n  command: {json.dumps(command)}\n{more}\n")
    trainable.call("gate", "data")
    trainable.refused(code, words, "train")
    assert trainable.call("status").code == 0


def test_a_training_that_ran_out_of_disk_is_not_the_candidates_fault(trainable: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    trainable.write(SMALLEST.replace("true", "exit 1"))
    trainable.call("gate", "data")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        trainable.refused(3, "the disk is full", "train")
    trainable.refused(10, "exit code 1", "train")


def with_result(folder: Folder, verb: str, **evidence: object) -> None:
    """Gives the newest run a passed result of a verb that is not under test."""
    (run,) = folder.places.runs.iterdir()
    content = {
        "schema": 1,
        "verb": verb,
        "service": SERVICE,
        "run": run.name,
        "verdict": "pass",
        "summary": "",
        "evidence": evidence,
    }
    folder.write(json.dumps(content), f".mlpipeline/runs/{run.name}/results/{verb}.json")


HOLDOUTS = {
    "no file": (None, "the holdout does not exist"),
    "zero bytes": (b"", "the holdout cannot be read"),
    "no rows": (b"distance,delay,hour,label\n", "the holdout has no rows"),
    "no label": (b"distance,delay,hour\n1,2,3\n", "has no column 'label'"),
    "an empty label": (b"distance,delay,hour,label\n1,2,3,\n1,2,3,late\n", "1 of 2 rows of the holdout have no label"),
    "binary": (bytes(range(256)), "the holdout is not UTF-8 text"),
}


@pytest.mark.parametrize("case", HOLDOUTS)
def test_a_holdout_nobody_can_judge_by_is_told(folder: Folder, case: str) -> None:
    content, words = HOLDOUTS[case]
    folder.write(SMALLEST + GATE)
    folder.commit()
    folder.call("gate", "data")
    with_result(folder, "train", model="model", model_digest="sha256:0")
    (folder.project / "model").mkdir()
    if content is not None:
        folder.write(content, "holdout.csv")
    folder.refused(2, words, "gate", "model")


def test_a_model_that_went_away_or_changed_is_not_packaged(trainable: Folder) -> None:
    trainable.write(SMALLEST)
    trainable.call("gate", "data")
    with_result(trainable, "train", model="model", model_digest="sha256:0")
    trainable.refused(2, "not there any more", "package")
    shutil.copytree(trainable.project / "made", trainable.project / "model")
    trainable.refused(2, "not the one that was trained", "package")


@pytest.fixture
def packaged(folder: Folder) -> Iterator[Path]:
    """The bundle of a run that was packaged, in a project whose router would listen on a port of its own."""
    folder.write(f"{SMALLEST}target: {{local: {{port: {free_port()}}}}}\n")
    folder.write(MODEL, "MLmodel")
    folder.commit()
    folder.call("gate", "data")
    digests = Digests(folder.places.work / "digests.json")
    sources = {"model/MLmodel": folder.project / "MLmodel"}
    made = build(folder.places.bundles, sources, {"requirements.lock": ""}, lock="sha256:0", python="3.11", digests=digests)
    with_result(folder, "package", digest=made.manifest.digest, path=str(made.path))
    yield made.path
    folder.call("stop")


@pytest.mark.real
def test_a_bundle_that_was_changed_or_removed_after_it_was_judged_never_starts(folder: Folder, packaged: Path) -> None:
    with (packaged / "model" / "MLmodel").open("a") as file:
        file.write("# another model\n")
    answer = folder.refused(3, "the bundle was changed after it was packaged", "deploy")
    assert "model/MLmodel" in answer.said
    shutil.rmtree(packaged)
    folder.refused(3, "the bundle is not there any more", "deploy")


def test_two_runs_at_once_one_wins_and_the_other_says_who_holds_the_service(folder: Folder) -> None:
    folder.write(SMALLEST)
    folder.commit()
    lease = Lease(folder.places.lease)
    lease.acquire(Holder(pid=4711, host="builder", user="ann", run="r1", since="2026-03-01T03:12:00Z"))
    try:
        for verb in ("run", "rollback"):
            answer = folder.refused(3, "another worker holds this service", verb)
            assert "process 4711 on builder" in answer.said
            assert "ann" in answer.said
        assert "4711" in folder.call("status").said
    finally:
        lease.release()


def damaged_ledger(folder: Folder) -> None:
    folder.places.ledger.write_text("garbage\n" + folder.places.ledger.read_text())


def damaged_journal(folder: Folder) -> None:
    folder.places.journal.write_text("{")


def damaged_run(folder: Folder) -> None:
    for file in folder.places.runs.glob("*/run.json"):
        file.write_text("{")


def damaged_result(folder: Folder) -> None:
    for file in folder.places.runs.glob("*/results/gate-data.json"):
        file.write_text("[]")


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (damaged_ledger, 3, "ledger.jsonl:1"),
        (damaged_journal, 3, "release.json.broken"),
        (damaged_run, 10, "left no model"),
        (damaged_result, 10, "left no model"),
    ],
)
def test_damaged_records_are_told_or_made_anew_and_status_answers_anyway(
    folder: Folder, damage: Callable[[Folder], None], code: int, words: str
) -> None:
    folder.write(SMALLEST)
    folder.commit()
    folder.call("gate", "data")
    damage(folder)
    folder.refused(code, words, "run")
    assert folder.call("status").code == 0


def test_a_verdict_that_the_ledger_cannot_take_is_none(folder: Folder) -> None:
    folder.write(SMALLEST)
    folder.commit()
    folder.places.ledger.mkdir(parents=True)
    folder.refused(3, "a folder stands where a file is needed", "gate", "data")
    assert not list(folder.places.runs.glob("*/results/*.json"))
    folder.places.ledger.rmdir()
    folder.call("gate", "data")
    assert "gate-data" in folder.call("history").said


def test_a_state_folder_that_cannot_be_used_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(SMALLEST)
    folder.commit()
    monkeypatch.setenv("MLPIPELINE_HOME", str(folder.project / "mlpipeline.yaml"))
    folder.refused(3, "a file stands where a folder is needed", "run")
    monkeypatch.setenv("MLPIPELINE_HOME", "/proc/nowhere")
    folder.refused(3, "/proc/nowhere", "run")
    monkeypatch.undo()
    (folder.project / ".mlpipeline" / "runs").rename(folder.project / "runs")
    folder.write("", ".mlpipeline/runs")
    folder.refused(3, "a file stands where a folder is needed", "run")


def test_no_room_to_write_is_told_and_the_next_call_works(folder: Folder) -> None:
    """A process that may write no byte stands for a full disk: what fails is the same write, in the real program."""
    folder.write(SMALLEST)
    folder.commit()
    command = [sys.executable, "-m", "mlpipeline", "gate", "data"]
    done = subprocess.run(
        command,
        cwd=folder.project,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)),
    )
    assert done.returncode == 3, done.stderr
    assert "larger than this process may write" in done.stderr
    assert folder.call("gate", "data").code == 0
