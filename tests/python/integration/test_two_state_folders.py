"""Workers with different state folders drive one target: they see the same truth, and one at a time changes it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli_world import CliWorld, Moment
from constant_load import ConstantLoad
from docker_cli_world import DockerCliWorld
from docker_parts import own_engine
from mlpipeline.adapters.docker.keeper import VolumeKeeper
from mlpipeline.errors import EXIT_ENVIRONMENT

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

HALF = {
    "local": Moment("half of the users moved", "mlpipeline.adapters.local.envoy:Envoy.apply", "share=50"),
    "docker": Moment("half of the users moved", "mlpipeline.adapters.docker.envoy:EnvoyContainer.apply", "share=50"),
}


@contextlib.contextmanager
def local_world(folder: Path) -> Iterator[CliWorld]:
    with closing(CliWorld(folder)) as made:
        yield made


@contextlib.contextmanager
def docker_world(folder: Path) -> Iterator[CliWorld]:
    engine = own_engine()
    with engine.network():
        made = DockerCliWorld(folder)
        try:
            yield made
        finally:
            made.close()
            engine.clear()


KINDS: dict[str, Callable[[Path], contextlib.AbstractContextManager[CliWorld]]] = {"local": local_world, "docker": docker_world}


def told_elsewhere(world: CliWorld, home: dict[str, str]) -> dict[str, object]:
    """``mlpipeline status`` with another state folder, in a checkout without any run."""
    folder = world.project.parent / "elsewhere"
    if not folder.exists():
        folder.mkdir()
        (folder / "mlpipeline.yaml").write_bytes((world.project / "mlpipeline.yaml").read_bytes())
    asked = subprocess.run(
        [sys.executable, "-m", "mlpipeline", "status", "--json"],
        cwd=folder,
        env={**os.environ, **home},
        capture_output=True,
        check=True,
    )
    found: dict[str, object] = json.loads(asked.stdout)["evidence"]
    return found


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_worker_with_another_state_folder_sees_the_truth_waits_its_turn_and_takes_users_back(kind: str, tmp_path: Path) -> None:
    with KINDS[kind](tmp_path) as world:
        home = {"MLPIPELINE_HOME": str(tmp_path / "another-home")}
        world.prepare()
        world.call("run")
        champion = world.champion
        with ConstantLoad(f"http://127.0.0.1:{world.port}", rate=40, keep_alive=2, fresh=2) as load:
            world.prepare()
            first = world.start("run")
            first.says("stage step-50")
            os.kill(first.process.pid, signal.SIGSTOP)
            told = told_elsewhere(world, home)
            percents = {colour["deployed"]["colour"]: colour["percent"] for colour in told["colours"]}  # type: ignore[attr-defined]
            assert percents == {"blue": 50, "green": 50}, told["lines"]
            assert f"process {first.process.pid} on " in str(told["lines"]), "who is at it"
            refused = world.start("rollback", environment=home)
            assert refused.ended() == EXIT_ENVIRONMENT
            assert f"process {first.process.pid} on " in refused.told
            first.kill()
            resumed = world.start("resume", environment=home)
            assert resumed.ended() == 0, resumed.told
            assert "all users wait on blue" in resumed.told
            back = world.start("rollback", "--reason", "from elsewhere", environment=home)
            assert back.ended() == 0, back.told
            assert load.wait_for("blue", 10)
        assert (load.failed, load.failures) == (0, [])
        assert (world.champion, world.phase) == (champion, "")
        assert "from elsewhere" in str([entry.facts for entry in world.ledger]), "one journal and one ledger, whoever writes"
        assert not (tmp_path / "another-home" / "services").exists(), "nothing of it is kept twice"


def test_of_two_that_begin_at_the_same_moment_one_decides_where_the_state_is(tmp_path: Path) -> None:
    engine = own_engine()
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    start, said = threading.Barrier(len(folders)), []

    def claim(folder: Path) -> None:
        start.wait()
        said.append(VolumeKeeper(engine.host, "raced", {}).claim(folder))

    workers = [threading.Thread(target=claim, args=(folder,)) for folder in folders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    keeper = VolumeKeeper(engine.host, "raced", {})
    assert len(said) == len(folders)
    assert len(set(said)) == 1
    assert keeper.kept() == said[0]
    keeper.release()
    assert keeper.kept() is None
    assert not engine.client.volumes()["Volumes"]
