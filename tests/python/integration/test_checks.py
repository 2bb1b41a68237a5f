"""``checks`` on a real project with the real ruff, mypy and pytest: what failed is named, and what it wrote is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from mlpipeline.config.model import Config
from mlpipeline.config.sections.security import CheckRule
from mlpipeline.config.sections.training import Train
from mlpipeline.config.values import Duration
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import checks
from mlpipeline.verbs.checks import plan
from mlpipeline.verbs.context import Context
from small_project import SmallProject

PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"
SETTINGS = '[tool.ruff]\nlint.select = ["F"]\n[tool.mypy]\nfiles = ["own.py"]\n[tool.pytest.ini_options]\ntestpaths = ["tests"]\n'


class World:
    def __init__(self, project: SmallProject) -> None:
        self.project = project
        self.run: Run = project.run()

    def context(self, path: str = PATH, **rules: CheckRule) -> Context:
        config = msgspec.structs.replace(self.project.config, checks=rules)
        context = msgspec.structs.replace(self.project.context(), config=config)
        return msgspec.structs.replace(context, environment={**os.environ, "PATH": path})

    def check(self, path: str = PATH, **rules: CheckRule) -> Result:
        return checks.run(self.context(path, **rules), self.run)

    def write(self, name: str, text: str) -> None:
        file = self.project.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def file(self, result: Result, link: str) -> Path:
        return self.project.context().runs.folder(self.run.id) / result.links[link]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(SmallProject(tmp_path))


def by_check(result: Result) -> Mapping[str, Verdict]:
    return {reason.check: reason.verdict for reason in result.reasons}


@pytest.mark.real
def test_what_fails_is_named_and_the_files_of_the_tools_are_kept(world: World) -> None:
    world.write("pyproject.toml", SETTINGS)
    world.write("own.py", "import os\n\n\ndef half(number: int) -> int:\n    return 'half'\n")
    world.write("tests/test_own.py", "def test_good():\n    pass\n\n\ndef test_bad():\n    assert 1 == 2, 'no'\n")
    result = world.check()
    assert result.verdict is Verdict.FAIL
    assert by_check(result) == dict.fromkeys(("checks.lint", "checks.types", "checks.tests"), Verdict.FAIL)
    assert "3 of 3 checks failed" in result.summary
    samples = {reason.check: " ".join(reason.sample) for reason in result.reasons}
    assert "own.py:1: F401" in samples["checks.lint"]
    assert "Incompatible return value" in samples["checks.types"]
    assert "test_own::test_bad: AssertionError: no" in samples["checks.tests"]
    assert "test_good" not in samples["checks.tests"]
    assert json.loads(world.file(result, "lint sarif").read_bytes())["version"] == "2.1.0"
    assert len(list(ElementTree.parse(world.file(result, "tests junit")).iter("testcase"))) == 2
    assert "1 failed" in world.file(result, "tests log").read_text()


@pytest.mark.real
def test_a_clean_project_passes(world: World) -> None:
    world.write("pyproject.toml", SETTINGS)
    world.write("own.py", "def half(number: int) -> int:\n    return number // 2\n")
    world.write("tests/test_own.py", "def test_good():\n    pass\n")
    result = world.check()
    assert result.verdict is Verdict.PASS, result
    assert result.summary == "passed: lint, types, tests"
    assert {reason.check: reason.numbers.get("tests") for reason in result.reasons}["checks.tests"] == 1


def test_nothing_configured_is_nothing_to_check(world: World) -> None:
    result = world.check()
    assert result.verdict is Verdict.PASS
    assert "no lint, types or tests" in result.summary


@pytest.mark.parametrize(("not_run", "verdict"), [("warn", Verdict.PASS), ("fail", Verdict.FAIL)])
def test_a_tool_that_is_absent_is_not_run_and_policy_decides(world: World, not_run: str, verdict: Verdict) -> None:
    world.write("ruff.toml", "")
    result = world.check("/nowhere", lint=CheckRule(not_run=not_run))  # type: ignore[arg-type]
    assert result.verdict is verdict
    assert "lint: not run" in result.reasons[0].summary
    assert "ruff is not installed" in result.reasons[0].summary


def test_a_command_that_is_not_there_is_not_run_either(world: World) -> None:
    result = world.check(docs=CheckRule(command="no-such-program --now"))
    assert result.verdict is Verdict.PASS
    assert "not run" in result.summary or "not run" in result.reasons[0].summary


def test_checks_of_ones_own_are_run_with_their_files(world: World) -> None:
    written = "<testsuite><testcase classname='links' name='home'><failure message='404'/></testcase></testsuite>"
    result = world.check(links=CheckRule(command=f'echo looking; echo "{written}" > {{junit}}; exit 1'))
    assert result.verdict is Verdict.FAIL
    assert result.reasons[0].sample == ("links::home: 404",)


def test_a_check_that_hangs_is_ended_and_told_with_its_last_words(world: World) -> None:
    result = world.check(slow=CheckRule(command="echo waiting for godot; sleep 600", timeout=Duration(1)))
    assert result.verdict is Verdict.FAIL
    assert "did not end within 1 s" in result.summary
    assert result.reasons[0].sample == ("waiting for godot",)


def test_checks_run_side_by_side(world: World) -> None:
    """Each waits for the other's file: one after the other, neither would ever end."""
    first = CheckRule(command="touch a; while [ ! -e b ]; do sleep 0.05; done", timeout=Duration(120))
    second = CheckRule(command="touch b; while [ ! -e a ]; do sleep 0.05; done", timeout=Duration(120))
    assert world.check(first=first, second=second).verdict is Verdict.PASS


