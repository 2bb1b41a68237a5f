"""What ``doctor`` says of the files that a release reads later, and of what is worth knowing but no fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeWorld
from mlpipeline.config.sections.deploy import Deploy, Golden, WarmUp
from mlpipeline.config.sections.rollout import Replay, Rollout
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.verbs import doctor
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.doctor_files import files
from mlpipeline.verbs.findings import Note

GOLDEN = '{"request": {"inputs": [[1, 2]]}, "expected": [0.5]}\n'
WARM = '{"inputs": [[1, 2]]}\n'
RECORDED = '{"body": "{}", "request_id": "a"}\n'


def project(tmp_path: Path, **content: str) -> Context:
    """A project with golden, warm-up and recorded requests, as far as they are given."""
    world = FakeWorld(
        tmp_path,
        deploy=Deploy(golden=Golden(file="golden.jsonl"), warm_up=WarmUp(file="warm.jsonl")),
        rollout=Rollout(replay=Replay(requests=10, file="recorded.jsonl")),
    )
    context = world.context()
    context.project.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (context.project / f"{name}.jsonl").write_text(text)
    return context


def test_files_that_can_be_read_pass(tmp_path: Path) -> None:
    assert files(project(tmp_path, golden=GOLDEN, warm=WARM, recorded=RECORDED)) == "3 files of requests can be read"


def test_no_files_are_no_fault(tmp_path: Path) -> None:
    assert files(FakeWorld(tmp_path).context()) == "no files of requests are used"


@pytest.mark.parametrize(
    ("name", "key"),
    [("golden", "deploy.golden.file"), ("warm", "deploy.warm_up.file"), ("recorded", "rollout.replay.file")],
)
@pytest.mark.parametrize("text", ["", "not JSON\n", None])
def test_a_file_that_is_missing_or_holds_no_request_is_named(tmp_path: Path, name: str, key: str, text: str | None) -> None:
    content = {"golden": GOLDEN, "warm": WARM, "recorded": RECORDED, name: text}
    context = project(tmp_path, **{each: one for each, one in content.items() if one is not None})
    with pytest.raises(ConfigurationError, match=key):
        files(context)


@pytest.mark.parametrize("made_by", ["golden.jsonl.dvc", "dvc.yaml"])
def test_a_file_that_dvc_makes_is_not_missing_yet(tmp_path: Path, made_by: str) -> None:
    context = project(tmp_path, warm=WARM, recorded=RECORDED)
    (context.project / made_by).write_text("stages: {golden: {outs: [golden.jsonl]}}")
    found = files(context)
    assert isinstance(found, Note) and found.text.startswith("golden.jsonl is not there yet")


def test_a_note_stands_in_the_first_line_of_a_result_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [("disk", lambda _: "much is free"), ("traffic", lambda _: Note("nobody is awake"))]
    monkeypatch.setattr(doctor, "_checks", lambda _: checks)
    result = doctor.run(FakeWorld(tmp_path).context())
    assert (result.verdict, result.summary) == (Verdict.PASS, "all 2 checks passed; nobody is awake")
    assert [reason.check for reason in result.reasons] == ["note.traffic", "machine.disk"]
