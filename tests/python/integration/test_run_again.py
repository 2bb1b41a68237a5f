"""``mlpipeline run`` after its release has settled: nothing to do, until there is a reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_world import CliWorld, wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CliWorld]:
    made = CliWorld(tmp_path)
    try:
        # The data is no part of the commit, as where DVC or a warehouse has it.
        with (made.project / ".gitignore").open("a") as ignored:
            ignored.write("rows.csv\n")
        made.prepare()
        made.call("run")
        yield made
    finally:
        made.close()


def runs(world: CliWorld) -> int:
    return len(list((world.project / ".mlpipeline" / "runs").iterdir()))


def test_a_settled_release_is_made_again_only_for_a_reason(world: CliWorld) -> None:
    decided = len(world.ledger)
    assert "nothing to do" in world.call("run")
    assert (runs(world), len(world.ledger)) == (1, decided)

    # A reason makes another run, and its training (which fails here) is really started.
    assert "train" in world.call("run", "--reason", "the vendor sent new labels", expect=10)
    assert runs(world) == 2


def test_other_data_is_something_to_do(world: CliWorld) -> None:
    (world.project / "rows.csv").write_text("hour\n3\n")
    world.call("run", expect=10)
    assert runs(world) == 2


def test_a_release_that_answers_nobody_is_not_called_done(world: CliWorld) -> None:
    champion = world.journal.champion
    assert champion is not None
    os.kill(world.servers()[str(champion.colour)], signal.SIGKILL)
    wait_until(lambda: str(champion.colour) not in world.servers(), "the champion's end")
    assert "nothing to do" not in world.call("run", expect=10)
