"""What every target must keep, whatever it runs on. Each test gets a service of its own and real parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from constant_load import ConstantLoad
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault, Failed, Held
from mlpipeline.ports import Target
from target_world import LIVE_WORLDS, WORLDS, TargetWorld, side_by_side
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

BLUE, GREEN = Colour.BLUE, Colour.GREEN
ONE, TWO = Behaviour("one"), Behaviour("two")
PROOF_SECONDS = 30.0


@pytest.fixture(params=sorted(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TargetWorld]:
    with closing((LIVE_WORLDS if "live" in request.fixturenames else WORLDS)[request.param](tmp_path)) as made:
        yield made


@pytest.fixture
def live(world: TargetWorld) -> Target:
    """Blue serves users, green stands beside it."""
    return side_by_side(world)


def wait_until(condition: Callable[[], bool], what: str, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)


def test_nothing_deployed_is_observed_as_nothing(world: TargetWorld) -> None:
    observed = world.target().observe()
    assert (dict(observed.colours), observed.plan, observed.router) == ({}, None, "down")


def test_a_new_worker_finds_what_an_earlier_one_left(world: TargetWorld, live: Target) -> None:
    found = world.target().observe()
    assert found == live.observe()
    assert found.plan == TrafficPlan.all_to(BLUE) and found.router == "up"
    assert {colour: deployed.ready for colour, deployed in found.colours.items()} == {BLUE: True, GREEN: True}
    assert found.colours[GREEN].artifact == world.artifact(TWO)


def test_deploy_brings_no_user_to_the_colour(world: TargetWorld, live: Target) -> None:
    with ConstantLoad(world.address) as load:
        assert load.wait_for("blue", 50)
    assert (load.failed, load.failures) == (0, [])
    assert set(load.by_colour()) == {"blue"}
    assert live.counts()[BLUE].completed == load.sent
    assert live.counts()[GREEN].completed == 0


def test_deploy_of_what_is_there_does_no_work(world: TargetWorld, live: Target) -> None:
    before = live.observe()
    deployed = world.target().deploy(BLUE, world.artifact(ONE))
    assert deployed == before.colours[BLUE] and deployed.restarts == 0
    assert live.observe() == before


def test_switch_under_load_loses_nothing_and_is_proven(world: TargetWorld, live: Target) -> None:
    with ConstantLoad(world.address) as load:
        assert load.wait_for("blue", 50)
        moved = live.route(TrafficPlan.all_to(GREEN), prove_within=PROOF_SECONDS)
        proven = time.monotonic()
        assert load.wait_for("green", 50, since=proven)
    assert (load.failed, load.failures) == (0, [])
    assert moved.old_in_flight == 0 and moved.new_completed > 0
    assert moved.applied_seconds > 0 and 0 <= moved.old_last_seconds < PROOF_SECONDS
    counts = live.counts()
    assert counts[BLUE].completed == moved.old_completed == load.by_colour()["blue"]
    assert load.by_colour(since=proven)["blue"] == 0
    assert live.observe().plan == TrafficPlan.all_to(GREEN)


def test_many_switches_under_load_lose_nothing(world: TargetWorld, live: Target) -> None:
    with ConstantLoad(world.address) as load:
        for colour in (GREEN, BLUE) * 5:
            since = time.monotonic()
            live.route(TrafficPlan.all_to(colour))
            assert load.wait_for(colour, 5, since)
    assert (load.failed, load.failures) == (0, [])


def test_weights_divide_users(world: TargetWorld, live: Target) -> None:
    live.route(TrafficPlan(BLUE, share=30))
    with ConstantLoad(world.address, rate=400) as load:
        wait_until(lambda: load.sent >= 1000, "1000 answers")
    assert load.failed == 0
    share = load.by_colour()["green"] / load.sent
    assert 0.2 < share < 0.4, "six standard deviations and more"
    assert world.target().observe().plan == TrafficPlan(BLUE, share=30)


def test_all_users_by_weight_keep_the_live_colour_as_the_one_to_return_to(world: TargetWorld, live: Target) -> None:
    moved = live.route(TrafficPlan(BLUE, share=100), prove_within=PROOF_SECONDS)
    assert moved.old_in_flight == 0
    assert world.target().observe().plan == TrafficPlan(BLUE, share=100)


def test_mirror_copies_users_without_their_seeing_it(world: TargetWorld, live: Target) -> None:
    live.route(TrafficPlan(BLUE, mirror=True))
    with ConstantLoad(world.address) as load:
        assert load.wait_for("blue", 50)
    assert load.failed == 0 and set(load.by_colour()) == {"blue"}
    assert live.counts()[GREEN].completed == 0, "copies are not users"
    assert world.target().observe().plan == TrafficPlan(BLUE, mirror=True)


@pytest.mark.parametrize("bad", [Behaviour("broken", fails=True), Behaviour("hung", seconds=20)], ids=lambda bad: bad.name)
def test_a_bad_mirror_does_not_touch_users(world: TargetWorld, live: Target, bad: Behaviour) -> None:
    live.deploy(GREEN, world.artifact(bad))
    live.route(TrafficPlan(BLUE, mirror=True))
    with ConstantLoad(world.address, rate=50) as load:
        assert load.wait_for("blue", 50)
    assert (load.failed, set(load.by_colour())) == (0, {"blue"})


def test_an_artifact_that_does_not_start_is_its_own_fault_and_harms_no_user(world: TargetWorld, live: Target) -> None:
    with ConstantLoad(world.address, rate=50) as load:
        with pytest.raises(Failed) as failure:
            live.deploy(GREEN, world.artifact(Behaviour("sick", exits="no such column")))
        assert load.wait_for("blue", 5, since=time.monotonic())
    assert "no such column" in failure.value.render()
    assert load.failed == 0
    observed = live.observe()
    assert observed.plan == TrafficPlan.all_to(BLUE)
    assert not observed.colours[GREEN].ready and "no such column" in observed.colours[GREEN].detail
    assert live.deploy(GREEN, world.artifact(TWO)).ready, "a good one takes its place"


def test_the_live_colour_is_never_replaced_or_retired(world: TargetWorld, live: Target) -> None:
    before = live.observe()
    with pytest.raises(EnvironmentFault, match="users are routed to it"):
        live.deploy(BLUE, world.artifact(TWO))
    with pytest.raises(EnvironmentFault, match="users are routed to it"):
        live.retire(BLUE)
    live.route(TrafficPlan(BLUE, share=1))
    with pytest.raises(EnvironmentFault, match="users are routed to it"):
        live.retire(GREEN)
    assert live.observe().colours == before.colours


def test_a_router_that_is_down_still_protects_the_live_colour(world: TargetWorld, live: Target) -> None:
    world.kill_router()
    with pytest.raises(EnvironmentFault, match="users are routed to it"):
        live.retire(BLUE)


def test_users_are_never_routed_to_nothing(world: TargetWorld, live: Target) -> None:
    live.retire(GREEN)
    with pytest.raises(EnvironmentFault, match="no process runs there"):
        live.route(TrafficPlan.all_to(GREEN))
    live.deploy(GREEN, world.artifact(TWO))
    world.kill_colour(GREEN)
    with pytest.raises(EnvironmentFault, match="no process runs there"):
        live.route(TrafficPlan(BLUE, share=10))
    assert live.observe().plan == TrafficPlan.all_to(BLUE)


def test_retire_lets_requests_in_flight_finish(world: TargetWorld) -> None:
    target = world.target()
    target.deploy(BLUE, world.artifact(Behaviour("slow", seconds=1.5)))
    target.route(TrafficPlan.all_to(BLUE))
    target.deploy(GREEN, world.artifact(TWO))
    with ConstantLoad(world.address, rate=20, keep_alive=2, fresh=2) as load:
        wait_until(lambda: target.counts()[BLUE].active > 0, "a request in flight")
        target.route(TrafficPlan.all_to(GREEN))
        target.retire(BLUE)
        assert load.wait_for("green", 5)
    assert (load.failed, load.failures) == (0, [])
    assert load.by_colour()["blue"] > 0
    assert BLUE not in target.observe().colours
    target.retire(BLUE)


def test_what_cannot_be_proven_in_time_is_not_called_proven(world: TargetWorld) -> None:
    target = world.target()
    target.deploy(BLUE, world.artifact(Behaviour("slow", seconds=4)))
    target.route(TrafficPlan.all_to(BLUE))
    target.deploy(GREEN, world.artifact(TWO))
    with ConstantLoad(world.address, rate=10, keep_alive=1, fresh=1) as load:
        wait_until(lambda: target.counts()[BLUE].active > 0, "a request in flight")
        unproven = target.route(TrafficPlan.all_to(GREEN), prove_within=0.05)
        proven = target.route(TrafficPlan.all_to(GREEN), prove_within=PROOF_SECONDS)
    assert unproven.old_in_flight > 0
    assert proven.old_in_flight == 0
    assert load.failed == 0


def test_a_dead_colour_is_seen_and_restarted(world: TargetWorld, live: Target) -> None:
    world.kill_colour(BLUE)
    seen = live.observe().colours[BLUE]
    assert not seen.ready and "ended" in seen.detail
    assert live.deploy(BLUE, world.artifact(ONE)).restarts == 1
    with ConstantLoad(world.address) as load:
        assert load.wait_for("blue", 10)
    assert load.failed == 0


def test_a_dead_router_is_seen_and_comes_back_with_the_last_plan(world: TargetWorld, live: Target) -> None:
    live.route(TrafficPlan.all_to(GREEN))
    world.kill_router()
    seen = live.observe()
    assert (seen.router, seen.plan) == ("down", None)
    with pytest.raises(EnvironmentFault, match="does not answer"):
        live.counts()
    live.deploy(GREEN, world.artifact(TWO))
    assert live.observe().plan == TrafficPlan.all_to(GREEN)
    with ConstantLoad(world.address) as load:
        assert load.wait_for("green", 10)
    assert load.failed == 0


def test_route_brings_a_dead_router_back(world: TargetWorld, live: Target) -> None:
    world.kill_router()
    assert live.route(TrafficPlan.all_to(GREEN), prove_within=PROOF_SECONDS).old_in_flight == 0
    with ConstantLoad(world.address) as load:
        assert load.wait_for("green", 10)
    assert load.failed == 0 and set(load.by_colour()) == {"green"}


def test_after_everything_died_it_all_comes_back(world: TargetWorld, live: Target) -> None:
    for kill in (world.kill_router, lambda: world.kill_colour(BLUE), lambda: world.kill_colour(GREEN)):
        kill()
    seen = live.observe()
    assert seen.router == "down" and not any(deployed.ready for deployed in seen.colours.values())
    assert set(seen.colours) == {BLUE, GREEN}, "what stood there is not forgotten"
    live.route(TrafficPlan.all_to(BLUE))
    live.deploy(BLUE, seen.colours[BLUE].artifact)
    with ConstantLoad(world.address) as load:
        assert load.wait_for("blue", 10)
    assert load.failed == 0


def test_probes_reach_the_colour_whoever_is_live(world: TargetWorld, live: Target) -> None:
    assert live.probe(GREEN)[0] == 200
    status, body = live.probe(GREEN, b"{}")
    assert status == 200 and world.artifact(TWO).digest.encode() in body
    live.deploy(GREEN, world.artifact(Behaviour("broken", fails=True)))
    assert live.probe(GREEN, b"{}")[0] == 500
    assert live.counts()[GREEN].completed == 0, "probes are not users"


def test_server_errors_are_counted_as_failed(world: TargetWorld, live: Target) -> None:
    live.deploy(GREEN, world.artifact(Behaviour("broken", fails=True)))
    live.route(TrafficPlan(BLUE, share=50))
    with ConstantLoad(world.address) as load:
        assert load.wait_for("green", 20)
    counts = live.counts()
    assert counts[GREEN].failed == counts[GREEN].completed == load.failed > 0
    assert counts[BLUE].failed == 0 < counts[BLUE].completed


def test_a_worker_that_lost_its_lease_changes_nothing(world: TargetWorld, live: Target) -> None:
    before = live.observe()

    def lost() -> None:
        raise Held("another worker holds the service")

    fenced = world.target(lost)
    for change in (
        lambda: fenced.route(TrafficPlan.all_to(GREEN)),
        lambda: fenced.deploy(GREEN, world.artifact(ONE)),
        lambda: fenced.retire(GREEN),
    ):
        with pytest.raises(Held):
            change()
    assert live.observe() == before


def test_the_same_plan_again_changes_nothing(world: TargetWorld, live: Target) -> None:
    with ConstantLoad(world.address) as load:
        for _ in range(5):
            live.route(TrafficPlan.all_to(BLUE), prove_within=PROOF_SECONDS)
        assert load.wait_for("blue", 20)
    assert load.failed == 0 and set(load.by_colour()) == {"blue"}


def test_observing_while_routing_sees_one_plan_or_the_other(world: TargetWorld, live: Target) -> None:
    seen, ending = set(), threading.Event()

    def watch() -> None:
        while not ending.is_set():
            seen.add(world.target().observe().plan)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for colour in (GREEN, BLUE) * 5:
            live.route(TrafficPlan.all_to(colour))
    finally:
        ending.set()
        watcher.join()
    assert seen <= {TrafficPlan.all_to(BLUE), TrafficPlan.all_to(GREEN)}
