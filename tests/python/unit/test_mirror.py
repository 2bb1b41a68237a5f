"""``mirror``: what waits for people is asked and watched, and nobody approves what is not there any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.config.values import Duration
from mlpipeline.core.release import Phase
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, Held
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import Holder, Lease
from mlpipeline.record.run import Run
from mlpipeline.verbs import deploy, mirror, rollback, switch
from release_story import Story

BLUE, GREEN = Colour.BLUE, Colour.GREEN
COPIED = TrafficPlan(BLUE, mirror=True)


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    told = Story(tmp_path)
    told.watch(monkeypatch)
    return told


@pytest.fixture
def waiting(story: Story) -> Run:
    """A second release that is deployed and waits."""
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    story.world.target.plans.clear()
    return made


def phase(story: Story) -> Phase | None:
    release = Journal(story.context.places.journal).read().release
    return release.phase if release else None


def test_a_healthy_candidate_is_watched_on_copies_and_users_notice_nothing(story: Story, waiting: Run) -> None:
    result = mirror.run(story.context, waiting)
    assert (result.verb, result.verdict) == ("mirror", Verdict.PASS)
    assert story.watched[-1] == "mirror"
    assert story.world.target.plans == [COPIED, TrafficPlan.all_to(BLUE)]
    assert phase(story) is Phase.DEPLOYED
    assert switch.run(story.context, waiting).verdict is Verdict.PASS


def test_users_can_be_taken_back_while_it_is_watched(story: Story, waiting: Run) -> None:
    story.during = lambda _stage: rollback.run(story.context, reason="a person's wish") and None
    result = mirror.run(story.context, waiting)
    assert result.verdict is Verdict.PASS, "the watch itself saw no harm"
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    story.during = lambda _stage: None
    assert mirror.run(story.context, waiting).summary.startswith("the candidate of this run is no longer deployed")


def test_what_another_worker_does_with_the_router_meanwhile_stands(story: Story, waiting: Run) -> None:
    lease = Lease(story.context.places.lease)
    before = Journal(story.context.places.journal).read().token
    holder = Holder(pid=1, host="elsewhere", user="carol", run="", since="2026-03-01T03:00:00Z", verb="rollback")
    story.during = lambda _stage: lease.acquire(holder, after=before + 5)
    try:
        assert mirror.run(story.context, waiting).verdict is Verdict.PASS
        assert story.world.target.plan == COPIED
        with pytest.raises(Held):
            mirror.run(story.context, waiting)
    finally:
        lease.release()


def test_harm_takes_the_candidate_back_and_quarantines_it(story: Story, waiting: Run) -> None:
    story.verdicts["mirror"] = Verdict.FAIL
    result = mirror.run(story.context, waiting)
    assert result.verdict is Verdict.FAIL
    assert result.summary == "errors: fail"
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert set(story.world.target.colours) == {BLUE}
    events = [entry.event for entry in story.context.ledger.read()]
    assert events.count("quarantined") == 1
    with pytest.raises(Failed, match="quarantined"):
        deploy.run(story.context, waiting)


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_no_verdict_leaves_the_candidate_where_it_is(story: Story, waiting: Run, verdict: Verdict) -> None:
    story.verdicts["mirror"] = verdict
    assert mirror.run(story.context, waiting).verdict is verdict
    assert phase(story) is Phase.DEPLOYED
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)


def test_a_candidate_that_died_fails_without_a_quarantine(story: Story, waiting: Run) -> None:
    story.world.target.kill(GREEN)
    result = mirror.run(story.context, waiting)
    assert result.verdict is Verdict.FAIL
    assert result.summary.startswith("green answered 503")
    assert story.world.target.plans == []
    assert not Journal(story.context.places.journal).read().quarantined


def test_a_candidate_that_lost_one_answer_is_not_dead(story: Story, waiting: Run) -> None:
    story.world.target.kill(GREEN)
    asked: list[float] = []

    def back() -> None:
        asked.append(story.world.clock.passed)
        artifact = story.world.target.colours[GREEN].artifact
        story.world.target.deploy(GREEN, artifact)

    story.world.clock.on_sleep = back
    assert mirror.run(story.context, waiting).verdict is Verdict.PASS
    assert len(asked) == 1


def test_another_release_in_its_place_is_not_what_was_asked_about(story: Story, waiting: Run) -> None:
    deploy.run(story.context, other := story.packaged())
    result = mirror.run(story.context, waiting)
    assert result.verdict is Verdict.FAIL
    assert f"run {other.id} is deployed" in result.summary


def test_the_first_release_and_a_service_without_copies_are_only_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Story(tmp_path / "first")
    first.watch(monkeypatch)
    deploy.run(first.context, made := first.packaged())
    assert mirror.run(first.context, made).summary.startswith("blue answered 200")
    quiet = Story(tmp_path / "quiet", rollout=Rollout(mirror=Duration(0)))
    quiet.watch(monkeypatch)
    quiet.released()
    deploy.run(quiet.context, made := quiet.packaged())
    quiet.world.target.plans.clear()
    assert mirror.run(quiet.context, made).verdict is Verdict.PASS
    assert quiet.world.target.plans == []


def test_copying_ends_also_when_the_watch_breaks_off(story: Story, waiting: Run) -> None:
    story.during = lambda _stage: setattr(story.world.metrics, "unreachable", True)
    with pytest.raises(EnvironmentFault):
        mirror.run(story.context, waiting)
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert phase(story) is Phase.DEPLOYED


def test_it_refuses_what_it_cannot_watch(story: Story, waiting: Run) -> None:
    with pytest.raises(ConfigurationError, match="--seconds"):
        mirror.run(story.context, waiting, seconds=0)
    with pytest.raises(ConfigurationError, match="needs deploy"):
        mirror.run(story.context, story.packaged())
    switch.run(story.context, waiting)
    with pytest.raises(ConfigurationError, match="users were moved already"):
        mirror.run(story.context, waiting)


def test_all_looks_of_one_wait_are_one_test_and_one_entry(story: Story, waiting: Run) -> None:
    """The bound on false alarms holds over all of them, and is not that of the release."""
    story.files.clear()
    for _ in range(3):
        mirror.run(story.context, waiting)
    assert set(story.files) == {"mirror-evidence.json"}
    assert [entry.event for entry in story.context.ledger.read()].count("mirror") == 1
    story.world.target.kill(GREEN)
    mirror.run(story.context, waiting)
    told = [(entry.event, entry.verdict) for entry in story.context.ledger.read() if entry.event == "mirror"]
    assert told == [("mirror", "pass"), ("mirror", "fail")]
