"""A worker that has no journal of a service: the target tells who is live, and users can be taken back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from fakes import Crash
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.journal import Journal
from mlpipeline.verbs import deploy, resume, rollback, settle, status, switch
from release_story import Story


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    made = Story(tmp_path)
    made.watch(monkeypatch)
    return made


@pytest.fixture
def remembering(story: Story, monkeypatch: pytest.MonkeyPatch) -> Story:
    """The target keeps a note, as a cluster does."""
    notes: list[str] = []
    monkeypatch.setattr(story.world.target, "remember", notes.append)
    monkeypatch.setattr(story.world.target, "remembered", lambda: notes[-1] if notes else "")
    return story


def champion(story: Story) -> str:
    known = Journal(story.context.places.journal).read().champion
    return known.version.digest if known else ""


def half_shifted(story: Story) -> str:
    """The digest of the champion."""
    story.released()
    before = champion(story)
    run = story.packaged()
    deploy.run(story.context, run)
    with suppress(Crash):
        story.world.fuse.left = 2
        switch.run(story.context, run)
    story.world.fuse.left = -1
    return before


@pytest.mark.parametrize("verb", ["rollback", "resume"])
def test_half_a_split_is_taken_back_by_what_the_target_says_alone(story: Story, verb: str) -> None:
    before = half_shifted(story)
    story.context.places.journal.unlink()
    for file in story.context.places.state.glob("ledger*"):
        file.unlink()
    assert "10 % of users" in " ".join(status.run(story.context).lines())
    if verb == "rollback":
        assert rollback.run(story.context, reason="complaints").verdict is Verdict.PASS
    else:
        assert resume.run(story.context).verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(Colour.BLUE)
    assert champion(story) == before


@pytest.mark.parametrize("settled_last", [True, False])
def test_with_all_users_on_one_of_two_the_ledger_tells_which_is_the_champion(story: Story, settled_last: bool) -> None:
    story.released()
    first = champion(story)
    run = story.packaged()
    deploy.run(story.context, run)
    if settled_last:
        switch.run(story.context, run)
    story.context.places.journal.unlink()
    rollback.run(story.context, reason="complaints")
    assert story.world.target.plan == TrafficPlan.all_to(Colour.BLUE)
    assert champion(story) == first
    assert set(story.world.target.colours) == {Colour.BLUE}


def test_a_settled_version_stays_and_it_is_said_that_the_one_before_is_not_known(story: Story) -> None:
    story.released()
    story.released()
    digest = champion(story)
    story.context.places.journal.unlink()
    with pytest.raises(ConfigurationError, match="no earlier version"):
        rollback.run(story.context, reason="complaints")
    assert resume.run(story.context).summary.startswith("nothing to do")
    run = story.packaged()
    for verb in (deploy, switch, settle):
        assert verb.run(story.context, run).verdict is Verdict.PASS
    state = Journal(story.context.places.journal).read()
    assert state.previous is not None
    assert state.previous.digest == digest


def forgotten(story: Story) -> None:
    """As another machine sees it: no journal, no ledger."""
    story.context.places.journal.unlink()
    for file in story.context.places.state.glob("ledger*"):
        file.unlink()


def test_the_version_before_a_settled_one_is_known_from_the_target_alone(remembering: Story) -> None:
    story = remembering
    story.released()
    first = champion(story)
    story.released()
    second = champion(story)
    forgotten(story)
    assert f"{first[:19]}: a rollback returns to it" in "\n".join(status.run(story.context).lines())
    assert rollback.run(story.context, reason="complaints").verdict is Verdict.PASS
    assert champion(story) == first
    forgotten(story)
    told = "\n".join(status.run(story.context).lines())
    assert f"quarantined {second[:19]}" in told, "nobody deploys it again by itself, on whatever machine"
    with pytest.raises(ConfigurationError, match="no earlier version"):
        rollback.run(story.context, reason="complaints")


def test_a_note_of_another_champion_says_nothing_of_the_version_before(remembering: Story) -> None:
    story = remembering
    story.released()
    story.released()
    known = story.world.target.remembered()
    story.released()
    story.world.target.remember(known)
    forgotten(story)
    with pytest.raises(ConfigurationError, match="no earlier version"):
        rollback.run(story.context, reason="complaints")


@pytest.mark.parametrize("note", ["", "{", "[]", '{"champion": 1}'])
def test_a_note_that_is_none_of_ours_is_no_note(remembering: Story, note: str) -> None:
    story = remembering
    story.released()
    story.world.target.remember(note)
    forgotten(story)
    assert status.run(story.context).state.previous is None
    assert "100 % of users" in status.run(story.context).summary


def test_half_a_split_is_told_as_a_release_by_a_worker_that_has_no_journal(story: Story) -> None:
    half_shifted(story)
    forgotten(story)
    told = "\n".join(status.run(story.context).lines())
    assert "shifting" in told
    assert "mlpipeline rollback" in told
