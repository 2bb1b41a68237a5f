"""Which colour may answer for the other, as it stands in the router's files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipeline.core import envoy_failover, envoy_files
from mlpipeline.core.envoy_failover import FIRST, Backup, may_answer_for
from mlpipeline.core.traffic import Colour, Pinned, TrafficPlan
from mlpipeline.packs import find
from mlpipeline.packs.shape import Traffic

BLUE, GREEN = Colour.BLUE, Colour.GREEN
COHORTS = (Pinned("beta", "yes", GREEN, header="x-beta"), Pinned("calm", "yes", BLUE, cookie="calm"))

shares = st.builds(TrafficPlan, st.sampled_from(Colour), share=st.integers(0, 100), cohorts=st.sampled_from([(), COHORTS]))
copies = st.builds(TrafficPlan, st.sampled_from(Colour), mirror=st.just(True), cohorts=st.sampled_from([(), COHORTS]))


def written(plan: TrafficPlan, backup: Backup) -> str:
    return msgspec.json.encode(envoy_files.routes(plan, "7", backup)).decode()


@given(shares | copies, st.sampled_from(Backup))
def test_the_plan_is_read_back_whoever_answers_for_whom(plan: TrafficPlan, backup: Backup) -> None:
    text = written(plan, backup)
    assert envoy_files.plan_of(json.loads(text)["resources"][0]) == plan
    known = envoy_files.backup_in(text)
    assert known is not None and written(plan, known) == text, "a file of ours"
    assert FIRST not in written(plan, Backup.NONE)


@given(shares | copies, st.sampled_from([Backup.USERS, Backup.WARM]))
def test_what_a_rollback_returns_to_may_always_answer(plan: TrafficPlan, backup: Backup) -> None:
    assert may_answer_for(plan.live.other, plan, backup)


@given(copies | st.builds(TrafficPlan, st.sampled_from(Colour), cohorts=st.sampled_from([(), COHORTS])))
def test_a_candidate_that_the_share_gives_nobody_answers_for_nobody(plan: TrafficPlan) -> None:
    assert not may_answer_for(plan.live, plan, Backup.USERS)
    assert may_answer_for(plan.live, plan, Backup.WARM), "the version before may"


def test_copies_go_to_the_colour_itself() -> None:
    assert '"request_mirror_policies":[{"cluster":"green"}]' in written(TrafficPlan(BLUE, mirror=True), Backup.USERS)


def test_a_request_is_repeated_once_and_only_without_an_answer() -> None:
    policy = envoy_failover.retries(envoy_failover.first(GREEN))
    assert policy["num_retries"] == 1
    assert set(str(policy["retry_on"]).split(",")) == {"connect-failure", "refused-stream", "reset"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"resources": []}', '{"resources": [{"virtual_hosts": []}]}'])
def test_a_strange_route_file_is_nobodys(text: str) -> None:
    assert envoy_files.backup_in(text) is None


def test_an_old_envoy_can_be_told_without() -> None:
    place = (Path("/files"), ("127.0.0.1", 1), ("127.0.0.1", 2))
    assert "composite" in json.dumps(envoy_files.bootstrap(*place))
    assert "composite" not in json.dumps(envoy_files.bootstrap(*place, failover=False))


@pytest.mark.parametrize(("traffic", "counts"), [("live", True), ("mirror", False)])
def test_what_another_colour_answered_is_an_error_of_users_requests_alone(traffic: Traffic, counts: bool) -> None:
    errors = find("envoy").errors
    assert errors is not None
    labels = {"__name__": "envoy_cluster_upstream_rq_retry_success", "envoy_cluster_name": "green"}
    assert any(series.matches(labels, traffic) for series in errors.errors) is counts
    assert not any(series.matches(labels, traffic) for series in errors.total), "it is no request more"
