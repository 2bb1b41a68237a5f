"""``resume`` after a worker died at any moment: users are answered by one colour, and nothing is left that nobody decided."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from fakes import Crash
from mlpipeline.core.release import Phase
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Held
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import Holder, Lease
from mlpipeline.record.ledger import Ledger
from mlpipeline.record.run import RunStore
from mlpipeline.verbs import deploy, resume, rollback, settle, status, stop, switch
from release_story import Story

OTHER = Holder(4711, "build-1", "ada", "run-x", "2026-03-01T03:00:00Z", verb="switch")
EFFECTS = 14
"""More than any release here has; a test below says so."""


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    made = Story(tmp_path)
    made.watch(monkeypatch)
    return made


def phase(story: Story) -> Phase | None:
    release = Journal(story.context.places.journal).read().release
    return release.phase if release else None


def champion(story: Story) -> str:
    known = Journal(story.context.places.journal).read().champion
    return known.version.digest if known else ""


def users_are_answered_by_one(story: Story) -> None:
    target = story.world.target
    assert target.plan is not None
    assert target.plan.share == 0
    assert target.colours[target.plan.live].ready


def nothing_is_left(story: Story) -> None:
    """No release, and only what is live stands; a release that waits stands beside it without users."""
    target = story.world.target
    assert target.plan is not None
    assert phase(story) in {None, Phase.DEPLOYED, Phase.SHIFTING}
    if phase(story) is None:
        assert set(target.colours) == {target.plan.live}
        assert target.colours[target.plan.live].artifact.digest == champion(story)
        assert target.plan == TrafficPlan.all_to(target.plan.live)


def killed_after(story: Story, effects: int, act: Callable[[], object]) -> bool:
    """Whether it was killed at all."""
    story.world.fuse.left = effects
    try:
        act()
    except Crash:
        return True
    finally:
        story.world.fuse.left = -1
    return False


def release_again(story: Story) -> Callable[[], object]:
    run = story.packaged()

    def act() -> None:
        for verb in (deploy, switch, settle):
            verb.run(story.context, run)

    return act


@pytest.mark.parametrize("effects", range(1, EFFECTS))
def test_a_release_killed_after_each_side_effect_is_finished_or_taken_back(story: Story, effects: int) -> None:
    story.released()
    killed_after(story, effects, release_again(story))
    before = len(story.context.ledger.read())
    result = resume.run(story.context)
    assert result.verdict is Verdict.PASS, result.summary
    users_are_answered_by_one(story)
    nothing_is_left(story)
    again = resume.run(story.context)
    assert again.reasons[0].check == "resume.nothing", again.summary
    settled = [entry.run for entry in story.context.ledger.read() if entry.event == "settled"]
    assert len(settled) == len(set(settled))
    assert before <= len(story.context.ledger.read())


def test_no_release_here_has_more_side_effects_than_the_test_above_kills_after(story: Story) -> None:
    story.released()
    assert not killed_after(story, EFFECTS, release_again(story))


def burning(story: Story, original: Callable[..., object]) -> Callable[..., object]:
    def called(*arguments: object, **named: object) -> object:
        answer = original(*arguments, **named)
        story.world.fuse.effect()
        return answer

    return called


def test_a_release_killed_after_whatever_it_did_or_wrote(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journal, ledger and results besides the target and the registry; one service, killed again and again."""
    for owner, name in ((Journal, "write"), (Ledger, "append"), (RunStore, "write")):
        monkeypatch.setattr(owner, name, burning(story, getattr(owner, name)))
    story.released()
    for effects in range(1, 100):
        if not killed_after(story, effects, release_again(story)):
            break
        result = resume.run(story.context)
        assert result.verdict is Verdict.PASS, f"after {effects}: {result.summary}"
        users_are_answered_by_one(story)
        nothing_is_left(story)
        assert resume.run(story.context).reasons[0].check == "resume.nothing", f"after {effects}"
        if phase(story) is not None:
            rollback.run(story.context, reason="the test goes on")
    assert 25 < effects < 99
    told = [entry for entry in story.context.ledger.read() if entry.event in {"settled", "rolled-back"}]
    assert len({(entry.event, entry.run) for entry in told}) == len(told), "each is told once"


@pytest.mark.parametrize("effects", range(1, 6))
def test_a_rollback_killed_after_each_side_effect_is_finished(story: Story, effects: int) -> None:
    first = story.released()
    story.released()
    taken = champion(story)
    killed_after(story, effects, lambda: rollback.run(story.context, reason="complaints"))
    assert resume.run(story.context).verdict is Verdict.PASS
    users_are_answered_by_one(story)
    nothing_is_left(story)
    state = Journal(story.context.places.journal).read()
    assert state.champion is not None
    assert state.champion.version.run == first.id
    assert set(state.quarantined) == {taken}
    assert [entry.event for entry in story.context.ledger.read()].count("rolled-back") == 1


@pytest.mark.parametrize("effects", range(1, 4))
def test_a_first_release_killed_after_each_side_effect(story: Story, effects: int) -> None:
    killed_after(story, effects, release_again(story))
    resume.run(story.context)
    target = story.world.target
    if target.plan is None:
        assert phase(story) in {None, Phase.DEPLOYED}
    else:
        users_are_answered_by_one(story)
        nothing_is_left(story)


def test_nothing_to_do_is_a_pass_and_no_news(story: Story) -> None:
    assert resume.run(story.context).verdict is Verdict.PASS
    story.released()
    before = len(story.context.ledger.read())
    result = resume.run(story.context)
    assert (result.verdict, result.summary) == (Verdict.PASS, "nothing to do: no worker left anything")
    assert len(story.context.ledger.read()) == before


