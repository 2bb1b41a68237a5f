"""What only the local target promises: processes that outlive the worker, and nothing ended that is not ours."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from mlpipeline.adapters.local import LocalTarget
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.target import Local
from mlpipeline.config.values import Duration
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault, Failed
from mlpipeline.hosting import scraper
from mlpipeline.hosting.detached import boot_id, start_time
from mlpipeline.hosting.loopback import ask
from mlpipeline.hosting.processes import LOG_LIMIT, ManagedProcess
from target_world import LocalWorld
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

WORKER = """
import sys, time
from pathlib import Path
sys.path[:0] = {paths!r}
from target_world import LocalWorld
from tiny_service import Behaviour
from mlpipeline.core.traffic import Colour, TrafficPlan
world = LocalWorld(Path({folder!r}), port={port})
target = world.target()
target.deploy(Colour.BLUE, world.artifact(Behaviour("one")))
target.route(TrafficPlan.all_to(Colour.BLUE))
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    with closing(LocalWorld(tmp_path)) as made:
        yield made


def with_settings(world: LocalWorld, tmp_path: Path, **settings: object) -> LocalTarget:
    local = msgspec.structs.replace(Local(port=world.port, drain_timeout=Duration(0.2)), **settings)
    return LocalTarget(world.places, world.service, local, SystemClock(), lambda _artifact: Path(sys.executable))


def test_users_are_served_on_after_the_workers_whole_tree_was_killed(world: LocalWorld, tmp_path: Path) -> None:
    script = WORKER.format(paths=sys.path, folder=str(tmp_path), port=world.port)
    worker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert worker.stdout is not None and worker.stdout.readline() == b"up\n"
        ours = {name: record for name, process in world.target().processes().items() if (record := process.running())}
        assert set(ours) == {"router", "blue"}
        assert all(os.getsid(record.pid) != worker.pid for record in ours.values())
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(30)
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        assert worker.stdout is not None
        worker.stdout.close()
    assert ask("127.0.0.1", world.port, "/invocations", body=b"{}", timeout=10)[0] == 200
    assert {name: world.target().processes()[name].running() for name in ours} == ours


def test_no_secret_of_the_worker_reaches_a_process(world: LocalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("JENKINS_NODE_COOKIE", "the worker's own")
    target = world.target()
    target.deploy(Colour.BLUE, world.artifact(Behaviour()))
    target.route(TrafficPlan.all_to(Colour.BLUE))
    for name in ("blue", "router"):
        record = target.processes()[name].running()
        assert record is not None
        environment = Path(f"/proc/{record.pid}/environ").read_bytes()
        assert b"hush" not in environment
        assert b"JENKINS_NODE_COOKIE=dontKillMe" in environment


@pytest.mark.parametrize("wrong", [{"start": 1}, {"boot": "an earlier one"}], ids=["reused pid", "rebooted"])
def test_a_process_that_is_not_ours_is_never_ended(tmp_path: Path, wrong: dict[str, object]) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        record = {"pid": stranger.pid, "start": start_time(stranger.pid), "boot": boot_id(), **wrong}
        (tmp_path / "process.json").write_text(json.dumps(record), encoding="utf-8")
        process = ManagedProcess(tmp_path, "it", SystemClock())
        assert process.running() is None
        process.stop(0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_users_port_that_is_taken_names_who_has_it(world: LocalWorld) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", world.port))
        taken.listen()
        with pytest.raises(EnvironmentFault) as fault:
            world.target().deploy(Colour.BLUE, world.artifact(Behaviour()))
    assert str(os.getpid()) in fault.value.facts["held by"]
    assert "target.local.port" in fault.value.render()


def test_a_start_that_hangs_ends_with_the_time_limit(world: LocalWorld, tmp_path: Path) -> None:
    target = with_settings(world, tmp_path, ready_timeout=Duration(0.5))
    with pytest.raises(Failed, match="not ready within"):
        target.deploy(Colour.BLUE, world.artifact(Behaviour("loading", never_ready=True)))
    assert target.processes()["blue"].running() is None


def test_a_colour_that_will_not_end_is_killed(world: LocalWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpipeline.adapters.local.colours.KILL_AFTER_DRAIN", 0.2)
    target = with_settings(world, tmp_path)
    target.deploy(Colour.BLUE, world.artifact(Behaviour("stubborn", ignores_sigterm=True)))
    target.retire(Colour.BLUE)
    assert target.processes()["blue"].running() is None
    assert "not now" in target.processes()["blue"].last_words()


def test_a_missing_bundle_is_the_machines_fault(world: LocalWorld) -> None:
    artifact = msgspec.structs.replace(world.artifact(Behaviour()), path="/nowhere")
    with pytest.raises(EnvironmentFault, match="bundle"):
        world.target().deploy(Colour.BLUE, artifact)


def test_a_log_stays_small(tmp_path: Path) -> None:
    process = ManagedProcess(tmp_path, "it", SystemClock())
    process.log.write_bytes(b"old\n" * (LOG_LIMIT // 4) + b"the end\n")
    process.bound_log()
    assert process.log.stat().st_size == 0
    assert (tmp_path / "log.1").stat().st_size == LOG_LIMIT
    assert (tmp_path / "log.1").read_bytes().endswith(b"the end\n")


def test_prometheus_is_started_once_scrapes_everything_and_is_found_again(world: LocalWorld) -> None:
    try:
        scraper.find_prometheus()
    except EnvironmentFault as fault:
        pytest.skip(f"prometheus: {fault.what}")
    target = world.target()
    target.deploy(Colour.BLUE, world.artifact(Behaviour()))
    target.route(TrafficPlan.all_to(Colour.BLUE))
    url = target.monitoring()
    assert world.target().monitoring() == url
    port = int(url.rpartition(":")[2])
    deadline, jobs = time.monotonic() + 60, set()
    while jobs != {("mlpipeline", "blue"), ("mlpipeline-router", "")}:
        assert time.monotonic() < deadline, f"seen: {jobs}"
        found = json.loads(ask("127.0.0.1", port, "/api/v1/query?query=up==1")[1])["data"]["result"]
        assert all(series["metric"]["service"] == world.service for series in found)
        jobs = {(series["metric"]["job"], series["metric"].get("colour", "")) for series in found}
        time.sleep(0.1)


def test_a_missing_prometheus_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPIPELINE_PROMETHEUS", "/nowhere/prometheus")
    with pytest.raises(EnvironmentFault) as fault:
        scraper.find_prometheus()
    assert "apt-get install" in fault.value.render()
