"""``run``: in order, on from where it stopped, no further than the first thing that did not pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from fakes import FakeWorld
from mlpipeline.config.sections.model_gate import ModelGate
from mlpipeline.core.release import Quarantine, Source, State
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, Held, MlpipelineError
from mlpipeline.ports import Artifact, Deployed
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import Holder, Lease, holder
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import FLOW, Run
from mlpipeline.verbs import gate_data
from mlpipeline.verbs import run as run_verb
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.current import finished
from mlpipeline.verbs.releasing import fingerprint


class Verbs:
    """Every verb passes, unless told otherwise, and notes that it was called."""

    def __init__(self, **outcomes: Verdict | BaseException) -> None:
        self.outcomes = {name.replace("_", "-"): outcome for name, outcome in outcomes.items()}
        self.data: Mapping[str, str] = {"a": "md5:1"}
        self.called: list[str] = []

    def __call__(self, verb: str):
        def step(context: Context, run: Run) -> Result:
            self.called.append(verb)
            outcome = self.outcomes.get(verb, Verdict.PASS)
            if isinstance(outcome, BaseException):
                raise outcome
            evidence = {"data_version": self.data} if verb == "gate-data" else {}
            return context.finish(
                run, verb, context.clock.monotonic(), [Reason(verb, outcome, f"{verb} said {outcome}")], evidence=evidence
            )

        return step


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    (tmp_path / "project").mkdir()
    return FakeWorld(tmp_path)


@pytest.fixture
def run(world: FakeWorld) -> Run:
    return world.context().runs.create(Run(id="r1", service="iris", commit="c" * 40, created="2026-03-01T03:00:00Z"))


def test_all_verbs_run_in_order_and_the_report_comes_last(world: FakeWorld, run: Run) -> None:
    verbs = Verbs()
    result = run_verb.run(world.context(), run, find=verbs)
    assert verbs.called == [*FLOW, "report"]
    assert result.verdict is Verdict.PASS
    assert finished(world.context(), run)


def test_what_passed_is_not_done_again(world: FakeWorld, run: Run) -> None:
    run_verb.run(world.context(), run, find=Verbs(approve=Verdict.INCONCLUSIVE))
    again = Verbs()
    assert run_verb.run(world.context(), run, find=again).verdict is Verdict.PASS
    assert again.called == ["approve", "switch", "settle", "report"]


@pytest.mark.parametrize("outcome", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_nothing_runs_after_what_did_not_pass(world: FakeWorld, run: Run, outcome: Verdict) -> None:
    verbs = Verbs(gate_model=outcome)
    result = run_verb.run(world.context(), run, find=verbs)
    assert verbs.called == [*FLOW[: FLOW.index("gate-model") + 1], "report"]
    assert result.verdict is outcome
    assert result.reasons[0].check == "gate-model"
    assert "gate-model said" in result.summary


def test_only_a_refusal_finishes_a_run(world: FakeWorld, run: Run) -> None:
    run_verb.run(world.context(), run, find=Verbs(switch=Verdict.ERROR))
    assert not finished(world.context(), run)
    run_verb.run(world.context(), run, find=Verbs(switch=Verdict.FAIL))
    assert finished(world.context(), run)


@pytest.mark.parametrize(
    ("error", "verdict"), [(Failed("training exited 1"), Verdict.FAIL), (EnvironmentFault("no disk"), Verdict.ERROR)]
)
def test_a_verb_that_breaks_off_leaves_its_result_and_a_report(
    world: FakeWorld, run: Run, error: MlpipelineError, verdict: Verdict
) -> None:
    verbs = Verbs(train=error)
    with pytest.raises(type(error)):
        run_verb.run(world.context(), run, find=verbs)
    assert verbs.called == ["gate-data", "train", "report"]
    left = world.context().runs.result("r1", "train")
    assert left is not None
    assert left.verdict is verdict
    assert "train" in [entry.event for entry in world.context().ledger.read()]


def test_an_interrupted_run_leaves_where_it_stopped_and_a_report_and_goes_on(world: FakeWorld, run: Run) -> None:
    verbs = Verbs(switch=KeyboardInterrupt("SIGTERM"))
    with pytest.raises(KeyboardInterrupt):
        run_verb.run(world.context(), run, find=verbs)
    assert verbs.called[-2:] == ["switch", "report"]
    left = world.context().runs.result(run.id, "switch")
    assert left is not None and left.verdict is Verdict.ERROR
    assert "interrupted by SIGTERM" in left.summary
    assert [entry.event for entry in world.context().ledger.read()][-2:] == ["switch", "report"]
    assert not finished(world.context(), run)
    again = Verbs()
    assert run_verb.run(world.context(), run, find=again).verdict is Verdict.PASS
    assert again.called == ["switch", "settle", "report"]


def test_a_configuration_error_is_no_outcome_of_the_release(world: FakeWorld, run: Run) -> None:
    with pytest.raises(ConfigurationError):
        run_verb.run(world.context(), run, find=Verbs(train=ConfigurationError("no such command")))
    assert world.context().runs.result("r1", "train") is None


def test_a_report_that_cannot_be_written_does_not_hide_the_verdict(world: FakeWorld, run: Run) -> None:
    result = run_verb.run(world.context(), run, find=Verbs(report=EnvironmentFault("disk full")))
    assert result.verdict is Verdict.PASS
    assert any("report: could not be written: disk full" in line for line in world.console.lines)


def test_changed_data_makes_what_rested_on_it_run_again(world: FakeWorld, run: Run) -> None:
    first = Verbs(package=Verdict.ERROR)
    run_verb.run(world.context(), run, find=first)
    again = Verbs()
    again.data = {"a": "md5:2"}
    run_verb.run(world.context(), run, find=again)
    assert again.called == [*FLOW, "report"]


def test_unchanged_data_is_looked_at_but_nothing_is_trained_again(world: FakeWorld, run: Run) -> None:
    run_verb.run(world.context(), run, find=Verbs(package=Verdict.ERROR))
    again = Verbs()
    run_verb.run(world.context(), run, find=again)
    assert again.called == ["gate-data", *FLOW[FLOW.index("package") :], "report"]


class Looks(Verbs):
    """The model gate notes which champion it compared with, as the target has it then."""

    def __init__(self, world: FakeWorld, **outcomes: Verdict | BaseException) -> None:
        super().__init__(**outcomes)
        self.world = world

    def __call__(self, verb: str):
        step = super().__call__(verb)
        if verb != "gate-model":
            return step

        def gate(context: Context, run: Run) -> Result:
            self.called.append(verb)
            live = self.world.target.colours[Colour.BLUE].artifact
            evidence = {"holdout_digest": "sha256:1", "champion": {"digest": live.digest, "model_version": "1"}}
            return context.finish(run, verb, 0.0, [Reason(verb, Verdict.PASS, "no worse")], evidence=evidence)

        return gate


def test_a_champion_that_changed_before_the_deployment_is_compared_with_anew_and_nothing_is_trained_again(
    world: FakeWorld, run: Run
) -> None:
    world.target.deploy(Colour.BLUE, Artifact(digest="sha256:a", path="", model_version="1", run="r0"))
    world.target.route(TrafficPlan.all_to(Colour.BLUE))
    with pytest.raises(EnvironmentFault):
        run_verb.run(world.context(), run, find=Looks(world, deploy=EnvironmentFault("no disk")))
    world.target.colours[Colour.BLUE] = Deployed(
        colour=Colour.BLUE, artifact=Artifact(digest="sha256:b", path="", model_version="2", run="r00"), ready=True
    )
    again = Looks(world)
    assert run_verb.run(world.context(), run, find=again).verdict is Verdict.PASS
    assert again.called == ["gate-model", *FLOW[FLOW.index("deploy") :], "report"]


def test_a_run_of_a_stopped_service_says_so_before_hours_of_training(tmp_path: Path) -> None:
    """The model gate has to know the champion, and would only ask after the training."""
    (tmp_path / "project").mkdir()
    world = FakeWorld(tmp_path, gate=ModelGate(holdout="a.csv", label="late"))
    run = world.context().runs.create(Run(id="r1", service="iris", commit="c" * 40, created="2026-03-01T03:00:00Z"))
    world.target.deploy(Colour.BLUE, Artifact(digest="sha256:a", path="", model_version="1", run="r0"))
    world.target.route(TrafficPlan(live=Colour.BLUE))
    world.target.router = "down"
    verbs = Verbs()
    with pytest.raises(EnvironmentFault, match="the router is down") as told:
        run_verb.run(world.context(), run, find=verbs)
    assert "mlpipeline rollback" in told.value.render()
    assert verbs.called == ["gate-data", "report"]


def test_a_run_refuses_to_begin_while_another_worker_moves_users(world: FakeWorld, run: Run) -> None:
    verbs, other = Verbs(), Lease(world.places.lease)
    other.acquire(Holder(pid=4711, host="build-1", user="ada", run="r0", since="2026-03-01T03:00:00Z", verb="switch"))
    try:
        with pytest.raises(Held, match="another worker holds") as told:
            run_verb.run(world.context(), run, find=verbs)
    finally:
        other.release()
    assert "mlpipeline switch, process 4711 on build-1" in told.value.render()
    assert verbs.called == []


def test_a_training_leaves_the_right_to_move_users_to_others(world: FakeWorld, run: Run) -> None:
    verbs = Verbs()

    def find(verb: str):
        def step(context: Context, run: Run) -> Result:
            assert holder(context.places.making) is not None
            assert holder(context.places.lease) is None, verb
            return verbs(verb)(context, run)

        return step

    run_verb.run(world.context(), run, find=find)
    assert verbs.called == [*FLOW, "report"]
    assert holder(world.places.making) is None


@pytest.mark.parametrize("change", ["nothing", "the commit", "the data", "an uncommitted line"])
def test_a_source_that_was_taken_back_is_refused_before_hours_of_training(world: FakeWorld, run: Run, change: str) -> None:
    source = Source(
        commit="d" * 40 if change == "the commit" else run.commit,
        data=fingerprint({"a": "md5:2" if change == "the data" else "md5:1"}),
        params=fingerprint({}),
    )
    barred = {"sha256:x": Quarantine("7", "complaints from the shop", "r0", source)}
    Journal(world.places.journal).write(State(quarantined=barred), token=1)
    if change == "an uncommitted line":
        run = world.context().runs.create(msgspec.structs.replace(run, dirty="sha256:1"))
    verbs = Verbs()
    if change != "nothing":
        assert run_verb.run(world.context(), run, find=verbs).verdict is Verdict.PASS
        return
    with pytest.raises(Failed, match="taken back before and is quarantined") as told:
        run_verb.run(world.context(), run, find=verbs)
    assert verbs.called == ["gate-data", "report"]
    words = ("run r0", "complaints from the shop", "mlpipeline deploy --run r0 --allow-quarantined")
    assert all(word in told.value.render() for word in words)
    assert finished(world.context(), run)


def test_the_data_gate_of_a_release_refuses_a_source_that_was_taken_back(world: FakeWorld, run: Run) -> None:
    assert gate_data.run(world.context(), run, release=True).verdict is Verdict.PASS
    source = Source(commit=run.commit, data=fingerprint({}), params=fingerprint({}))
    Journal(world.places.journal).write(State(quarantined={"sha256:x": Quarantine("7", "complaints", "r0", source)}), token=1)
    assert gate_data.run(world.context(), run).verdict is Verdict.PASS
    refused = gate_data.run(world.context(), run, release=True)
    assert (refused.verb, refused.run, refused.verdict) == ("gate-data", run.id, Verdict.FAIL)
    assert refused.summary == "a version of this very commit and data was taken back before and is quarantined"
    noted = world.context().runs.result(run.id, "train")
    assert noted is not None
    assert noted.verdict is Verdict.FAIL


def test_every_start_and_end_is_one_line(world: FakeWorld, run: Run) -> None:
    run_verb.run(world.context(), run, find=Verbs())
    lines = world.console.lines
    assert "gate data: starts" in lines
    assert sum(line.startswith("train: ") for line in lines) == 2