def test_a_candidate_that_waits_for_people_goes_on_waiting(story: Story) -> None:
    story.released()
    run = story.packaged()
    deploy.run(story.context, run)
    result = resume.run(story.context)
    assert f"mlpipeline run --run {run.id}" in result.summary
    assert phase(story) is Phase.DEPLOYED
    switch.run(story.context, run)
    settle.run(story.context, run)
    assert champion(story) != ""


def test_a_champion_that_went_down_comes_back_as_it_was(story: Story) -> None:
    story.released()
    story.released()
    live, digest = Colour.GREEN, champion(story)
    story.world.target.kill(live)
    result = resume.run(story.context)
    assert "as it was" in result.summary
    assert story.world.target.colours[live].ready
    assert champion(story) == digest
    assert "revived" in [entry.event for entry in story.context.ledger.read()]


def test_after_a_restart_of_the_machine_in_the_middle_everything_that_was_live_is_live(story: Story) -> None:
    story.released()
    assert killed_after(story, 4, release_again(story))
    story.world.target.kill_all()
    assert resume.run(story.context).verdict is Verdict.PASS
    users_are_answered_by_one(story)
    nothing_is_left(story)


def test_what_a_person_stopped_stays_stopped(story: Story) -> None:
    story.released()
    stop.run(story.context)
    assert resume.run(story.context).summary.startswith("nothing to do")
    assert story.world.target.plan is None


def test_a_candidate_that_died_after_all_users_came_is_taken_back(story: Story) -> None:
    story.released()
    before = champion(story)
    run = story.packaged()
    deploy.run(story.context, run)
    switch.run(story.context, run)
    story.world.target.kill(Colour.GREEN)
    result = resume.run(story.context)
    assert "went down after the switch" in result.summary
    assert (champion(story), phase(story)) == (before, None)
    users_are_answered_by_one(story)


def test_a_registry_that_is_down_leaves_users_safe_and_says_what_is_open(story: Story) -> None:
    story.released()
    assert killed_after(story, 6, release_again(story))
    assert phase(story) is Phase.SWITCHED or phase(story) is Phase.SETTLING or phase(story) is Phase.SWITCHING
    story.world.registry.unreachable = True
    assert resume.run(story.context).verdict is Verdict.INCONCLUSIVE
    users_are_answered_by_one(story)
    story.world.registry.unreachable = False
    assert resume.run(story.context).verdict is Verdict.PASS
    nothing_is_left(story)


def test_a_target_that_cannot_be_reached_is_told_and_changes_nothing(story: Story) -> None:
    story.released()
    story.world.target.unreachable = True
    with suppress(EnvironmentFault):
        assert resume.run(story.context).verdict is Verdict.INCONCLUSIVE
    story.world.target.unreachable = False
    users_are_answered_by_one(story)


def test_a_worker_that_is_at_it_is_named_and_left_alone(story: Story) -> None:
    story.released()
    other = Lease(story.context.places.lease)
    other.acquire(OTHER)
    with pytest.raises(Held) as told:
        resume.run(story.context)
    other.release()
    assert "process 4711 on build-1" in told.value.render()


def half_shifted(story: Story) -> None:
    story.released()
    run = story.packaged()
    deploy.run(story.context, run)
    with suppress(Crash):
        story.world.fuse.left = 2  # mirror, then the step
        switch.run(story.context, run)
    story.world.fuse.left = -1
    assert story.world.target.plan is not None
    assert story.world.target.plan.share > 0


def test_after_a_silence_users_are_put_on_the_colour_that_was_proven(story: Story) -> None:
    half_shifted(story)
    result = resume.run(story.context, if_silent_for="10m")
    assert result.verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(Colour.BLUE)
    assert phase(story) is Phase.SHIFTING, "a run may go on with it"
    assert "10m" not in Journal(story.context.places.journal).read().quarantined
    assert "nothing to do" in resume.run(story.context, if_silent_for="10m").summary or phase(story) is Phase.SHIFTING


def test_a_worker_that_stirs_keeps_the_service(story: Story) -> None:
    half_shifted(story)
    other = Lease(story.context.places.lease)
    other.acquire(OTHER)
    story.world.clock.on_sleep = other.pulse
    result = resume.run(story.context, if_silent_for="10m")
    other.check()
    other.release()
    assert "process 4711 on build-1 is at it" in result.summary
    assert story.world.target.plan.share > 0


def test_a_holder_that_does_not_stir_loses_the_service_and_may_change_nothing_when_it_wakes_up(story: Story) -> None:
    half_shifted(story)
    other = Lease(story.context.places.lease)
    had = other.acquire(OTHER)
    result = resume.run(story.context, if_silent_for="10m")
    assert result.verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(Colour.BLUE)
    with pytest.raises(Held):
        other.check()
    assert Journal(story.context.places.journal).read().token > had.token
    other.release()


@pytest.mark.parametrize("wrong", ["soon", "1s", "-5m"])
def test_a_silence_that_is_none_is_refused(story: Story, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="if-silent-for"):
        resume.run(story.context, if_silent_for=wrong)


def test_status_points_to_it(story: Story) -> None:
    half_shifted(story)
    assert "mlpipeline resume" in "\n".join(status.run(story.context).lines())


def test_an_earlier_note_of_a_settled_release_is_not_told_twice(story: Story) -> None:
    made = story.released()
    state = Journal(story.context.places.journal).read()
    assert state.champion is not None
    assert state.champion.version.run == made.id
    resume.run(story.context)
    told = [entry for entry in story.context.ledger.read() if entry.event == "settled"]
    assert len(told) == 1
    assert msgspec.to_builtins(told[0])["run"] == made.id
