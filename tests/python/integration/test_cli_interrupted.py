"""Whatever ends a worker, and whenever: users are answered, one colour is live, and the same command goes on to the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from cli_world import CliWorld, Moment, Worker, with_in_environment
from mlpipeline.errors import EXIT_ENVIRONMENT, EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_INTERRUPTED

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

JOURNAL = "mlpipeline.record.journal:Journal.write"
ROUTER = "mlpipeline.adapters.local.envoy:Envoy.apply"
TARGET = "mlpipeline.adapters.local.target:LocalTarget"
COOKIE = "JENKINS_NODE_COOKIE=the-end-of-a-node-block"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliWorld]:
    """A service with a settled first release, shared: each test leaves a settled service again."""
    made = CliWorld(tmp_path_factory.mktemp("interrupted"))
    try:
        made.prepare()
        made.call("run")
        yield made
    finally:
        made.close()


def settled_with_a_new_commit(world: CliWorld) -> str:
    """The champion's digest. A test that failed half way and is repeated begins as if it had not been."""
    if world.phase:
        world.call("rollback", "--reason", "a test broke off")
    world.prepare()
    return world.champion


def answered_by_one(world: CliWorld) -> dict[str, int]:
    """Asserts that the status knows one live colour and that users are answered; returns the percents by colour."""
    status = world.status()
    colours = status["colours"]
    assert isinstance(colours, list)
    assert [colour["role"] for colour in colours].count("live") == 1, status["lines"]
    assert sum(colour["percent"] for colour in colours) == 100, status["lines"]
    assert all(colour["deployed"]["ready"] for colour in colours if colour["percent"]), status["lines"]
    assert "DOWN, users" not in str(status["lines"])
    return {colour["deployed"]["colour"]: colour["percent"] for colour in colours}


def ended_with_evidence(world: CliWorld, worker: Worker) -> Worker:
    """A starved Prometheus misses stages as short as these; the verdict is inconclusive then, and ``run`` goes on."""
    for _ in range(3):
        if worker.ended() != EXIT_INCONCLUSIVE:
            break
        worker = world.start("run")
    worker.ended()
    return worker


def settled_by_the_next_run(world: CliWorld, before: str) -> Worker:
    """The next ``run`` is all a person has to do."""
    worker = ended_with_evidence(world, world.start("run"))
    assert worker.process.returncode == 0, worker.told
    assert world.phase == ""
    assert world.champion != before
    assert sorted(answered_by_one(world).values())[-1] == 100
    return worker


# Where the worker dies, and the percent of users that the candidate has then.
BEFORE_USERS = (
    (Moment("the deployment was written down, nothing started", JOURNAL, "preparing"), 0),
    (Moment("the candidate stands, nobody knows", f"{TARGET}.deploy"), 0),
    (Moment("copies flow", ROUTER, "mirror=True"), 0),
)
WITH_USERS = (
    (Moment("half of the users moved", ROUTER, "share=50"), 50),
    (Moment("the bake begins", ROUTER, "share=80"), 80),
    (Moment("the verdict fell", JOURNAL, "switching"), 80),
    (Moment("all users moved, nothing proven", ROUTER, "share=0"), 100),
    (Moment("proven, not told", JOURNAL, "switched"), 100),
    (Moment("the old colour is retired", f"{TARGET}.retire"), 100),
    (Moment("settled, the ledger does not know", JOURNAL, "release=None"), 100),
)


def test_a_release_killed_again_and_again_goes_on_each_time_and_settles(world: CliWorld) -> None:
    """SIGKILL right after each effect of one release; every call is the same ``mlpipeline run``."""
    before = settled_with_a_new_commit(world)
    candidate = world.other
    with world.users():
        for moment, percent in BEFORE_USERS:
            dies_at(world, moment)
            assert answered_by_one(world).get(candidate, 0) == percent, moment.name
        the_node_block_ends(world)
        assert answered_by_one(world)[candidate] == 50
        for moment, percent in WITH_USERS:
            dies_at(world, moment)
            assert answered_by_one(world).get(candidate, 0) == percent, moment.name
        settled_by_the_next_run(world, before)
    told = [entry.facts for entry in world.ledger if entry.event == "live"]
    shares = {facts["share"] for facts in told if facts["digest"] == world.champion}
    assert shares >= {"50", "80", "100"}, "the ledger knows who was live, also when its writer died first"
    released = [entry.run for entry in world.ledger if entry.event == "settled"]
    assert len(released) == len(set(released)), "each release settles once, however often it was begun"


def dies_at(world: CliWorld, moment: Moment) -> None:
    """A run that is killed there; once more while Prometheus saw too little to come that far."""
    for _ in range(3):
        worker = world.start("run", dies=moment)
        if worker.ended() != EXIT_INCONCLUSIVE:
            break
    worker.dies()


def the_node_block_ends(world: CliWorld) -> None:
    """In the middle of a step Jenkins kills every process that carries the block's cookie; nothing that serves does."""
    name, _, cookie = COOKIE.partition("=")
    worker = world.start("run", environment={name: cookie})
    worker.says("stage step-50")
    serving = world.servers()
    assert set(serving) == {"router", "blue", "green", "prometheus"}
    for pid in with_in_environment(COOKIE):
        os.kill(pid, signal.SIGKILL)
    assert worker.ended() == -signal.SIGKILL
    assert world.servers() == serving


