"""What the serving process samples is what a replay reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fakes import FakeConsole, FakeWorld
from mlpipeline.adapters.local import LocalTarget
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.rollout import Replay, Rollout
from mlpipeline.config.sections.target import Local
from mlpipeline.core.release import Phase, Release, Version
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import Failed
from mlpipeline.ports import Artifact
from mlpipeline.record.places import Places
from mlpipeline.serving.logs import Log
from mlpipeline.serving.samples import Samples
from mlpipeline.verbs.replaying import replay

BLUE, GREEN = Colour.BLUE, Colour.GREEN
RELEASE = Release("r", Version("sha256:2", "/2"), GREEN, Phase.DEPLOYED, champion=Version("sha256:1", "/1"))


def sampled(file: Path, number: int, limit: int = 1 << 20) -> None:
    """As a serving process writes them."""
    samples = Samples(file, 1.0, limit, Log({}))
    for index in range(number):
        body = json.dumps({"inputs": [index, "ä", "x" * 200]}).encode()
        samples.offer(request_id=b"r%d" % index, traffic="live", content_type="application/json", body=body, answer=b"{}")
    samples._waiting.put(None)
    samples._thread.join()


class Answering(LocalTarget):
    """A local target whose colours answer by a function of the request."""

    def probe(self, colour: Colour, request: bytes = b"") -> tuple[int, bytes]:
        first = json.loads(request)["inputs"][0]
        if colour is GREEN and first == 3:
            raise Failed("green did not answer a probe")
        if colour is BLUE and first == 4:
            return 500, b"no"
        wrong = colour is GREEN and first == 5
        return 200, json.dumps({"predictions": [first + wrong]}).encode()


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    made = FakeWorld(tmp_path)
    made.console = FakeConsole()
    return made


def target(places: Places) -> LocalTarget:
    def python(_: Artifact) -> Path:
        return Path(sys.executable)

    return Answering(places, "iris", Local(), SystemClock(), python)


def judged(world: FakeWorld, **rule: object) -> tuple[Verdict, str, tuple[str, ...]]:
    world.config = world.config.__class__(
        service="iris", train=world.config.train, rollout=Rollout(replay=Replay(**{"requests": 1000, "allowed": 0.5, **rule}))
    )
    found = replay(world.context(), target(world.places), RELEASE)
    assert found is not None
    return found.verdict, found.summary, found.sample


def test_the_champion_s_own_sample_is_read_old_half_first(world: FakeWorld) -> None:
    file = world.places.target / "blue" / "requests.jsonl"
    sampled(file, 60, limit=20_000)
    assert Path(f"{file}.1").is_file(), "the file was turned over"
    recorded = target(world.places).recorded(BLUE)
    ids = [json.loads(line)["request_id"] for line in recorded]
    assert ids == [f"r{index}" for index in range(60)][-len(ids) :] and len(ids) > 10
    assert target(world.places).recorded(GREEN) == []


def test_each_colour_is_asked_and_what_the_champion_does_not_answer_is_left_out(world: FakeWorld) -> None:
    sampled(world.places.target / "blue" / "requests.jsonl", 40)
    verdict, said, sample = judged(world)
    assert verdict is Verdict.PASS
    assert "2 of 39 recorded requests differently from blue, 1 left out" in said
    assert sample == ("request 4 (r3): green answered nothing", "request 6 (r5): 100 % of its rows differ")


def test_only_the_newest_are_replayed(world: FakeWorld) -> None:
    sampled(world.places.target / "blue" / "requests.jsonl", 40)
    assert "0 of 20 recorded" in judged(world, requests=20)[1]


def test_no_sample_is_no_verdict_unless_the_policy_goes_on(world: FakeWorld) -> None:
    verdict, said, _ = judged(world)
    assert verdict is Verdict.INCONCLUSIVE and "nothing to compare" in said
    assert judged(world, inconclusive="proceed")[0] is Verdict.PASS


def test_a_torn_last_line_is_left_out(world: FakeWorld) -> None:
    file = world.places.target / "blue" / "requests.jsonl"
    sampled(file, 20)
    with file.open("ab") as stream:
        stream.write(b'{"time": 1, "body": "{\\"inputs')
    assert "1 left out" in judged(world)[1] or "2 left out" in judged(world)[1]


def test_nothing_different_is_asked_of_nobody_where_none_may_differ(world: FakeWorld) -> None:
    sampled(world.places.target / "blue" / "requests.jsonl", 3)
    assert judged(world, allowed=0.0)[0] is Verdict.PASS
    sampled(world.places.target / "blue" / "requests.jsonl", 10)
    assert judged(world, allowed=0.0)[0] is Verdict.FAIL
