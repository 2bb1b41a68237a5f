"""Answers to users' requests and to their copies, compared on containers and pods as on processes. Real parts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlpipeline.core.disagreement import Join
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault
from mlpipeline.ports import Target
from prometheus_server import wait_for
from target_world import TargetWorld
from tiny_service import Behaviour

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

BLUE, GREEN = Colour.BLUE, Colour.GREEN
REQUESTS = 60


def docker_world(folder: Path) -> TargetWorld:
    from docker_parts import DockerWorld

    return DockerWorld(folder, keep_answers=200)


def kubernetes_world(folder: Path) -> TargetWorld:
    from kubernetes_parts import KubernetesWorld

    return KubernetesWorld(folder, keep_answers=200, replicas=2)


WORLDS = {"docker": docker_world, "kubernetes": kubernetes_world}


@pytest.fixture(scope="module", params=sorted(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TargetWorld]:
    with closing(WORLDS[request.param](tmp_path_factory.mktemp("answers"))) as made:
        yield made


@pytest.fixture(scope="module")
def mirrored(world: TargetWorld) -> Target:
    """Blue serves users, green gets copies and predicts something else."""
    target = world.target()
    target.deploy(BLUE, world.artifact(Behaviour("one")))
    target.route(TrafficPlan.all_to(BLUE))
    target.deploy(GREEN, world.artifact(Behaviour("two")))
    target.route(TrafficPlan(BLUE, mirror=True))
    return target


def ask(url: str, body: bytes = b"{}") -> object:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=30))


def test_answers_to_one_request_are_joined_whoever_runs_the_colours(world: TargetWorld, mirrored: Target) -> None:
    for _ in range(REQUESTS):
        ask(f"{world.address}/invocations")
    later = world.target()
    wait_for(lambda: len(later.answers(GREEN)) >= REQUESTS, "the copies were answered")
    assert Join(0.0).add(later.answers(GREEN), later.answers(BLUE)) == (REQUESTS, float(REQUESTS))


def test_a_colour_that_is_deployed_again_keeps_its_key(world: TargetWorld, mirrored: Target) -> None:
    ask(f"{world.address}/invocations")
    before = mirrored.answers(BLUE)
    mirrored.deploy(BLUE, world.artifact(Behaviour("one")))
    assert before and world.target().answers(BLUE).keys() >= before.keys()


@pytest.mark.parametrize("body", [b"", b"0" * 32, b'{"key": ""}'])
def test_users_are_not_told_what_others_were_answered(world: TargetWorld, mirrored: Target, body: bytes) -> None:
    del mirrored
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{world.address}/answers", body)
    assert refused.value.code == 404


def test_a_colour_that_is_gone_does_not_tell_and_says_so(world: TargetWorld, mirrored: Target) -> None:
    mirrored.route(TrafficPlan.all_to(BLUE))
    world.kill_colour(GREEN)
    try:
        assert world.target().answers(GREEN) == {}
    except EnvironmentFault as fault:
        assert "green does not tell its answers" in fault.what
