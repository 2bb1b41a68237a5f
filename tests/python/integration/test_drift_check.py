"""``mlpipeline drift-check`` beside a service that was really released, while somebody changes it behind its back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_world import CliWorld
from mlpipeline.core import envoy_files
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.record.files import write_atomically
from tiny_service import Behaviour, make_bundle

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliWorld]:
    made = CliWorld(tmp_path_factory.mktemp("released"), stage_seconds=2.0)
    try:
        made.prepare()
        made.call("run")
        yield made
    finally:
        made.close()


def look(world: CliWorld, expect: int | None = None) -> dict[str, Any]:
    """What ``drift-check --json`` says; fails on another exit code than the expected one."""
    asked = subprocess.run(
        [sys.executable, "-m", "mlpipeline", "drift-check", "--json"],
        cwd=world.project,
        env={**os.environ, "MLPIPELINE_HOME": str(world.places.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert expect in {None, asked.returncode}, asked.stdout + asked.stderr
    found: dict[str, Any] = json.loads(asked.stdout)
    return found


def named(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, str]]:
    """Differences by part and fact."""
    return {(one["part"], one["what"]): one for one in found["evidence"]["differences"]}


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


@pytest.fixture
def untouched(world: CliWorld) -> Iterator[None]:
    """What is live is as it was released, before and after."""
    look(world, 0)
    yield
    look(world, 0)


def test_nothing_released_is_no_pass(tmp_path: Path) -> None:
    fresh = CliWorld(tmp_path)
    fresh.commit()
    assert "nothing was released yet" in look(fresh, 11)["summary"]


def test_what_was_released_and_left_alone_passes(world: CliWorld) -> None:
    found = look(world, 0)
    assert found["evidence"]["compared"]["router"] > 3
    assert "what runs is what was released" in found["summary"]


@pytest.mark.usefixtures("untouched")
def test_another_package_at_the_port_of_the_released_one_is_named_with_who_started_it(world: CliWorld, tmp_path: Path) -> None:
    colour = str(world.journal.champion.colour)  # type: ignore[union-attr]
    port = json.loads((world.places.target / colour / "standing.json").read_text())["port"]
    pid = world.servers()[colour]
    os.kill(pid, signal.SIGKILL)
    until(lambda: colour not in world.servers(), "the colour is gone")
    other = make_bundle(tmp_path, Behaviour("another"))
    command = ["-m", "mlpipeline.serving", "--model", f"{other.path}/model", "--host", "127.0.0.1", "--port", str(port)]
    stranger = subprocess.Popen(
        [sys.executable, *command, "--digest", "evil", "--drain-timeout", "1"],
        env={**os.environ, "PYTHONPATH": f"{other.path}/lib"},
    )
    try:
        until(lambda: world.status() and "evil" in _answer(world), "users get the other package's answers")
        found = named(look(world, 10))
        assert f"process {stranger.pid}" in found[colour, "who answers"]["found"]
        assert f"process {stranger.pid} was started" in found[colour, "who answers"]["changed"]
        assert found[colour, "process"]["found"] == "gone"
    finally:
        stranger.kill()
        stranger.wait()
        world.call("rollback", "--reason", "somebody changed it")


@pytest.mark.usefixtures("untouched")
def test_users_moved_by_an_edited_route_file_are_named(world: CliWorld) -> None:
    live = world.journal.champion.colour  # type: ignore[union-attr]
    file = envoy_files.routes_file(world.places.target / "router")
    kept = file.read_bytes()
    edited = envoy_files.routes(TrafficPlan(live, share=30), "by hand")
    write_atomically(file, json.dumps(edited).encode())
    try:
        until(lambda: "70 % of users" in world.status()["lines"][0], "the router follows the file")  # type: ignore[index]
        found = named(look(world, 10))
        assert found["router", "routes"]["found"] == f"{30 if live is Colour.GREEN else 70} % of users to blue, " + (
            f"{70 if live is Colour.GREEN else 30} % of users to green"
        )
    finally:
        write_atomically(file, kept)
        until(lambda: "100 % of users" in world.status()["lines"][0], "the router follows the file again")  # type: ignore[index]


@pytest.mark.usefixtures("untouched")
def test_copies_of_requests_that_somebody_sends_elsewhere_are_named(world: CliWorld) -> None:
    file = envoy_files.routes_file(world.places.target / "router")
    kept = file.read_bytes()
    live = world.journal.champion.colour  # type: ignore[union-attr]
    write_atomically(file, json.dumps(envoy_files.routes(TrafficPlan(live, mirror=True), "by hand")).encode())
    try:
        until(lambda: ("router", "copies of requests") in named(look(world)), "the router follows the file")
    finally:
        write_atomically(file, kept)
        until(lambda: not look(world)["evidence"]["differences"], "the router follows the file again")


@pytest.mark.usefixtures("untouched")
def test_a_hidden_route_is_named_with_who_wrote_it(world: CliWorld) -> None:
    file = envoy_files.routes_file(world.places.target / "router")
    kept = file.read_bytes()
    edited = json.loads(kept)
    routes = edited["resources"][0]["virtual_hosts"][0]["routes"]
    routes.append({**routes[0], "match": {"prefix": "/secret"}})
    write_atomically(file, json.dumps(edited).encode())
    try:
        one = named(look(world, 10))["router", "route file"]
        assert "with 2 routes" in one["found"]
        assert "routes.json was last written 20" in one["changed"]
    finally:
        write_atomically(file, kept)


def test_a_changed_file_of_the_package_is_named(world: CliWorld) -> None:
    bundle = world.places.bundles / world.champion.removeprefix("sha256:")
    file = bundle / "model" / "behaviour.json"
    kept, mode = file.read_bytes(), file.stat().st_mode
    file.chmod(0o644)
    file.write_bytes(kept.replace(b"}", b" }"))
    try:
        assert any(what == "files of its package" for _, what in named(look(world, 10)))
    finally:
        file.write_bytes(kept)
        file.chmod(mode)
    look(world, 0)


def test_a_ledger_that_cannot_be_read_is_no_verdict(world: CliWorld) -> None:
    database = world.places.ledger.with_suffix(".db")
    kept = database.read_bytes()
    database.write_bytes(b"no database" * 100)
    try:
        assert "cannot be compared" in look(world, 11)["summary"]
    finally:
        database.write_bytes(kept)


def test_a_night_names_the_differences_too(world: CliWorld) -> None:
    file = envoy_files.endpoints_file(world.places.target / "router", Colour(world.other))
    kept = file.read_bytes()
    edited = envoy_files.endpoints(Colour(world.other), ("127.0.0.1", 9), "by hand")
    write_atomically(file, json.dumps(edited).encode())
    try:
        told = world.call("nightly", expect=10)
        assert f"endpoint of {world.other} is 127.0.0.1:9" in told
    finally:
        write_atomically(file, kept)


def test_what_runs_after_a_stop_was_started_by_nobody_of_ours(world: CliWorld) -> None:
    world.call("stop")
    assert "nothing runs" in look(world, 0)["summary"]
    world.call("rollback", "--reason", "back again")
    look(world, 0)


def _answer(world: CliWorld) -> str:
    import urllib.request

    request = urllib.request.Request(f"http://127.0.0.1:{world.port}/invocations", data=b"{}")
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(reply.read())
