"""Releases on containers from the command line: users asking all the time, workers killed, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cli_world import CliWorld, Moment
from constant_load import ConstantLoad
from docker_parts import own_engine, router_image, service_image
from mlpipeline.errors import EXIT_INCONCLUSIVE
from mlpipeline.ports import Artifact
from mlpipeline.record.result import Result
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

_IMAGE = f"image: {{base: 'registry.example.org/debian/python@sha256:{'0' * 64}'}}\n"
_TARGET = "target:\n  kind: docker\n  docker: {{port: {port}, engine: {engine}, router_image: '{router}', threads: 1}}\n"
KILLS = (
    Moment("the candidate stands, nobody knows", "mlpipeline.adapters.docker.target:DockerTarget.deploy"),
    Moment("copies flow", "mlpipeline.adapters.docker.envoy:EnvoyContainer.apply", "mirror=True"),
    Moment("half of the users are moved", "mlpipeline.adapters.docker.envoy:EnvoyContainer.apply", "share=50"),
)


class DockerCliWorld(CliWorld):
    """As on the local target, but what is released is an image, and where it runs an engine."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, stage_seconds=2.0)
        self.engine = own_engine()
        file = self.project / "mlpipeline.yaml"
        kept = [line for line in file.read_text().splitlines() if not line.startswith(("target:", "  local:"))]
        target = _TARGET.format(port=self.port, engine=self.engine.host, router=router_image())
        file.write_text("\n".join(kept) + "\n" + _IMAGE + target)

    def prepare(self, behaviour: Behaviour | None = None) -> str:
        """The package has an image, in a layout as ``package`` writes it."""
        digest = super().prepare(behaviour)
        bundle = self.places.bundles / digest.removeprefix("sha256:")
        image = service_image(self.engine.folder / "layout", Artifact(digest, str(bundle)))
        made = {"digest": image.digest, "id": image.id, "layout": image.source, "archive": "", "reference": ""}
        (run,) = [one for one in self.places.runs.iterdir() if one.name == max(two.name for two in self.places.runs.iterdir())]
        file = next(file for file in run.rglob("package.json"))
        result = msgspec.json.decode(file.read_bytes(), type=Result)
        file.write_bytes(msgspec.json.encode(msgspec.structs.replace(result, evidence={**result.evidence, "image": made})))
        return digest

    def release(self) -> None:
        """A starved Prometheus may miss stages as short as these; ``run`` goes on then."""
        for _ in range(3):
            worker = self.start("run")
            if worker.ended() != EXIT_INCONCLUSIVE:
                break
        assert worker.process.returncode == 0, worker.told

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def roles(self) -> set[str]:
        """Of all containers that there are."""
        return {name.rpartition("-")[2] for name in self.engine.containers()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DockerCliWorld]:
    engine = own_engine()
    router_image()
    with engine.network():
        made = DockerCliWorld(tmp_path)
        try:
            yield made
        finally:
            made.close()
            engine.clear()


def test_releases_and_a_rollback_lose_no_request_and_leave_nothing(world: DockerCliWorld) -> None:
    world.prepare()
    world.release()
    assert world.roles() == {"blue", "router"}
    first = world.champion
    with ConstantLoad(world.address, rate=100) as load:
        assert load.wait_for("blue", 20)
        second = world.prepare()
        world.release()
        assert (world.champion, world.roles()) == (second, {"green", "router"})
        assert load.wait_for("green", 20)
        world.call("rollback", "--reason", "complaints")
        assert (world.champion, world.roles()) == (first, {"blue", "router"})
        world.call("status")
    assert (load.failed, load.failures) == (0, [])
    assert {"blue", "green"} == set(load.by_colour())
    world.call("stop")
    assert (world.engine.containers(), world.engine.networks()) == ([], [])
    world.call("rollback", "--reason", "after a stop it brings the champion back")
    assert world.roles() == {"blue", "router"}


def test_a_candidate_that_does_not_start_leaves_nothing(world: DockerCliWorld) -> None:
    world.prepare(Behaviour("sick", exits="no such column"))
    worker = world.start("run")
    assert worker.ended() == 10, worker.told
    assert "no such column" in worker.told
    assert (world.engine.containers(), world.engine.networks()) == ([], [])


def test_workers_killed_on_the_way_leave_users_answered_and_the_next_one_goes_on(world: DockerCliWorld) -> None:
    world.prepare()
    world.release()
    with ConstantLoad(world.address, rate=100) as load:
        assert load.wait_for("blue", 20)
        wanted = world.prepare()
        for moment in KILLS:
            world.start("run", dies=moment).dies()
        world.release()
        assert world.champion == wanted
        assert load.wait_for("green", 20)
    assert (load.failed, load.failures) == (0, [])
    assert world.roles() == {"green", "router"}
