"""Cohorts and copies, as every target must route them. Each test gets a service of its own and real parts."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from constant_load import COLOUR_HEADER, ConstantLoad
from mlpipeline.core.traffic import Cohort, Colour, Pinned, TrafficPlan, pinned
from mlpipeline.errors import EnvironmentFault
from mlpipeline.ports import Target
from target_world import WORLDS, TargetWorld, side_by_side

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

BLUE, GREEN = Colour.BLUE, Colour.GREEN
PROOF_SECONDS = 30.0
Headers = Sequence[tuple[str, str]]

BETA = Pinned("beta", "beta", GREEN, header="x-cohort")
COOKIE = Pinned("testers", "on.+1", GREEN, cookie="feature")
HOSTILE = Pinned("hostile", '"}], "x": .* ${a}\\', GREEN, header="x-hostile")
"""Its value would end a string of JSON, be an expression, and name a variable, if it were anything but data."""
STAYS = Pinned("vip", "yes", BLUE, header="x-vip")


@pytest.fixture(scope="module", params=sorted(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TargetWorld]:
    with closing(WORLDS[request.param](tmp_path_factory.mktemp("cohorts"))) as made:
        yield made


@pytest.fixture
def live(world: TargetWorld) -> Target:
    """Blue serves users, green stands beside it."""
    return side_by_side(world)


def asked(world: TargetWorld, headers: Headers = (), times: int = 5) -> Counter[str]:
    """The colours that answered a user with these headers, on one kept connection."""
    parts = urlsplit(world.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=30)
    found: Counter[str] = Counter()
    try:
        for _ in range(times):
            connection.putrequest("POST", "/invocations")
            for name, value in (("content-type", "application/json"), ("content-length", "2"), *headers):
                connection.putheader(name, value)
            connection.endheaders(b"{}")
            answer = connection.getresponse()
            answer.read()
            found[answer.getheader(COLOUR_HEADER, "") if answer.status == 200 else f"status {answer.status}"] += 1
    finally:
        connection.close()
    return found


def only(colour: Colour, times: int = 5) -> Counter[str]:
    return Counter({str(colour): times})


def test_a_cohort_goes_to_its_colour_and_everybody_else_stays(world: TargetWorld, live: Target) -> None:
    live.route(TrafficPlan(BLUE, cohorts=(BETA, COOKIE)))
    with ConstantLoad(world.address) as load:
        assert asked(world, [("X-Cohort", "beta")], 20) == only(GREEN, 20)
        assert asked(world, [("cookie", "a=b; feature=on.+1; c=d")], 20) == only(GREEN, 20)
        assert load.wait_for("blue", 50)
    assert (load.failed, set(load.by_colour())) == (0, {"blue"})
    assert world.target().observe().plan == TrafficPlan(BLUE, cohorts=(BETA, COOKIE)), "read back from the router itself"


STRANGERS: tuple[Headers, ...] = (
    [("x-cohort", "Beta")],
    [("x-cohort", "beta ,")],
    [("x-cohort", "alpha,beta")],
    [("x-cohort", "alphabeta")],
    [("x-other", "beta")],
    [("cookie", "feature=onn+1")],
    [("cookie", "feature=on.+12")],
    [("cookie", "xfeature=on.+1")],
    [("cookie", "a=feature=on.+1")],
    [("cookie", 'feature="on.+1"')],
    [("cookie", "Feature=on.+1")],
    [("cookie", "feature")],
    [("x-hostile", "anything")],
)
"""Requests that only look like those of a cohort."""
COOKIES = ("feature=on.+1", "feature=on.+1;a=b", "a=b;feature=on.+1", "a=b;  feature=on.+1 ; c=d")


def test_a_cohort_is_known_by_the_whole_value_and_nothing_else(world: TargetWorld, live: Target) -> None:
    live.route(TrafficPlan(BLUE, cohorts=(BETA, COOKIE, HOSTILE)))
    assert [headers for headers in STRANGERS if asked(world, headers, 2) != only(BLUE, 2)] == []
    assert [cookie for cookie in COOKIES if asked(world, [("cookie", cookie)], 2) != only(GREEN, 2)] == []


def test_a_hostile_value_is_a_value(world: TargetWorld, live: Target) -> None:
    plan = TrafficPlan(BLUE, cohorts=(HOSTILE, Pinned("other", "a.*b", GREEN, cookie="c")))
    live.route(plan)
    assert world.target().observe().plan == plan
    assert asked(world, [("x-hostile", HOSTILE.value)]) == only(GREEN)
    assert asked(world, [("cookie", "c=a.*b")]) == only(GREEN)
    assert asked(world, [("cookie", "c=axxb")]) == only(BLUE)


def test_the_first_cohort_that_fits_counts(world: TargetWorld, live: Target) -> None:
    live.route(TrafficPlan(BLUE, share=50, cohorts=(STAYS, BETA)))
    assert asked(world, [("x-cohort", "beta"), ("x-vip", "yes")]) == only(BLUE)
    assert asked(world, [("x-cohort", "beta")]) == only(GREEN)


def test_cohorts_stay_where_they_are_while_the_share_grows(world: TargetWorld, live: Target) -> None:
    for share in (0, 10, 50, 90):
        live.route(TrafficPlan(BLUE, share=share, cohorts=(STAYS, BETA)))
        assert asked(world, [("x-vip", "yes")], 10) == only(BLUE, 10)
        assert asked(world, [("x-cohort", "beta")], 10) == only(GREEN, 10)


def test_a_cohort_gets_answers_of_a_candidate_that_others_only_mirror_to(world: TargetWorld, live: Target) -> None:
    before = live.counts()
    live.route(TrafficPlan(BLUE, mirror=True, cohorts=(BETA,)))
    assert asked(world, [("x-cohort", "beta")], 7) == only(GREEN, 7)
    assert asked(world, times=4) == only(BLUE, 4)
    after = live.counts()
    assert after[GREEN].completed - before[GREEN].completed == 7, "copies are not users"
    assert after[BLUE].completed - before[BLUE].completed == 4


def test_a_switch_that_a_cohort_does_not_follow_is_not_called_proven(world: TargetWorld, live: Target) -> None:
    stop = threading.Event()
    seen: Counter[str] = Counter()

    def stay() -> None:
        while not stop.is_set():
            seen.update(asked(world, [("x-vip", "yes")], 1))

    vip = threading.Thread(target=stay)
    vip.start()
    try:
        with ConstantLoad(world.address) as load:
            assert load.wait_for("blue", 20)
            moved = live.route(TrafficPlan(GREEN, cohorts=(STAYS,)), prove_within=PROOF_SECONDS)
            since = time.monotonic()
            assert moved.pinned_cohorts == 1 and moved.new_completed > 0
            assert load.wait_for("green", 20, since)
            assert load.by_colour(since)["blue"] == 0
            with pytest.raises(EnvironmentFault, match="users are routed to it"):
                live.retire(BLUE)
            assert set(seen) == {"blue"}
            settled = live.route(TrafficPlan.all_to(GREEN), prove_within=PROOF_SECONDS)
            assert (settled.pinned_cohorts, settled.old_in_flight) == (0, 0), "now everybody is counted"
            live.retire(BLUE)
            assert load.wait_for("green", 20, time.monotonic())
    finally:
        stop.set()
        vip.join()
    assert (load.failed, load.failures) == (0, [])
    assert set(seen) == {"blue", "green"}, "no request of the cohort was lost"


def test_a_cohort_is_never_sent_to_nothing(world: TargetWorld, live: Target) -> None:
    live.retire(GREEN)
    with pytest.raises(EnvironmentFault, match="no process runs there"):
        live.route(TrafficPlan(BLUE, cohorts=(BETA,)))
    assert asked(world, [("x-cohort", "beta")]) == only(BLUE), "it falls back to the live colour"


def test_roles_become_colours_by_where_the_champion_is() -> None:
    wanted = (Cohort("beta", "b", "candidate", header="x"), Cohort("vip", "v", "champion", cookie="c"))
    assert [cohort.colour for cohort in pinned(wanted, BLUE)] == [GREEN, BLUE]
    assert [cohort.colour for cohort in pinned(wanted, GREEN)] == [BLUE, GREEN]
