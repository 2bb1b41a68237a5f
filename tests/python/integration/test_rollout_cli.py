"""Strategies, hooks, golden requests, cohorts and staging with the real command, real processes, Envoy and Prometheus."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cli_world import CliWorld, wait_until
from constant_load import COLOUR_HEADER
from mlpipeline.hosting.machine import free_port
from mlpipeline.record.ledger import Ledger
from mlpipeline.record.places import Places

REPORT = "report/index.html"

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CliWorld]:
    made = CliWorld(tmp_path, stage_seconds=1.0)
    try:
        yield made
    finally:
        made.call("stop", "--environment", "staging", expect=0 if "staging" in configured(made) else 2)
        made.close()


def configured(world: CliWorld) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((world.project / "mlpipeline.yaml").read_text())
    return found


def configure(world: CliWorld, **sections: object) -> None:
    """Lays sections over what the project says."""
    (world.project / "mlpipeline.yaml").write_text(yaml.safe_dump({**configured(world), **sections}, sort_keys=False))


def asked(world: CliWorld, **headers: str) -> str:
    """The colour that answers a user with these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", world.port, timeout=30)
    try:
        connection.request("POST", "/invocations", b"{}", {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read()
        return answer.getheader(COLOUR_HEADER, "") if answer.status == 200 else f"status {answer.status}"
    finally:
        connection.close()


class Cohort:
    """Asks all the time with one header, and counts who answered."""

    def __init__(self, world: CliWorld, **headers: str) -> None:
        self.answered: Counter[str] = Counter()
        self._world, self._headers = world, headers
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Cohort:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ending.wait(0.02):
            try:
                self.answered[asked(self._world, **self._headers)] += 1
            except OSError as error:
                self.answered[f"lost: {error!r}"] += 1


def golden(world: CliWorld, digest: str) -> None:
    """The one golden request: the tiny service predicts the digest that it was started with."""
    (world.project / "golden.jsonl").write_text(json.dumps({"request": {}, "expected": [digest]}))


def test_a_linear_rollout_with_hooks_and_cohorts_loses_no_request_of_anybody(world: CliWorld) -> None:
    rollout = {
        **{"strategy": "linear", "increment": 50, "mirror": "1s", "step": "1s", "bake": "1s", "control": 20, "hold": "90s"},
        "settle_switch": "60s",
        "hooks": {
            point: {"command": f'echo "{point} $MLPIPELINE_STAGE $MLPIPELINE_SHARE $MLPIPELINE_COLOUR" >> "$HOME/asked"'}
            for point in ("confirm_start", "each_step", "before_switch", "after_switch", "before_settle")
        },
        "cohorts": {
            "beta": {"header": "x-cohort", "value": "beta", "to": "candidate"},
            "vip": {"cookie": "plan", "value": "gold", "to": "champion"},
        },
    }
    home = {"HOME": str(world.project.parent)}
    world.prepare()
    world.call("run")
    configure(world, rollout=rollout)
    world.prepare()
    with world.users() as users, Cohort(world, **{"x-cohort": "beta"}) as beta, Cohort(world, cookie="a=b; plan=gold") as vip:
        assert users.wait_for("blue", 20)
        worker = world.start("run", environment=home)
        worker.until(world.in_phase("shifting", 1), "the first step")
        wait_until(lambda: beta.answered["green"] > 5, "the cohort is answered by the candidate")
        colours = set(vip.answered)
        assert colours == {"blue"} or "settle: starts" in worker.told
        worker.until(lambda: "settle: starts" in worker.told, "it settles")
        assert worker.ended() == 0, worker.told
        wait_until(lambda: vip.answered["green"] > 5, "everybody is on the champion")
    assert "all users but cohort vip are on green" in worker.told
    for found in (beta.answered, vip.answered):
        assert set(found) <= {"blue", "green"}, f"lost requests: {found}"
    said = (world.project.parent / "asked").read_text().splitlines()
    assert said == [
        "confirm_start  0 green",
        "each_step mirror 0 green",
        "each_step step-50 50 green",
        "each_step bake 80 green",
        "before_switch  80 green",
        "after_switch  100 green",
        "before_settle  100 green",
    ]
    run = world.journal.champion.version.run
    page = (world.places.run(run) / REPORT).read_text()
    assert "before_switch" in page, "the report shows what hooks said"


def test_staging_comes_first_and_a_wrong_prediction_there_never_reaches_production(world: CliWorld) -> None:
    with (world.project / ".gitignore").open("a") as ignored:
        ignored.write("golden.jsonl\n")
    configure(
        world,
        deploy={"golden": {"file": "golden.jsonl"}},
        staging={"target": {"local": {"port": free_port()}}},
        rollout={
            "strategy": "shadow_then_switch",
            "mirror": "1s",
            "bake": "1s",
            "control": 20,
            "settle_switch": "60s",
            "hold": "90s",
        },
    )
    first = world.prepare()
    golden(world, first)
    told = world.call("run")
    assert "staging: deploy starts" in told and world.champion == first
    assert first[:19] in world.call("status", "--environment", "staging")
    entry = next(entry for entry in world.ledger if entry.event == "staging")
    assert (entry.verdict, entry.facts["environment"], entry.facts["digest"]) == ("pass", "staging", first)
    there = Ledger(Places(world.project, world.places.home, "interrupted-staging").ledger).read()
    assert {entry.facts["environment"] for entry in there} == {"staging"}
    run = world.journal.champion.version.run
    assert "staging" in (world.places.run(run) / REPORT).read_text()

    second = world.prepare()
    with world.users() as users:
        assert users.wait_for("blue", 20)
        told = world.call("run", expect=10)
        assert "not deployed to production: in staging: deploy:" in told
        assert f'expected "{first}", got "{second}"' in told
        assert world.champion == first and "green" not in world.servers()
        world.commit()
        golden(world, second := world.prepare())
        worker = world.start("run")
        assert worker.ended() == 0, worker.told
    assert "staging: passed before" in worker.told or "staging: switch starts" in worker.told
    assert world.champion == second
    assert second[:19] in world.call("status", "--environment", "staging")
    assert "is not for one environment" in world.call("switch", "--environment", "staging", expect=2)
