"""Run records: what a run is of, and the newest result of each verb."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.places import Places, home_folder
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run, RunStore, encode, new_run_id


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(Places(project=tmp_path / "project", home=tmp_path / "home", service="churn"))


def run(name: str, **fields: str) -> Run:
    return Run(**{"id": name, "service": "churn", "commit": "c" * 40, "created": "2026-01-01T00:00:00Z", **fields})


def result(verb: str, of: str = "one", verdict: Verdict = Verdict.PASS) -> Result:
    return Result(verb=verb, service="churn", run=of, verdict=verdict, summary="fine")


def test_the_latest_run_is_the_one_created_last(store: RunStore) -> None:
    assert store.latest() is None
    store.create(run("b", created="2026-01-02T00:00:00Z"))
    store.create(run("a", created="2026-01-03T00:00:00Z"))
    assert store.latest() == run("a", created="2026-01-03T00:00:00Z")


def test_a_folder_left_by_a_killed_start_is_passed_over(store: RunStore) -> None:
    store.folder("half").mkdir(parents=True)
    assert store.all() == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 5}'])
def test_records_nobody_can_read_are_passed_over_and_their_verb_is_done_again(store: RunStore, content: str) -> None:
    store.create(run("whole"))
    store.create(run("broken"))
    (store.folder("broken") / "run.json").write_text(content)
    store.write(result("train", of="whole")).write_text(content)
    assert store.all() == [run("whole")]
    assert store.result("whole", "train") is None
    assert store.results("whole") == {}


def test_runs_of_other_services_are_not_shown(store: RunStore) -> None:
    store.create(run("other", service="pricing"))
    assert store.all() == []


def test_an_unknown_run_is_told_with_the_known_ones(store: RunStore) -> None:
    store.create(run("20260101-000000-ccccccc"))
    with pytest.raises(ConfigurationError) as caught:
        store.get("typo")
    assert "20260101-000000-ccccccc" in caught.value.facts["runs"]


def test_results_come_in_the_order_of_the_flow(store: RunStore) -> None:
    for verb in ("switch", "verify", "gate-data", "train"):
        store.write(result(verb))
    assert list(store.results("one")) == ["gate-data", "train", "switch", "verify"]


def test_a_new_result_drops_those_that_rested_on_the_old_one(store: RunStore) -> None:
    for verb in ("gate-data", "train", "package"):
        store.write(result(verb))
    store.drop_results_after("one", "train")
    assert list(store.results("one")) == ["gate-data", "train"]


def test_result_json_begins_with_the_schema_and_has_no_nulls(store: RunStore) -> None:
    reason = Reason("metric.auc", Verdict.FAIL, "too low", {"value": 0.5})
    content = encode(
        Result(verb="gate-model", service="churn", run="one", verdict=Verdict.FAIL, summary="too low", reasons=(reason,))
    )
    assert content.startswith(b'{\n  "schema": 1,')
    assert b"null" not in content
    assert json.loads(content)["reasons"][0] == {
        "check": "metric.auc",
        "verdict": "fail",
        "summary": "too low",
        "numbers": {"value": 0.5},
    }


def test_the_same_inputs_are_the_same_whatever_the_name() -> None:
    assert run("a").same_inputs(run("b", created="2027-01-01T00:00:00Z"))
    assert not run("a").same_inputs(run("a", dirty="d"))
    assert not run("a").same_inputs(run("a", config="d"))


def test_run_names_sort_by_time() -> None:
    moment = datetime(2026, 11, 21, 14, 20, 30, tzinfo=UTC)
    assert new_run_id(moment, "1a2b3c4d5e") == "20261121-142030-1a2b3c4"


def test_the_state_folder_is_the_one_the_environment_names(tmp_path: Path) -> None:
    assert home_folder({"MLPIPELINE_HOME": str(tmp_path)}) == tmp_path
    assert home_folder({}) == Path.home() / ".mlpipeline"
