"""Which run a verb belongs to."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes import FakeWorld
from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason
from mlpipeline.verbs.current import Choice, choose_run, current_run, finished


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, text: str) -> None:
    (folder / "train.py").write_text(text)
    git(folder, "add", "train.py")
    git(folder, "commit", "-m", text)


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init")
    commit(project, "one")
    return FakeWorld(tmp_path)


def end(world: FakeWorld, run: str, verb: str, verdict: Verdict) -> None:
    context = world.context()
    context.finish(context.runs.get(run), verb, 0.0, [Reason(verb, verdict, "so")])


def test_the_same_inputs_go_on_in_the_same_run(world: FakeWorld) -> None:
    first = current_run(world.context(), create=True)
    assert current_run(world.context(), create=True) == first
    assert current_run(world.context(), create=False) == first


def test_verbs_that_begin_side_by_side_begin_one_run(world: FakeWorld) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: choose_run(world.context(), Choice.START), range(8)))
    assert len({run.id for run in runs}) == 1
    assert len(world.context().runs.all()) == 1


def test_another_commit_is_another_run(world: FakeWorld) -> None:
    first = current_run(world.context(), create=True)
    commit(world.places.project, "two")
    second = current_run(world.context(), create=True)
    assert second.commit != first.commit


def test_uncommitted_changes_and_configuration_are_inputs_too(world: FakeWorld, tmp_path: Path) -> None:
    first = current_run(world.context(), create=True)
    (world.places.project / "train.py").write_text("changed")
    dirty = current_run(world.context(), create=True)
    other = current_run(world.context(config=FakeWorld(tmp_path, rollout=Rollout(steps=(5,))).config), create=True)
    assert len({first.id, dirty.id, other.id}) == 3
    assert dirty.dirty


@pytest.mark.parametrize(
    ("verb", "verdict", "over"),
    [
        ("settle", Verdict.PASS, True),
        ("settle", Verdict.INCONCLUSIVE, False),
        ("gate-model", Verdict.FAIL, True),
        ("train", Verdict.ERROR, False),
        ("rollback", Verdict.PASS, True),
        ("report", Verdict.PASS, False),
    ],
)
def test_a_finished_run_is_followed_by_a_new_one(world: FakeWorld, verb: str, verdict: Verdict, over: bool) -> None:
    first = current_run(world.context(), create=True)
    end(world, first.id, verb, verdict)
    assert finished(world.context(), first) is over
    world.clock.sleep(1)
    assert (current_run(world.context(), create=True).id != first.id) is over
    assert choose_run(world.context(), Choice.LATEST).id == current_run(world.context(), create=False).id


def test_verbs_that_need_a_run_say_which_there_is(world: FakeWorld) -> None:
    with pytest.raises(ConfigurationError, match="no run of this commit"):
        current_run(world.context(), create=False)
    first = current_run(world.context(), create=True)
    commit(world.places.project, "two")
    with pytest.raises(ConfigurationError) as caught:
        current_run(world.context(), create=False)
    assert first.id in caught.value.render()
    assert "another commit" in caught.value.render()


def test_who_only_looks_needs_no_run_and_leaves_none(world: FakeWorld) -> None:
    assert choose_run(world.context(), Choice.LOOK).commit
    assert world.context().runs.all() == []
    first = current_run(world.context(), create=True)
    assert choose_run(world.context(), Choice.LOOK).id == first.id
