"""deploy, switch, settle, rollback and approve as a release goes through them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from fakes import Crash
from mlpipeline.clock import iso
from mlpipeline.config.sections.rollout import Approval
from mlpipeline.core.release import Phase
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, Held
from mlpipeline.ports import Moved
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import Holder, Lease, held_by, holder
from mlpipeline.record.run import Run
from mlpipeline.verbs import approve, deploy, history, rollback, settle, status, stop, switch
from mlpipeline.verbs import run as run_verb
from mlpipeline.verbs.holding import held, making
from release_story import Story

BLUE, GREEN = Colour.BLUE, Colour.GREEN


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    told = Story(tmp_path)
    told.watch(monkeypatch)
    return told


def events(story: Story) -> list[str]:
    return [entry.event for entry in story.context.ledger.read()]


def journal(story: Story):
    return Journal(story.context.places.journal).read()


def test_first_release_goes_live_and_says_what_it_was_not_compared_with(story: Story) -> None:
    made = story.packaged()
    assert deploy.run(story.context, made).evidence["first"] is True
    assert story.world.target.plan is None
    result = switch.run(story.context, made)
    assert result.verdict is Verdict.PASS
    assert "no champion" in result.summary
    settle.run(story.context, made)
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert story.world.registry.aliases == {("iris", "champion"): "1"}
    assert events(story) == ["deploy", "live", "switch", "settled", "settle"]


@pytest.mark.parametrize("beside", [False, True], ids=["settled", "a candidate beside it"])
def test_a_stop_and_the_way_back_stand_in_the_history(story: Story, beside: bool) -> None:
    story.released()
    if beside:
        deploy.run(story.context, story.packaged())
    stop.run(story.context)
    story.world.clock.sleep(60)
    assert not history.run(story.context, at=iso(story.world.clock.now())).live
    rollback.run(story.context, reason="up again")
    assert [share.model_version for share in history.run(story.context, at=iso(story.world.clock.now())).live] == ["1"]


def test_a_service_is_stopped_once_and_never_back_to_a_version_it_never_had(story: Story) -> None:
    assert "no champion" in stop.run(story.context)
    story.released()
    assert "rollback` brings the champion back" in stop.run(story.context)
    stop.run(story.context)
    assert events(story).count("stopped") == 1


def test_second_release_passes_every_stage_in_order(story: Story) -> None:
    story.released()
    story.world.target.plans.clear()
    made = story.released()
    assert story.world.target.plans == [
        TrafficPlan(BLUE, mirror=True),
        TrafficPlan(BLUE, share=10),
        TrafficPlan(BLUE, share=50),
        TrafficPlan(BLUE, share=90),
        TrafficPlan.all_to(GREEN),
    ]
    stages = story.context.runs.result(made.id, "switch").evidence["stages"]
    assert [stage["name"] for stage in stages] == ["mirror", "step-10", "step-50", "bake"]
    assert story.last_looks == ["bake"]
    assert set(story.world.target.colours) == {GREEN}
    assert story.world.registry.aliases == {("iris", "champion"): "2"}


@pytest.mark.parametrize("stage", ["mirror", "step-10", "step-50", "bake"])
def test_failed_stage_takes_traffic_back_and_quarantines(story: Story, stage: str) -> None:
    story.released()
    made = story.packaged()
    story.world.registry.set_alias("iris", "candidate", "2")
    deploy.run(story.context, made)
    story.verdicts[stage] = Verdict.FAIL
    result = switch.run(story.context, made)
    assert result.verdict is Verdict.FAIL
    assert result.evidence["rollback"]["old_last_seconds"] == 0.02
    assert result.evidence["rollback"]["decided"] == story.world.clock.now().timestamp()
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert story.watched[-1] == stage
    assert story.world.registry.aliases == {("iris", "champion"): "1"}
    assert events(story).count("quarantined") == events(story).count("rolled-back") == 1
    with pytest.raises(Failed, match="quarantined"):
        deploy.run(story.context, made)
    assert deploy.run(story.context, made, allow_quarantined=True).verdict is Verdict.PASS


def test_failed_conclusion_takes_traffic_back(story: Story) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    story.conclusion = Verdict.FAIL
    assert switch.run(story.context, made).verdict is Verdict.FAIL
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert journal(story).release is None


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_no_verdict_holds_without_quarantine_and_can_go_on(story: Story, verdict: Verdict) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    story.verdicts["step-50"] = verdict
    assert switch.run(story.context, made).verdict is Verdict.INCONCLUSIVE
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert not journal(story).quarantined
    story.verdicts.clear()
    story.watched.clear()
    assert switch.run(story.context, made).verdict is Verdict.PASS
    assert story.watched == ["step-50", "bake"]


@pytest.mark.parametrize(
    "fault", [KeyboardInterrupt("SIGTERM"), KeyboardInterrupt(), RuntimeError("a bug"), EnvironmentFault("no Prometheus")]
)
def test_whatever_ends_the_worker_users_are_on_the_champion_first(story: Story, fault: BaseException) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)

    def break_in(stage: str) -> None:
        if stage == "bake":
            raise fault

    story.during = break_in
    with pytest.raises(type(fault)):
        switch.run(story.context, made)
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert journal(story).release.phase is Phase.SHIFTING
    story.during = lambda _stage: None
    assert switch.run(story.context, made).verdict is Verdict.PASS


def test_unreachable_monitoring_moves_nobody(story: Story) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    story.world.metrics.unreachable = True
    before = list(story.world.target.plans)
    with pytest.raises(EnvironmentFault):
        switch.run(story.context, made)
    assert story.world.target.plans == before


def test_switch_that_is_not_proven_is_no_pass_and_says_what_is_owed(story: Story) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    story.world.target.owes = 7
    result = switch.run(story.context, made)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "7 requests" in result.summary
    with pytest.raises(ConfigurationError):
        settle.run(story.context, made)
    story.world.target.owes = 0
    assert switch.run(story.context, made).verdict is Verdict.PASS


def test_broken_candidate_never_stays_deployed(story: Story) -> None:
    story.released()
    made = story.packaged("sha256:" + "b" * 64)
    story.world.target.smoke["sha256:" + "b" * 64] = (500, b"column missing")
    model = story.context.places.bundles / ("b" * 64) / "model"
    model.mkdir(parents=True)
    (model / "serving_input_example.json").write_text('{"dataframe_split": {"columns": ["a"], "data": [[1]]}}')
    result = deploy.run(story.context, made)
    assert result.verdict is Verdict.FAIL
    assert "column missing" in str(result.reasons)
    assert set(story.world.target.colours) == {BLUE}
    with pytest.raises(ConfigurationError):
        switch.run(story.context, made)


def test_candidate_that_does_not_start_leaves_the_service_as_it_was(story: Story) -> None:
    story.released()
    made = story.packaged("sha256:" + "b" * 64)
    story.world.target.broken.add("sha256:" + "b" * 64)
    with pytest.raises(Failed):
        deploy.run(story.context, made)
    assert journal(story).release is None
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)


def test_two_releases_do_not_mix(story: Story) -> None:
    story.released()
    first, second = story.packaged(), story.packaged()
    deploy.run(story.context, first)
    story.during = lambda _stage: None
    switch.run(story.context, first)
    for verb in (deploy.run, run_verb.run):
        with pytest.raises(ConfigurationError, match="another release") as told:
            verb(story.context, second)
        assert f"mlpipeline run --run {first.id}" in told.value.render()
    assert story.context.runs.result(second.id, "train") is None, "told before hours of training"


def test_status_says_what_to_do_about_a_release_nobody_is_at(story: Story) -> None:
    first = story.packaged()
    deploy.run(story.context, first)
    assert f"try         mlpipeline run --run {first.id} (goes on)" in "\n".join(status.run(story.context).lines())
    switch.run(story.context, first)
    settle.run(story.context, first)
    assert "try" not in str(status.run(story.context).lines())
    second = story.packaged()
    deploy.run(story.context, second)
    said = "\n".join(status.run(story.context).lines())
    assert f"mlpipeline run --run {second.id} (goes on), or mlpipeline rollback (takes it back)" in said
    with held(story.context, None):
        assert "(goes on)" not in str(status.run(story.context).lines())


def test_loser_is_told_who_holds_the_service(story: Story) -> None:
    made = story.packaged()
    lease = Lease(story.context.places.lease)
    lease.acquire(Holder(pid=4711, host="build-1", user="ada", run="run-x", since="2026-03-01T03:00:00Z"))
    try:
        with pytest.raises(Held) as told:
            deploy.run(story.context, made)
    finally:
        lease.release()
    assert all(word in told.value.render() for word in ("4711", "build-1", "ada", "run-x"))
    assert story.world.target.calls == []


def test_users_can_be_taken_back_while_a_run_trains(story: Story) -> None:
    first, second = story.released(), story.released()
    trains = story.packaged()
    with making(story.context, trains, "run"):
        assert f"run {trains.id}" in next(line for line in status.run(story.context).lines() if "making" in line)
        assert rollback.run(story.context, trains, reason="wrong answers").run == second.id
        assert status.run(story.context).holder is None
    assert story.world.target.colours[BLUE].artifact.run == first.id
    assert story.context.runs.result(trains.id, "rollback") is None, "the run that trains goes on"


def test_while_users_are_being_moved_a_rollback_is_told_by_whom_and_the_way_out(story: Story) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    told: list[str] = []

    def try_to_go_back(_stage: str) -> None:
        known = holder(story.context.places.lease)
        assert known is not None
        told.append(held_by(known, story.context.places.lease).render())

    story.during = try_to_go_back
    with making(story.context, made, "run"):
        switch.run(story.context, made)
    words = (f"mlpipeline switch, process {os.getpid()} on {socket.gethostname()}", "since", f"kill {os.getpid()}", "SIGTERM")
    assert all(word in told[0] for word in words), told[0]


def judged(story: Story, made: Run, champion: str) -> None:
    """As gate model leaves it."""
    compared = {"champion": {"digest": champion, "model_version": "1"}} if champion else {}
    story._passed(story.context, made, "gate-model", {"holdout_digest": "sha256:1", **compared})


def test_a_candidate_judged_against_a_champion_that_was_taken_back_is_not_deployed(story: Story) -> None:
    story.released()
    story.released()
    then = journal(story).champion.version.digest
    made = story.packaged()
    judged(story, made, then)
    rollback.run(story.context, reason="wrong answers")
    now = journal(story).champion.version.digest
    calls = list(story.world.target.calls)
    with pytest.raises(ConfigurationError, match="not the one that gate model compared") as told:
        deploy.run(story.context, made)
    assert all(word in told.value.render() for word in (then, now, "mlpipeline gate model", "mlpipeline run"))
    assert (story.world.target.calls, journal(story).release) == (calls, None)
    judged(story, made, now)
    assert deploy.run(story.context, made).verdict is Verdict.PASS
    assert deploy.run(story.context, made).verdict is Verdict.PASS
    assert switch.run(story.context, made).verdict is Verdict.PASS
    settle.run(story.context, made)
    assert journal(story).champion.version.run == made.id


def test_a_candidate_judged_while_there_was_no_champion_is_not_put_beside_one(story: Story) -> None:
    made = story.packaged()
    judged(story, made, "")
    story.released()
    with pytest.raises(ConfigurationError, match="not the one that gate model compared") as told:
        deploy.run(story.context, made)
    assert "nobody" in told.value.render()


def test_a_rollback_between_deploy_and_switch_leaves_nothing_to_switch(story: Story) -> None:
    story.released()
    made = story.packaged()
    with making(story.context, made, "run"):
        deploy.run(story.context, made)
        rollback.run(story.context, made, reason="not now")
        with pytest.raises(ConfigurationError, match="nothing of this run stands ready"):
            switch.run(story.context, made)
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)


def test_a_rollback_between_switch_and_settle_leaves_nothing_to_settle(story: Story) -> None:
    first = story.released()
    made = story.packaged()
    with making(story.context, made, "run"):
        deploy.run(story.context, made)
        switch.run(story.context, made)
        rollback.run(story.context, made, reason="not now")
        with pytest.raises(ConfigurationError, match="no switched release of this run"):
            settle.run(story.context, made)
    assert journal(story).champion.version.run == first.id


TRAINED = {"commit": "c" * 40, "dirty": "", "data_version": {"rows.csv": "md5:1"}, "params": {"depth": "3"}}


def test_what_was_taken_back_is_not_deployed_again_as_other_bytes_of_the_same_source(story: Story) -> None:
    """MLflow writes a new id and time into each model, so that a training of the same commit has another digest."""
    story.released()
    taken = story.released(trained=TRAINED)
    rollback.run(story.context, reason="wrong for July")
    again = story.packaged(trained=TRAINED)
    calls = list(story.world.target.calls)
    with pytest.raises(Failed, match="this very commit and data was taken back before and is quarantined") as told:
        deploy.run(story.context, again)
    assert all(word in told.value.render() for word in (f"run {taken.id}", "wrong for July", "c" * 40, "--allow-quarantined"))
    assert story.world.target.calls == calls
    assert f"commit {'c' * 12}): wrong for July" in "\n".join(status.run(story.context).lines())
    assert deploy.run(story.context, again, allow_quarantined=True).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "change",
    [
        {"commit": "d" * 40},
        {"data_version": {"rows.csv": "md5:2"}},
        {"params": {"depth": "4"}},
        {"dirty": "sha256:1"},
    ],
)
def test_another_source_is_not_quarantined_with_it(story: Story, change: dict[str, object]) -> None:
    story.released()
    story.released(trained=TRAINED)
    rollback.run(story.context, reason="bad")
    assert deploy.run(story.context, story.packaged(trained={**TRAINED, **change})).verdict is Verdict.PASS


def test_what_was_trained_with_uncommitted_changes_is_quarantined_by_its_digest_alone(story: Story) -> None:
    story.released()
    story.released(trained={**TRAINED, "dirty": "sha256:1"})
    rollback.run(story.context, reason="bad")
    for again in (TRAINED, {**TRAINED, "dirty": "sha256:1"}):
        assert deploy.run(story.context, story.packaged(trained=again)).verdict is Verdict.PASS


def test_a_champion_that_users_came_back_to_keeps_its_source(story: Story) -> None:
    """The target does not know it; the journal must not lose it on the way through a release that was taken back."""
    story.released()
    story.released(trained=TRAINED)
    made = story.packaged()
    deploy.run(story.context, made)
    rollback.run(story.context, reason="the newer one is bad")
    rollback.run(story.context, reason="this one too")
    with pytest.raises(Failed, match="this very commit and data") as told:
        deploy.run(story.context, story.packaged(trained=TRAINED))
    assert "this one too" in told.value.render()


def test_what_a_person_allowed_and_settled_is_quarantined_no_longer(story: Story) -> None:
    story.released()
    taken = story.released(trained=TRAINED)
    rollback.run(story.context, reason="a false alarm")
    other = story.released()
    rollback.run(story.context, reason="really bad")
    deploy.run(story.context, taken, allow_quarantined=True)
    assert len(journal(story).quarantined) == 2, "not before it has proven itself"
    switch.run(story.context, taken)
    settle.run(story.context, taken)
    assert [why.run for why in journal(story).quarantined.values()] == [other.id]
    lifted = next(entry for entry in story.context.ledger.read() if entry.event == "quarantine-lifted")
    assert (lifted.actor, lifted.run, lifted.facts["taken back in"]) == ("tester", taken.id, taken.id)
    allowed = [entry.facts.get("allowed, taken back in") for entry in story.context.ledger.read() if entry.event == "deploy"]
    assert allowed[-1] == taken.id
    assert allowed[0] is None


def test_settle_with_the_registry_down_can_be_run_again(story: Story) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    switch.run(story.context, made)
    story.world.registry.unreachable = True
    with pytest.raises(EnvironmentFault):
        settle.run(story.context, made)
    assert BLUE in story.world.target.colours
    story.world.registry.unreachable = False
    assert settle.run(story.context, made).verdict is Verdict.PASS
    assert settle.run(story.context, made).verdict is Verdict.PASS
    assert story.world.registry.aliases[("iris", "champion")] == "2"
    assert events(story).count("settled") == 2


def test_rollback_long_after_settling_restores_traffic_alias_and_quarantines(story: Story) -> None:
    first = story.released()
    second = story.released()
    result = rollback.run(story.context, second, reason="wrong for July")
    assert result.verdict is Verdict.PASS, result.reasons
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert story.world.target.colours[BLUE].artifact.run == first.id
    assert story.world.registry.aliases == {("iris", "champion"): "1"}
    assert next(iter(journal(story).quarantined.values())).reason == "wrong for July"


def test_a_rollback_asked_for_again_does_nothing(story: Story) -> None:
    story.released()
    second = story.released()
    result = rollback.run(story.context, second, reason="wrong for July")
    state, entries = journal(story), story.context.ledger.read()
    assert rollback.run(story.context, reason="again") == result
    assert (journal(story), story.context.ledger.read()) == (state, entries)
    assert "was taken back at" in story.world.console.lines[-1]


def test_a_rollback_killed_before_it_told_its_result_goes_no_further_back(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.released()
    second, third = story.released(), story.packaged()
    deploy.run(story.context, third)

    def killed(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as dying, pytest.raises(Crash):
        dying.setattr(rollback.Context, "finish", killed)
        rollback.run(story.context, reason="not this one")
    assert journal(story).previous is not None
    again = rollback.run(story.context, reason="not this one")
    assert again.verdict is Verdict.PASS and again.run == third.id
    assert story.world.target.plan is not None
    assert story.world.target.colours[story.world.target.plan.live].artifact.run == second.id

    # Asked for once more by somebody who was told: the settled version is meant.
    rollback.run(story.context, reason="nor that one")
    assert story.world.target.colours[story.world.target.plan.live].artifact.run != second.id


@pytest.mark.parametrize("stage", ["mirror", "step-10", "bake"])
def test_rollback_of_a_killed_release(story: Story, stage: str) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)

    def kill(now: str) -> None:
        if now == stage:
            raise Crash

    story.during = kill
    with pytest.raises(Crash):
        switch.run(story.context, made)
    assert rollback.run(story.context, reason="worker died").verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert journal(story).champion.colour is BLUE


def test_users_moved_by_a_worker_that_died_before_it_told_are_in_the_ledger(story: Story) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    story.world.target.route(TrafficPlan(BLUE, share=50))
    rollback.run(story.context, reason="bad")
    live = [entry for entry in story.context.ledger.read() if entry.event == "live"]
    assert [(entry.facts["colour"], entry.facts["share"]) for entry in live] == [
        ("blue", "100"),
        ("green", "50"),
        ("blue", "100"),
    ]
    assert "as found" in live[1].summary
    assert history.run(story.context).lines()


def test_rollback_is_recorded_in_the_run_it_takes_back_and_no_other(story: Story) -> None:
    story.released()
    taken, newer = story.packaged(), story.packaged()
    deploy.run(story.context, taken)
    result = rollback.run(story.context, newer, reason="bad")
    assert result.run == taken.id
    assert story.context.runs.result(newer.id, "rollback") is None


def test_rollback_without_registry_moves_users_and_owes_the_alias(story: Story) -> None:
    story.released()
    second = story.released()
    story.world.registry.unreachable = True
    story.world.metrics.unreachable = True
    result = rollback.run(story.context, second, reason="bad")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "owed" in result.summary
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert any("OWED" in line for line in story.world.console.lines)
    story.world.registry.unreachable = False
    deploy.run(story.context, story.packaged())
    assert story.world.registry.aliases == {("iris", "champion"): "1"}
    assert journal(story).owed == ()


def test_rollback_brings_back_a_champion_that_went_down_with_its_machine(story: Story) -> None:
    story.released()
    second = story.released()
    story.world.target.kill_all()
    assert "DOWN" in status.run(story.context).lines()[0]
    assert rollback.run(story.context, reason="reboot").verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(GREEN)
    assert story.world.target.colours[GREEN].artifact.run == second.id
    assert not journal(story).quarantined
    assert status.run(story.context).serving


def test_rollback_killed_while_it_brings_the_champion_back_brings_back_the_champion(story: Story) -> None:
    story.released()
    second = story.released()
    story.world.target.kill_all()
    story.world.fuse.left = 1
    with pytest.raises(Crash):
        rollback.run(story.context, reason="reboot")
    story.world.target.router = "up"  # the local target's router comes back with the process, with its last plan
    again = rollback.run(story.context, reason="reboot")
    assert again.verdict is Verdict.PASS
    assert "rollback once more gives users the version before" in again.reasons[-2].summary
    assert story.world.target.plan == TrafficPlan.all_to(GREEN)
    assert story.world.target.colours[GREEN].artifact.run == second.id
    assert not journal(story).quarantined
    assert rollback.run(story.context, reason="now really").verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)


def test_a_champion_that_cannot_be_brought_back_leaves_users_where_they_are_and_can_be_tried_again(story: Story) -> None:
    first = story.released()
    made = story.packaged()
    deploy.run(story.context, made)

    def kill(stage: str) -> None:
        if stage == "bake":
            raise Crash

    story.during = kill
    with pytest.raises(Crash):
        switch.run(story.context, made)
    before = story.world.target.plan
    champion = story.world.target.colours[BLUE].artifact
    story.world.target.kill(BLUE)
    story.world.target.broken.add(champion.digest)
    with pytest.raises(EnvironmentFault, match="cannot be brought back") as told:
        rollback.run(story.context, reason="bad")
    assert champion.digest in told.value.render()
    assert story.world.target.plan == before
    story.world.target.broken.clear()
    assert rollback.run(story.context, reason="bad").verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert story.world.target.colours[BLUE].artifact.run == first.id


def test_a_candidate_that_hangs_once_all_users_came_is_taken_back(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    real = story.world.target.route

    def route(plan: TrafficPlan, *, prove_within: float = 0.0, warm: bool = False) -> Moved:
        moved = real(plan, prove_within=prove_within)
        hangs = plan == TrafficPlan.all_to(GREEN)
        return msgspec.structs.replace(moved, new_completed=0, new_in_flight=3) if hangs else moved

    monkeypatch.setattr(story.world.target, "route", route)
    result = switch.run(story.context, made)
    assert result.verdict is Verdict.FAIL
    assert "answered none of 3 requests" in result.summary
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert journal(story).quarantined


def test_a_worker_whose_service_was_taken_over_moves_nobody(story: Story) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)

    def lose(stage: str) -> None:
        if stage == "bake":
            raise Held("another worker took over")

    story.during = lose
    with pytest.raises(Held):
        switch.run(story.context, made)
    assert story.world.target.plan == TrafficPlan(BLUE, share=90)


def test_a_release_after_a_restart_of_the_machine_brings_back_the_champion_first(story: Story) -> None:
    story.released()
    story.released()
    story.world.target.kill_all()
    story.world.target.calls.clear()
    deploy.run(story.context, story.packaged())
    assert story.world.target.calls == ["deploy green", "deploy blue"]
    assert status.run(story.context).serving


def test_status_says_how_many_users_are_not_answered(story: Story) -> None:
    story.released()
    made = story.packaged()
    deploy.run(story.context, made)
    story.world.target.route(TrafficPlan(BLUE, share=10))
    story.world.target.kill(GREEN)
    assert "DOWN in part, 10 % of users are not answered" in status.run(story.context).lines()[0]


def test_rollback_before_any_release_says_so(story: Story) -> None:
    with pytest.raises(ConfigurationError, match="nothing was ever released"):
        rollback.run(story.context, reason="panic")
    deploy.run(story.context, story.packaged())
    with pytest.raises(ConfigurationError, match="first release"):
        rollback.run(story.context, reason="panic")


def test_history_knows_who_was_live_at_each_moment(story: Story) -> None:
    story.released()
    story.world.clock.sleep(3600)
    made = story.packaged()
    deploy.run(story.context, made)
    story.during = lambda _stage: story.world.clock.sleep(60)
    switch.run(story.context, made)
    story.world.clock.sleep(600)
    told = history.run(story.context, at="2026-03-01T04:01:30")
    assert [(share.colour, share.percent) for share in told.live] == [("blue", 90), ("green", 10)]
    assert history.run(story.context, at="2026-03-01T03:30:00Z").live[0].percent == 100
    assert history.run(story.context, at="2026-03-01T04:10:00Z").live[0].colour == "green"
    assert history.run(story.context, at="2026-02-01T00:00:00Z").lines() == ["at 2026-02-01T00:00:00Z nothing was live"]


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    told = Story(tmp_path, approval=Approval(required=True, quorum=2, requester_may_approve=False, valid_for=3600.0))
    told.watch(monkeypatch)
    return told


def test_approval_needs_a_quorum_of_others_on_this_digest(guarded: Story) -> None:
    made = guarded.packaged()
    digest = str(deploy.run(guarded.context, made).evidence["digest"])
    assert approve.run(guarded.context, made).verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ConfigurationError, match="needs an approval"):
        switch.run(guarded.context, made)
    with pytest.raises(ConfigurationError, match="digest"):
        approve.run(guarded.context, made, person="ada", why="fine", digest="sha256:" + "0" * 64)
    with pytest.raises(ConfigurationError, match="asked for"):
        approve.run(guarded.context, made, person="requester", why="mine", digest=digest)
    for _ in range(2):
        assert approve.run(guarded.context, made, person="ada", why="fine", digest=digest).verdict is Verdict.INCONCLUSIVE
    assert approve.run(guarded.context, made, person="grace", why="fine", digest=digest[:20]).verdict is Verdict.PASS
    assert switch.run(guarded.context, made).verdict is Verdict.PASS
    assert approve.run(guarded.context, made).verdict is Verdict.INCONCLUSIVE, "single use"


@pytest.mark.parametrize(("declared", "verdict"), [("proceed", Verdict.PASS), ("reject", Verdict.FAIL)])
def test_unattended_release_takes_the_declared_policy_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: Literal["proceed", "reject"], verdict: Verdict
) -> None:
    told = Story(tmp_path, approval=Approval(required=True, quorum=2, unattended=declared))
    told.watch(monkeypatch)
    made = told.packaged()
    digest = str(deploy.run(told.context, made).evidence["digest"])
    assert approve.run(told.context, made).evidence["unattended"] == declared
    with pytest.raises(ConfigurationError, match="policy does not say"):
        approve.run(told.context, made, person="policy", why="night", digest=digest, reject=declared == "proceed")
    said = approve.run(told.context, made, person="policy", why="night", digest=digest, reject=declared == "reject")
    assert said.verdict is verdict


def test_policy_of_holding_lets_nobody_decide_in_its_name(guarded: Story) -> None:
    made = guarded.packaged()
    digest = str(deploy.run(guarded.context, made).evidence["digest"])
    for reject in (False, True):
        with pytest.raises(ConfigurationError, match="policy does not say"):
            approve.run(guarded.context, made, person="policy", why="night", digest=digest, reject=reject)


def test_approval_ends_with_its_evidence_its_time_or_a_rejection(guarded: Story) -> None:
    made = guarded.packaged()
    digest = str(deploy.run(guarded.context, made).evidence["digest"])
    for person in ("ada", "grace"):
        approve.run(guarded.context, made, person=person, why="fine", digest=digest)
    assert deploy.run(guarded.context, made).verdict is Verdict.PASS
    assert approve.run(guarded.context, made).verdict is Verdict.PASS, "the same deployment again changes nothing"
    guarded._passed(guarded.context, made, "gate-model", {"rows": 12})
    assert approve.run(guarded.context, made).verdict is Verdict.INCONCLUSIVE
    for person in ("ada", "grace"):
        approve.run(guarded.context, made, person=person, why="fine", digest=digest)
    guarded.world.clock.sleep(3601)
    assert approve.run(guarded.context, made).verdict is Verdict.INCONCLUSIVE
    assert approve.run(guarded.context, made, person="ada", why="no", reject=True, digest=digest).verdict is Verdict.FAIL


def test_a_damaged_ledger_is_kept_and_does_not_keep_users_on_a_bad_version(story: Story) -> None:
    story.released()
    story.released()
    path = story.context.places.ledger
    broken = path.read_text().replace("pass", "fail")
    path.write_text(broken)
    assert rollback.run(story.context, reason="wrong answers").verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(BLUE)
    assert path.with_name(f"{path.name}.broken-1").read_text() == broken
    assert events(story)[0] == "ledger-broken"


def test_status_tells_who_is_live_without_a_journal_it_can_read(story: Story) -> None:
    story.released()
    story.context.places.journal.write_text("{")
    told = status.run(story.context)
    assert told.lines()[0] == "iris: 100 % of users on version 1 (blue)"
    assert "the release journal cannot be read" in "\n".join(told.lines())


@pytest.mark.parametrize("ended", approve.ENDED)
def test_a_request_that_ended_without_an_answer_is_told_apart_from_a_rejection(guarded: Story, ended: str) -> None:
    made = guarded.packaged()
    digest = deploy.run(guarded.context, made).evidence["digest"]
    said = approve.run(guarded.context, made, person="verification", why="errors doubled", ended=ended, digest=digest)
    (kept,) = said.evidence["approvals"]
    assert (kept["who"], kept["why"], kept["decision"]) == ("verification", "errors doubled", ended)
    vetoed = ended == "withdrawn"
    for person in ("ada", "grace"):
        said = approve.run(guarded.context, made, person=person, why="fine", digest=digest)
    assert said.verdict is (Verdict.FAIL if vetoed else Verdict.PASS), said.summary
    assert ("withdrawn by verification: errors doubled" in said.summary) == vetoed


def test_how_a_request_ended_is_one_of_a_few_words_and_no_answer_besides(guarded: Story) -> None:
    made = guarded.packaged()
    digest = deploy.run(guarded.context, made).evidence["digest"]
    with pytest.raises(ConfigurationError, match="must be one of withdrawn"):
        approve.run(guarded.context, made, person="ada", why="x", ended="timed out", digest=digest)
    with pytest.raises(ConfigurationError, match="without --reject"):
        approve.run(guarded.context, made, person="ada", why="x", ended="aborted", reject=True, digest=digest)
    with pytest.raises(ConfigurationError, match="with --as"):
        approve.run(guarded.context, made, ended="aborted")


def test_an_approval_nobody_can_read_counts_for_nobody(guarded: Story) -> None:
    made = guarded.packaged()
    deploy.run(guarded.context, made)
    folder = guarded.context.runs.folder(made.id) / "approvals"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text("{")
    with pytest.raises(EnvironmentFault, match="a recorded approval cannot be read"):
        approve.run(guarded.context, made)
