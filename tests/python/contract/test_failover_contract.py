"""What one colour gives no answer to is asked of the other, and the one that failed is charged with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from constant_load import ConstantLoad
from mlpipeline.core.traffic import Colour, Pinned, TrafficPlan
from target_world import LIVE_WORLDS, LocalWorld, TargetWorld, side_by_side
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

BLUE, GREEN = Colour.BLUE, Colour.GREEN
ONE, TWO, THREE = Behaviour("one"), Behaviour("two"), Behaviour("three")
LONGER_THAN_A_READ = b"[" + b" " * (3 << 20) + b"]"


@pytest.fixture(params=sorted(LIVE_WORLDS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TargetWorld]:
    with closing(LIVE_WORLDS[request.param](tmp_path)) as made:
        yield made


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalWorld]:
    with closing(LocalWorld(tmp_path)) as made:
        yield made


def test_a_candidate_killed_with_half_of_the_users_loses_nobody_and_is_charged(world: TargetWorld) -> None:
    target = side_by_side(world)
    target.route(TrafficPlan(BLUE, share=50))
    with ConstantLoad(world.address) as load:
        assert load.wait_for("green", 20)
        world.kill_colour(GREEN)
        killed, before = time.monotonic(), target.counts()
        assert load.wait_for("blue", 200, killed, within=60)
        target.route(TrafficPlan.all_to(BLUE))
    assert (load.failed, load.failures) == (0, [])
    after = target.counts()
    assert after[BLUE].failed == before[BLUE].failed == 0, "who answers for another is not charged"
    if load.by_colour(killed)["green"] == 0:  # nobody brought it back meanwhile
        assert after[GREEN].failed >= 50, "each request that green gave no answer to"


def test_a_champion_killed_beside_a_candidate_with_users_loses_nobody(world: TargetWorld) -> None:
    target = side_by_side(world)
    target.route(TrafficPlan(BLUE, share=50))
    with ConstantLoad(world.address) as load:
        assert load.wait_for("blue", 20)
        world.kill_colour(BLUE)
        assert load.wait_for("green", 200, time.monotonic(), within=60)
    assert (load.failed, load.failures) == (0, [])


def test_after_the_switch_the_version_before_answers_what_the_new_one_does_not(world: TargetWorld) -> None:
    target = side_by_side(world)
    target.route(TrafficPlan.all_to(GREEN), warm=True)
    assert world.target().observe().plan == TrafficPlan.all_to(GREEN)
    with ConstantLoad(world.address) as load:
        assert load.wait_for("green", 20)
        world.kill_colour(GREEN)
        assert load.wait_for("blue", 100, time.monotonic(), within=60)
    assert (load.failed, load.failures) == (0, [])


def test_a_candidate_without_users_answers_for_nobody(local: LocalWorld) -> None:
    target = side_by_side(local)
    target.route(TrafficPlan(BLUE, mirror=True))
    with ConstantLoad(local.address, rate=50) as load:
        assert load.wait_for("blue", 10)
        local.kill_colour(BLUE)
        while not load.failed:
            time.sleep(0.01)
    assert load.by_colour()["green"] == 0


def test_what_comes_after_the_version_before_answers_for_nobody(local: LocalWorld) -> None:
    target = side_by_side(local)
    target.route(TrafficPlan.all_to(GREEN), warm=True)
    target.deploy(BLUE, local.artifact(THREE))
    with ConstantLoad(local.address, rate=50) as load:
        assert load.wait_for("green", 10)
        local.kill_colour(GREEN)
        while not load.failed:
            time.sleep(0.01)
    assert load.by_colour()["blue"] == 0


def test_an_answer_stays_the_answer(local: LocalWorld) -> None:
    target = side_by_side(local)
    target.deploy(GREEN, local.artifact(Behaviour("broken", fails=True)))
    target.route(TrafficPlan(BLUE, share=50))
    with ConstantLoad(local.address, rate=100) as load:
        assert load.wait_for("green", 20)
    assert {answer.status for answer in load.answers if answer.colour == "green"} == {500}
    assert {answer.status for answer in load.answers if answer.colour == "blue"} == {200}


def test_with_both_gone_the_refusal_comes_at_once(local: LocalWorld) -> None:
    target = side_by_side(local)
    target.route(TrafficPlan(BLUE, share=50))
    local.kill_colour(BLUE)
    local.kill_colour(GREEN)
    before = target.counts()
    with ConstantLoad(local.address, rate=50) as load:
        while load.failed < 20:
            time.sleep(0.01)
    assert {answer.status for answer in load.answers} == {503}
    after = target.counts()
    charged = sum(after[colour].failed - before[colour].failed for colour in Colour)
    assert charged == load.sent, "once per request, however often it was asked"


def test_a_pinned_cohort_is_answered_by_the_other_colour_too(local: LocalWorld) -> None:
    target = side_by_side(local)
    target.route(TrafficPlan(BLUE, cohorts=(Pinned("beta", "yes", GREEN, header="x-beta"),)))
    assert local.target().observe().plan is not None
    local.kill_colour(GREEN)
    assert ask_pinned(local) == (200, "blue")


def test_a_longer_request_is_repeated_too(local: LocalWorld) -> None:
    target = side_by_side(local)
    target.route(TrafficPlan(BLUE, share=100))
    local.kill_colour(GREEN)
    with ConstantLoad(local.address, bodies=[LONGER_THAN_A_READ], rate=5) as load:
        while load.sent < 10:
            time.sleep(0.01)
    assert (load.failed, load.failures) == (0, [])


def test_configuration_can_say_no(local: LocalWorld) -> None:
    """Also to a router that did so until it was started anew."""
    target = side_by_side(local)
    target.route(TrafficPlan(BLUE, share=50))
    local.failover = False
    local.kill_router()
    without = local.target()
    without.route(TrafficPlan(BLUE, share=50))
    assert without.observe().plan == TrafficPlan(BLUE, share=50)
    local.kill_colour(GREEN)
    with ConstantLoad(local.address, rate=50) as load:
        assert load.wait_for("blue", 20)
        while not load.failed:
            time.sleep(0.01)


def test_a_router_that_was_started_without_the_clusters_is_told_what_it_understands(local: LocalWorld) -> None:
    local.failover = False
    side_by_side(local)
    local.failover = True
    newer = local.target()
    newer.route(TrafficPlan(BLUE, share=50))
    with ConstantLoad(local.address, rate=50) as load:
        assert load.wait_for("green", 5)
    assert load.failed == 0
    local.kill_router()
    newer.route(TrafficPlan(BLUE, share=50))
    local.kill_colour(GREEN)
    with ConstantLoad(local.address, rate=50) as load:
        assert load.wait_for("blue", 20)
    assert load.failed == 0


def ask_pinned(local: LocalWorld) -> tuple[int, str]:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", local.port, timeout=30)
    try:
        connection.request("POST", "/invocations", b"{}", {"x-beta": "yes"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("x-mlpipeline-colour", "")
    finally:
        connection.close()
