"""The command line: exit codes, results even on errors, and words instead of tracebacks."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipeline import calling, cli
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.record.ledger import Entry, Ledger
from mlpipeline.record.places import Places, home_folder
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run, RunStore

FILE = "service: churn\ntrain:\n  command: dvc repro\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mlpipeline.yaml").write_text(FILE)
    return folder


def outcome_is(monkeypatch: pytest.MonkeyPatch, outcome: Result | str | BaseException) -> None:
    def answer(_self: calling.Calling) -> Result | str:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(calling.Calling, "outcome", answer)


def result_of(verdict: Verdict, check: str = "metric.f1") -> Result:
    return Result(
        verb="verify", service="churn", run="r", verdict=verdict, summary="so it is", reasons=(Reason(check, verdict, "why"),)
    )


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.PASS, 0), (Verdict.FAIL, 10), (Verdict.INCONCLUSIVE, 11), (Verdict.ERROR, 3)]
)
def test_the_exit_code_follows_the_verdict(monkeypatch: pytest.MonkeyPatch, verdict: Verdict, code: int) -> None:
    outcome_is(monkeypatch, result_of(verdict))
    assert cli.main(["verify"]) == code


def test_what_only_the_project_can_mend_is_not_worth_a_retry() -> None:
    assert cli.exit_code(result_of(Verdict.ERROR, "configuration.commit")) == 2


@pytest.mark.parametrize(
    ("error", "code", "check", "verdict"),
    [
        (ConfigurationError("wrong"), 2, "error.configuration", "error"),
        (EnvironmentFault("down"), 3, "error.environment", "error"),
        (Failed("exit 1"), 10, "error.candidate", "fail"),
        (KeyboardInterrupt(), 130, "error.worker", "error"),
        (RuntimeError("oops"), 70, "error.worker", "error"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 3, "error.environment", "error"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 3, "error.environment", "error"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x/y"), 3, "error.environment", "error"),
        (RuntimeError("no text: \udcff"), 70, "error.worker", "error"),
    ],
)
def test_every_error_leaves_a_result_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    project: Path,
    error: BaseException,
    code: int,
    check: str,
    verdict: str,
) -> None:
    outcome_is(monkeypatch, error)
    file = project / "out" / "result.json"
    assert cli.main(["train", "--project", str(project), "--result", str(file)]) == code
    left = json.loads(file.read_text())
    assert (left["schema"], left["verb"], left["verdict"], left["reasons"][0]["check"]) == (1, "train", verdict, check)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert f"[exit {code}]" in said


def test_a_bug_keeps_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    outcome_is(monkeypatch, RuntimeError("oops"))
    assert cli.main(["--project", str(project), "status"]) == 70
    (log,) = (project / ".mlpipeline").glob("crash-*.log")
    assert "RuntimeError: oops" in log.read_text()
    assert str(log) in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    outcome_is(monkeypatch, KeyboardInterrupt())
    assert cli.main(["run"]) == 130
    assert "mlpipeline run (goes on where this stopped)" in capsys.readouterr().err
    outcome_is(monkeypatch, KeyboardInterrupt("SIGTERM"))
    assert cli.main(["rollback"]) == 130
    said = capsys.readouterr().err
    assert "interrupted by SIGTERM" in said
    assert "mlpipeline rollback (goes on where this stopped)" in said


def test_a_typo_in_the_verb_names_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    assert cli.main(["verfy", "--result", str(file)]) == 2
    said = capsys.readouterr().err
    assert "there is no verb 'verfy'" in said
    assert "nearest  verify" in said
    assert json.loads(file.read_text())["verdict"] == "error"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["config", "--projct", "x"], "--project"),
        (["config", "--proj", "x"], "--project"),
        (["gate", "modell"], "model"),
        (["gate"], "required"),
        (["--set"], "expected one argument"),
        (["verify", "--seconds", "soon"], "invalid float"),
        (["config", "--set", "service=\udcff"], "not UTF-8"),
    ],
)
def test_wrong_options_are_configuration_errors(capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    assert cli.main(argv) == 2
    assert words in capsys.readouterr().err


def test_help_and_version_and_nothing_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert cli.main(["--version"]) == 0
    assert cli.main([]) == 0
    assert "rollback" in capsys.readouterr().out


def test_options_may_stand_before_or_after_the_verb(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    code = cli.main(["--project", str(project), "--set", "verify.interval=4s", "config", "--set", "verify.timeout=9s"])
    said = capsys.readouterr().out
    assert code == 0
    assert "command line (--set verify.interval)" in said
    assert "command line (--set verify.timeout)" in said


def test_config_shows_every_value_with_its_layer(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    assert cli.main(["--project", str(project), "config", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["train.command"] == {"value": "dvc repro", "layer": "file", "where": "mlpipeline.yaml:3"}
    assert shown["train.timeout"] == {"value": "4h", "layer": "built-in default"}


def test_the_arguments_file_says_the_same_as_options(capsys: pytest.CaptureFixture[str], project: Path, tmp_path: Path) -> None:
    file = tmp_path / "args.json"
    file.write_text(json.dumps({"project": str(project), "config": {"verify": {"interval": "7s"}}, "set": ["verify.timeout=8s"]}))
    assert cli.main(["config", "--args", str(file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verify.interval"] == {"value": "7s", "layer": "command line", "where": "arguments file"}
    assert shown["verify.timeout"]["value"] == "8s"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"projct": "x"}', "nearest  project"),
        ("{", "not JSON"),
        ("[]", "JSON object"),
        ('{"set": "x"}', "Expected `array`"),
        ('{"config": 5}', "must be an object of sections"),
    ],
)
def test_a_wrong_arguments_file_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "args.json"
    file.write_text(content)
    assert cli.main(["config", "--args", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_that_is_gone_or_has_no_name_in_text_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, unnamed = tmp_path / "gone", tmp_path / "\udcff"
    for folder in (gone, unnamed):
        folder.mkdir()
    monkeypatch.chdir(unnamed)
    assert cli.main(["status"]) == 2
    assert "not UTF-8" in capsys.readouterr().err
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.main(["status"]) == 3
    assert "does not exist any more" in capsys.readouterr().err


def test_what_others_wrote_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome_is(monkeypatch, Failed("a \x1b[2J b\r", facts={"last lines": "é\tone\nü\x9btwo"}))
    assert cli.main(["status"]) == 10
    said = capsys.readouterr().err
    assert "a \\x1b[2J b\\r" in said
    assert "é\tone" in said
    assert "ü\\x9btwo" in said


def test_a_reader_that_goes_away_is_no_error(project: Path) -> None:
    command = f"{sys.executable} -m mlpipeline --project {project} config --schema | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def every_option_reaches_the_verb() -> list[tuple[str, set[str]]]:
    from mlpipeline.commands import COMMANDS, Command

    def done_by_the_command_line(command: Command) -> set[str]:
        other = {"verify": {"replay"}, "gate-data": {"draft"}}.get(command.name, set())
        return other | ({"reason"} if command.run == "start" else set())

    return [
        (command.name, {option.parameter or option.key for option in command.options} - done_by_the_command_line(command))
        for command in COMMANDS
        if command.name != "config"
    ]


@pytest.mark.parametrize(("verb", "options"), every_option_reaches_the_verb())
def test_every_option_of_a_verb_is_a_parameter_of_its_function(verb: str, options: set[str]) -> None:
    import importlib
    import inspect

    function = importlib.import_module(f"mlpipeline.verbs.{verb.replace('-', '_')}").run
    assert options <= set(inspect.signature(function).parameters)


def test_status_and_history_answer_people_and_programs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("status", "history"):
        assert cli.main([verb, "--project", str(project)]) == 0
        capsys.readouterr()
        assert cli.main([verb, "--project", str(project)]) == 0
        text = capsys.readouterr().out
        file = project / f"{verb}.json"
        assert cli.main([verb, "--project", str(project), "--result", str(file)]) == 0
        assert json.loads(file.read_text())["evidence"]["lines"] == text.splitlines()
        assert (project / ".mlpipeline" / "results" / f"{verb}.json").read_bytes() == file.read_bytes()
        capsys.readouterr()


def entries_of(service: str) -> list[tuple[str, str]]:
    places = Places(project=Path(), home=home_folder(), service=service)
    return [(entry.event, entry.summary) for entry in Ledger(places.ledger).read()]


def test_a_look_is_one_entry_until_it_says_something_else_or_something_is_decided(project: Path) -> None:
    for verb in ("status", "status", "history", "history", "status"):
        assert cli.main([verb, "--project", str(project)]) == 0
    looks = [("status", "churn: nothing was released yet"), ("history", "0 decisions, the chain is whole")]
    assert entries_of("churn") == looks
    places = Places(project=project, home=home_folder(), service="churn")
    Ledger(places.ledger).append(Entry(seq=0, at="2026-03-01T03:12:00Z", service="churn", event="train"))
    for verb in ("history", "status", "history"):
        assert cli.main([verb, "--project", str(project)]) == 0
    assert entries_of("churn") == [*looks, ("train", ""), ("history", "1 decision, the chain is whole"), looks[0]]


def test_a_look_answers_where_nothing_can_be_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = Places(project=project, home=home_folder(), service="churn")
    places.ledger.mkdir(parents=True)
    (project / ".mlpipeline" / "results").parent.mkdir(exist_ok=True)
    (project / ".mlpipeline" / "results").write_text("a file stands where a folder is needed")
    assert cli.main(["status", "--project", str(project)]) == 0
    assert "nothing was released yet" in capsys.readouterr().out


def test_what_a_client_library_prints_does_not_spoil_the_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(_self: calling.Calling) -> Result:
        print("View run at: http://127.0.0.1")
        return result_of(Verdict.PASS)

    monkeypatch.setattr(calling.Calling, "outcome", answer)
    assert cli.main(["verify", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["summary"] == "so it is"
    assert "View run" in told.err


def test_a_verb_that_only_shows_text_answers_programs_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", "--project", str(project), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verb"] == "init"
    assert any(line.startswith("wrote    Jenkinsfile") for line in shown["evidence"]["lines"])


def test_status_shows_the_run_that_was_asked_for_and_refuses_one_that_is_not_there(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = RunStore(Places(project=project, home=home_folder(), service="churn"))
    for number in (1, 2):
        runs.create(Run(id=f"r{number}", service="churn", commit="c" * 40, created=f"2026-03-0{number}T03:00:00Z"))
    assert cli.main(["status", "--project", str(project), "--run", "r1"]) == 0
    assert "r1" in capsys.readouterr().out
    assert cli.main(["status", "--project", str(project), "--run", "r3"]) == 2
    assert "r3" in capsys.readouterr().err
