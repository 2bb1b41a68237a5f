"""A release through staging on fakes: the same package, another service, and production only after it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fakes import Crash, FakeTarget, FakeWorld
from mlpipeline.config.sections.deploy import Deploy, Golden
from mlpipeline.config.sections.rollout import Rollout
from mlpipeline.config.sections.staging import Staging
from mlpipeline.config.staging_layer import staged
from mlpipeline.config.values import Duration
from mlpipeline.core.conditions import ConditionPlan, Measurement
from mlpipeline.core.judge import RULES, Judge, Look, Plan, StageEnd
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault
from mlpipeline.record.ledger import Ledger
from mlpipeline.verbs import deploy, staging, status
from mlpipeline.verbs.context import Context
from release_story import Story

BLUE, GREEN = Colour.BLUE, Colour.GREEN


class AsUser(FakeTarget):
    """Answers its users with what its live colour answers."""

    def ask_as_user(self, request: bytes) -> tuple[int, bytes]:
        assert self.plan is not None
        self.answered[self.plan.live] += 1
        return self.probe(self.plan.live, request)


class Stage:
    """Production and what stands in front of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.story = Story(folder)
        self.story.watch(monkeypatch)
        golden = Deploy(golden=Golden(file="golden.jsonl"))
        there = Staging(deploy=golden, rollout=Rollout(strategy="all_at_once", bake=Duration(0), control=0))
        world = self.story.world
        world.config = msgspec.structs.replace(world.config, staging=there)
        world.places.project.mkdir(parents=True)
        self.expect([1])
        self.front = FakeWorld(folder, service="iris-staging")
        self.front.config = staged(world.config)
        self.front.target = AsUser(self.front.fuse)
        monkeypatch.setattr(staging, "make_context", None)
        monkeypatch.setattr(staging.run, "__kwdefaults__", {**staging.run.__kwdefaults__, "make": self.make})

    def make(self, config: object, *_: object) -> Context:
        assert config == staged(self.story.world.config)
        return self.front.context()

    def expect(self, answer: object) -> None:
        line = json.dumps({"request": {"inputs": [1]}, "expected": answer})
        (self.story.world.places.project / "golden.jsonl").write_text(line)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def test_a_package_passes_staging_before_it_stands_in_production(stage: Stage) -> None:
    made = stage.story.packaged()
    result = deploy.run(stage.story.context, made)
    assert result.verdict is Verdict.PASS
    assert stage.front.target.plan == TrafficPlan.all_to(BLUE), "there it has all users"
    assert stage.story.world.target.plan is None, "here it waits"
    digests = {stage.front.target.colours[BLUE].artifact.digest, stage.story.world.target.colours[BLUE].artifact.digest}
    assert len(digests) == 1, "the same bytes, not built again"
    passed = stage.story.context.runs.result(made.id, "staging")
    assert passed.verdict is Verdict.PASS and passed.evidence["environment"] == "staging"
    assert [step["verb"] for step in passed.evidence["steps"]] == ["deploy", "switch", "settle"]
    entry = next(entry for entry in stage.story.context.ledger.read() if entry.event == "staging")
    assert (entry.facts["environment"], entry.facts["digest"]) == ("staging", digests.pop())
    there = Ledger(stage.front.places.ledger).read()
    assert there and {entry.service for entry in there} == {"iris-staging"}
    assert {entry.facts["environment"] for entry in there} == {"staging"}
    assert not stage.front.registry.aliases, "aliases are production's"


def test_what_passed_there_is_not_done_again(stage: Stage) -> None:
    made = stage.story.packaged()
    deploy.run(stage.story.context, made)
    calls = list(stage.front.target.calls)
    deploy.run(stage.story.context, made)
    assert stage.front.target.calls == calls


def test_the_second_release_goes_beside_the_first_in_both(stage: Stage) -> None:
    stage.story.released()
    stage.story.released()
    assert stage.front.target.plan == stage.story.world.target.plan == TrafficPlan.all_to(GREEN)
    assert set(stage.front.target.colours) == {GREEN}


def test_a_failure_in_staging_never_reaches_production(stage: Stage) -> None:
    stage.story.released()
    before = list(stage.story.world.target.calls)
    stage.expect([2])
    made = stage.story.packaged()
    result = deploy.run(stage.story.context, made)
    assert result.verdict is Verdict.FAIL
    assert "not deployed to production: in staging: deploy:" in result.summary and "expected 2, got 1" in result.summary
    assert stage.story.world.target.calls == before
    assert set(stage.front.target.colours) == {BLUE}, "green was taken away there"
    assert stage.story.context.runs.result(made.id, "staging").verdict is Verdict.FAIL


def test_a_wrong_answer_through_the_router_is_taken_back_there(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.story.released()
    monkeypatch.setattr(stage.front.target, "ask_as_user", lambda _request: (200, b'{"predictions": [7]}'))
    made = stage.story.packaged()
    monkeypatch.setattr(
        stage.front.target,
        "counts",
        lambda real=stage.front.target.counts: (
            stage.front.target.answered.update({GREEN: stage.front.target.answered[GREEN] + 1}) or real()
        ),
    )
    result = staging.run(stage.story.context, made)
    assert result.verdict is Verdict.FAIL and "the router answered 1 of 1 golden requests" in result.summary
    assert stage.front.target.plan == TrafficPlan.all_to(BLUE)


def test_a_worker_killed_in_staging_goes_on_there(stage: Stage) -> None:
    made = stage.story.packaged()
    for left in (1, 1, 1):
        stage.front.fuse.left = left
        try:
            deploy.run(stage.story.context, made)
        except Crash:
            assert stage.story.world.target.calls == []
    stage.front.fuse.left = -1
    assert deploy.run(stage.story.context, made).verdict is Verdict.PASS
    assert stage.front.target.calls.count("deploy blue") == 1


def test_an_environment_that_cannot_be_reached_is_no_verdict(stage: Stage) -> None:
    stage.front.target.unreachable = True
    with pytest.raises(EnvironmentFault):
        deploy.run(stage.story.context, stage.story.packaged())
    assert stage.story.world.target.calls == []


def test_the_ledger_there_says_once_who_is_live(stage: Stage) -> None:
    stage.story.released()
    stage.story.released()
    live = [entry.facts for entry in Ledger(stage.front.places.ledger).read() if entry.event == "live"]
    assert [(one["colour"], one["environment"]) for one in live] == [("blue", "staging"), ("green", "staging")]


def test_status_there_says_what_goes_on_with_a_release(stage: Stage) -> None:
    stage.story.released()
    made = stage.story.packaged()
    stage.front.fuse.left = 1
    with pytest.raises(Crash):
        deploy.run(stage.story.context, made)
    there = msgspec.structs.replace(stage.front.context(), environment_name="staging")
    assert "mlpipeline rollback --environment staging" in "\n".join(status.run(there).lines())


def test_conditions_alone_are_a_plan_that_can_be_judged() -> None:
    condition = ConditionPlan("up", "up", success="result > 0")
    judge = Judge(Plan("s", "r", "green", "blue", 0.01, 2.0, 50, (), conditions=(condition,), rules=RULES))
    judge.add(Look(1.0, "bake", "live", 2.0, conditions={"up": Measurement(("1.0",))}))
    judge.end(StageEnd("bake", 1, True))
    assert judge.judgement().verdict is Verdict.PASS
