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