@pytest.mark.real
def test_an_interrupted_worker_leaves_no_check_running(world: World) -> None:
    (world.project.folder / "mlpipeline.yaml").write_text(
        "service: tiny\ntrain: {command: x}\nchecks:\n"
        "  a: {command: 'echo $$ > a.pid; sleep 600'}\n  b: {command: 'echo $$ > b.pid; sleep 600'}\n"
    )
    notes = [world.project.folder / f"{name}.pid" for name in "ab"]
    environment = {**os.environ, "MLPIPELINE_HOME": str(world.project.places.home)}
    worker = subprocess.Popen(
        [sys.executable, "-m", "mlpipeline", "checks", "--project", str(world.project.folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _until(lambda: all(note.is_file() and note.read_text().strip() for note in notes) or worker.poll() is not None)
        worker.terminate()
        worker.wait(timeout=120)
    finally:
        worker.kill()
    for note in notes:
        pid = int(note.read_text())
        _until(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]


def _until(condition: object) -> None:
    end = time.monotonic() + 120
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        threading.Event().wait(0.05)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, {}),
        ({"ruff.toml": ""}, {"lint": "ruff check --output-format sarif --output-file {sarif} ."}),
        ({"pyproject.toml": "[tool.mypy]\nstrict = true\n"}, {"types": "mypy --junit-xml {junit} ."}),
        ({"setup.cfg": "[mypy]\nfiles = src\n"}, {"types": "mypy --junit-xml {junit}"}),
        ({"pytest.ini": "[pytest]\n"}, {"tests": "pytest --junit-xml={junit}"}),
        ({"tests/test_a.py": ""}, {"tests": "pytest --junit-xml={junit}"}),
        ({"pyproject.toml": "not toml ["}, {}),
        ({"setup.cfg": "no section\n"}, {}),
    ],
)
def test_what_the_project_is_set_up_for_is_run(tmp_path: Path, files: Mapping[str, str], found: Mapping[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert {check.name: check.command for check in plan(tmp_path, {})} == found


def test_the_configuration_goes_over_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "ruff.toml").write_text("")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    config = Config(
        service="s",
        train=Train(command="x"),
        checks={
            "lint": CheckRule(enabled=False),
            "types": CheckRule(),
            "tests": CheckRule(command="make test"),
            "docs": CheckRule(command="make docs"),
        },
    )
    planned = {check.name: (check.command, check.tool) for check in plan(tmp_path, config.checks)}
    assert planned == {
        "types": ("mypy --junit-xml {junit} .", "mypy"),
        "tests": ("make test", ""),
        "docs": ("make docs", ""),
    }
