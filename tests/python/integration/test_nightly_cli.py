"""``mlpipeline nightly`` beside a service that was really released: its own Prometheus, its commit's data, its state folder."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_world import CliWorld

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
_NIGHTLY = """
nightly:
  at_least: 1
  data: {file: new.csv}
  live: {enabled: true}
  accuracy: {query: "vector(0.5)", at_least: 0.8}
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CliWorld]:
    made = CliWorld(tmp_path)
    try:
        hours(made.project / "rows.csv", 0, 11)
        settings = made.project / "mlpipeline.yaml"
        settings.write_text(settings.read_text() + _NIGHTLY)
        made.prepare()
        made.call("run")
        yield made
    finally:
        made.close()


def hours(file: Path, first: int, last: int) -> None:
    chance = random.Random(first)
    file.write_text("hour\n" + "".join(f"{chance.randint(first, last)}\n" for _ in range(1000)))


def test_a_night_of_a_released_service(world: CliWorld) -> None:
    hours(world.project / "new.csv", 12, 23)
    # The file in the checkout follows the newest data: only the champion's commit still has what it was trained on.
    hours(world.project / "rows.csv", 12, 23)
    place = world.project / "night.json"
    asked = subprocess.run(
        [sys.executable, "-m", "mlpipeline", "nightly", "--result", str(place)],
        cwd=world.project,
        env={**os.environ, "MLPIPELINE_HOME": str(world.places.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 11, asked.stderr
    result = json.loads(place.read_text())
    looks = {kind: found["outcome"] for kind, found in result["evidence"]["looks"].items()}
    assert looks == {"data": "drifted", "live": "unknown", "accuracy": "drifted"}
    assert result["evidence"]["retrain"] is True
    assert "hour" in result["evidence"]["reason"]
    assert world.ledger[-1].facts["retrain"] == "yes"
