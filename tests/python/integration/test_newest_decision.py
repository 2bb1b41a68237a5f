"""What a newer worker decided stands: one that wakes up late changes nothing, whatever target users are on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from constant_load import ConstantLoad
from mlpipeline.clock import SystemClock
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault, Held
from mlpipeline.hosting import writer
from mlpipeline.hosting.writer import alone
from target_world import WORLDS, TargetWorld
from tiny_service import Behaviour

BLUE, GREEN = Colour.BLUE, Colour.GREEN

STOPPED_IN_A_WRITE = """
import os, sys, time
from pathlib import Path
from mlpipeline.clock import SystemClock
from mlpipeline.hosting.writer import alone
with alone(Path(sys.argv[1]), lambda: 1, SystemClock()):
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=sorted(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TargetWorld]:
    with closing(WORLDS[request.param](tmp_path)) as made:
        yield made


@pytest.mark.real
@pytest.mark.timeout(180)
def test_a_worker_that_slept_between_its_last_look_and_its_write_changes_nothing(world: TargetWorld) -> None:
    """The older one has looked, is stopped, the newer one decides, and the older one goes on with what it was about to write."""
    target = world.target(lambda: 1)
    target.deploy(BLUE, world.artifact(Behaviour("one")))
    target.route(TrafficPlan.all_to(BLUE))
    target.deploy(GREEN, world.artifact(Behaviour("two")))
    asleep, awake = threading.Event(), threading.Event()
    told: list[Exception] = []

    def sleeps_once() -> int:
        if not asleep.is_set():
            asleep.set()
            assert awake.wait(120)
        return 1

    def older() -> None:
        try:
            world.target(sleeps_once).route(TrafficPlan(BLUE, share=50))
        except Held as held:
            told.append(held)

    late = threading.Thread(target=older)
    with ConstantLoad(world.address, rate=50) as load:
        late.start()
        assert asleep.wait(120)
        world.target(lambda: 2).route(TrafficPlan.all_to(GREEN), prove_within=30)
        since = time.monotonic()
        awake.set()
        late.join()
        assert load.wait_for("green", 20, since)
    assert len(told) == 1, "the older worker is told that it was overtaken"
    assert target.observe().plan == TrafficPlan.all_to(GREEN)
    assert (load.failed, load.by_colour(since)["blue"]) == (0, 0)
    with pytest.raises(Held):
        target.route(TrafficPlan.all_to(BLUE))


@pytest.mark.real
@pytest.mark.timeout(60)
def test_a_worker_that_is_stopped_in_the_middle_of_a_write_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "WAIT_SECONDS", 0.2)
    other = subprocess.Popen([sys.executable, "-c", STOPPED_IN_A_WRITE, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"writing\n"
        os.kill(other.pid, signal.SIGSTOP)
        with pytest.raises(EnvironmentFault, match="in the middle of a write") as told, alone(tmp_path, lambda: 2, SystemClock()):
            pass
        assert f"kill -9 {other.pid}" in told.value.render()
    finally:
        other.kill()
        other.wait()
        assert other.stdout is not None
        other.stdout.close()
    with alone(tmp_path, lambda: 2, SystemClock()):
        pass


def written_with(folder: Path, token: int | None) -> Callable[[], None]:
    def write() -> None:
        with alone(folder, lambda: token, SystemClock()):
            pass

    return write


def test_tokens_never_go_back_and_a_worker_without_one_proves_nothing(tmp_path: Path) -> None:
    for token in (3, 3, None, 4):
        written_with(tmp_path, token)()
    with pytest.raises(Held, match="newer worker") as told:
        written_with(tmp_path, 3)()
    assert "3, the newer one had 4" in told.value.facts["token"]