def test_an_abort_and_a_closed_terminal_put_users_on_the_champion(world: CliWorld) -> None:
    """SIGTERM to the worker's whole tree at once in a step; then the terminal of the next attempt is closed; then it goes on."""
    before = settled_with_a_new_commit(world)
    candidate, champion_since = world.other, world.servers()
    with world.users():
        worker = world.start("run")
        worker.says("stage step-50")
        assert worker.terminate_tree() == EXIT_INTERRUPTED, worker.told
        assert "mlpipeline run (goes on where this stopped)" in worker.told
        assert answered_by_one(world).get(candidate, 0) == 0
        page = max((world.project / ".mlpipeline" / "runs").iterdir()) / "report" / "index.html"
        assert "interrupted by SIGTERM" in page.read_text(), "the report of what came to pass is there"
        worker, terminal = world.start_in_a_terminal("run")
        worker.says("stage step-50")
        terminal.hang_up()
        assert worker.ended() == EXIT_INTERRUPTED, worker.told
        assert answered_by_one(world).get(candidate, 0) == 0
        now = world.servers()
        assert {name: now[name] for name in champion_since} == champion_since, "what served before serves on, the same processes"
        settled_by_the_next_run(world, before)


def test_two_runs_at_once_one_wins_and_the_other_names_it_and_changes_nothing(world: CliWorld) -> None:
    before = settled_with_a_new_commit(world)
    with world.users():
        pair = [world.start("run"), world.start("run")]
        pair.sort(key=lambda worker: worker.ended() == EXIT_ENVIRONMENT)
        first = pair[0].process.pid
        winner, loser = ended_with_evidence(world, pair[0]), pair[1]
        assert (winner.process.returncode, loser.process.returncode) == (0, EXIT_ENVIRONMENT), winner.told + loser.told
        assert f"mlpipeline run, process {first} on " in loser.told
        assert "since" in loser.told
    assert world.champion != before


def test_while_a_release_goes_on_nobody_else_may_change_the_service(world: CliWorld) -> None:
    """Then its leases are taken away: it stops without another change, and the next worker has the service to itself."""
    before = settled_with_a_new_commit(world)
    with world.users():
        first = world.start("run")
        first.says("stage step-50")
        os.kill(first.process.pid, signal.SIGSTOP)
        told = world.call("rollback", expect=EXIT_ENVIRONMENT)
        assert f"mlpipeline switch, process {first.process.pid} on " in told
        assert "since" in told
        assert f"kill {first.process.pid}    # SIGTERM: it takes users back itself" in told
        assert f"mlpipeline switch, process {first.process.pid} on " in str(world.status()["lines"])
        assert f"mlpipeline run, process {first.process.pid} on " in str(world.status()["lines"])
        world.places.lease.unlink()
        world.places.making.unlink()
        second = world.start("run")
        second.says("stage step-50")
        os.kill(first.process.pid, signal.SIGCONT)
        assert first.ended() == EXIT_ENVIRONMENT, first.told
        assert f"mlpipeline switch, process {second.process.pid} on " in first.told or "newer worker" in first.told, first.told
        assert ended_with_evidence(world, second).process.returncode == 0, second.told
    assert world.champion != before


def test_users_are_taken_back_while_a_run_trains_for_hours(world: CliWorld) -> None:
    before = settled_with_a_new_commit(world)
    with world.users():
        settled_by_the_next_run(world, before)
        world.commit()
        trains = world.start("run", "--set", "train.command=sleep 36000")
        trains.says("train: sleep 36000")
        assert f"mlpipeline run, process {trains.process.pid} on " in world.call("run", expect=EXIT_ENVIRONMENT)
        world.call("rollback", "--reason", "complaints from the shop")
        assert world.champion == before
        assert sorted(answered_by_one(world).values())[-1] == 100
        assert trains.process.poll() is None
        assert trains.terminate_tree() == EXIT_INTERRUPTED, trains.told
    assert world.champion == before


RETURN = (
    # Where the rollback dies, and the percent of users that the candidate has then.
    (Moment("decided, nothing done", JOURNAL, "returning"), 50),
    (Moment("users are back, nothing proven", ROUTER, "share=0"), 0),
    (Moment("the candidate is gone", f"{TARGET}.retire"), 0),
)


def test_a_rollback_killed_again_and_again_ends_with_users_on_the_champion(world: CliWorld) -> None:
    before = settled_with_a_new_commit(world)
    told_before = len(world.ledger)
    candidate = world.other
    with world.users():
        world.start("run", dies=Moment("half of the users moved", ROUTER, "share=50")).dies()
        for moment, percent in RETURN:
            world.start("rollback", "--reason", "a test wants it", dies=moment).dies()
            assert answered_by_one(world).get(candidate, 0) == percent, moment.name
            assert world.in_phase("returning")(), moment.name
        told = world.call("run", expect=EXIT_FAIL)
        assert "a test wants it" in told, "the next run finishes the way back and says why"
        assert world.phase == ""
        assert answered_by_one(world).get(candidate, 0) == 0
    assert world.champion == before
    assert [entry.event for entry in world.ledger[told_before:]].count("rolled-back") == 1


def test_a_second_ctrl_c_ends_the_worker_while_it_makes_users_safe(world: CliWorld) -> None:
    """The router is stopped for the moment, so that users cannot be moved back yet: the second Ctrl-C does not wait for it."""
    before = settled_with_a_new_commit(world)
    with world.users():
        worker = world.start("run")
        worker.says("stage step-50")
        router = world.servers()["router"]
        os.kill(router, signal.SIGSTOP)
        try:
            worker.signal(signal.SIGINT)
            worker.says("users go back")
            worker.signal(signal.SIGINT)
            assert worker.ended() == EXIT_INTERRUPTED, worker.told
        finally:
            os.kill(router, signal.SIGCONT)
        settled_by_the_next_run(world, before)
