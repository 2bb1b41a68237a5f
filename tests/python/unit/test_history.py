"""Who was live when: from the ledger, and never from a ledger that was edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeWorld
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.verbs import history


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    """Blue from 03:00:00, a tenth on green from 03:01:00, all on green from 03:02:00."""
    made = FakeWorld(tmp_path)
    context = made.context()
    blue = {"colour": "blue", "digest": "sha256:old", "model_version": "1", "share": "100"}
    green = {"colour": "green", "digest": "sha256:new", "model_version": "2"}
    rest = {"other_colour": "blue", "other_digest": "sha256:old", "other_model_version": "1", "other_share": "90"}
    for facts in (blue, {**green, "share": "10", **rest}, {**green, "share": "100"}):
        context.note("live", run="run-1", facts=facts)
        made.clock.sleep(60)
    return made


@pytest.mark.parametrize(
    ("at", "live"),
    [
        ("2026-03-01T02:59:59Z", []),
        ("2026-03-01T03:00:00Z", [("1", 100)]),
        ("2026-03-01T03:01:59Z", [("1", 90), ("2", 10)]),
        ("2026-03-01T03:02:00", [("2", 100)]),
        ("2026-03-01T05:02:00+02:00", [("2", 100)]),
    ],
)
def test_moment_is_answered_with_everyone_who_was_live(world: FakeWorld, at: str, live: list[tuple[str, int]]) -> None:
    told = history.run(world.context(), at=at)
    assert [(share.model_version, share.percent) for share in told.live] == live
    assert at in told.lines()[0]


def test_nobody_was_live_between_a_stop_and_the_way_back(world: FakeWorld) -> None:
    context = world.context()
    context.note("stopped")
    world.clock.sleep(60)
    context.note("revived")
    world.clock.sleep(60)
    assert history.run(context, at="2026-03-01T03:02:59Z").live
    assert history.run(context, at="2026-03-01T03:03:30Z").lines() == ["at 2026-03-01T03:03:30Z nothing was live"]
    assert [share.model_version for share in history.run(context, at="2026-03-01T03:04Z").live] == ["2"]


def test_the_moment_that_was_understood_is_told(world: FakeWorld) -> None:
    assert history.run(world.context(), at="2026-03-01").lines() == ["at 2026-03-01 (2026-03-01T00:00:00Z) nothing was live"]


def test_nobody_knows_who_will_be_live(world: FakeWorld) -> None:
    with pytest.raises(ConfigurationError, match="has not come yet"):
        history.run(world.context(), at="2099-01-01")


def test_table_has_every_entry_and_says_that_the_chain_is_whole(world: FakeWorld) -> None:
    lines = history.run(world.context()).lines()
    assert len(lines) == 5
    assert lines[-1] == "3 entries, the chain is whole"


def test_edited_ledger_is_not_believed(world: FakeWorld) -> None:
    ledger = world.places.ledger
    ledger.write_text(ledger.read_text().replace("sha256:old", "sha256:odd"))
    with pytest.raises(EnvironmentFault, match="changed after"):
        history.run(world.context(), at="2026-03-01T03:00:00Z")


def test_nonsense_is_no_moment(world: FakeWorld) -> None:
    with pytest.raises(ConfigurationError, match="not a moment"):
        history.run(world.context(), at="yesterday")
    with pytest.raises(ConfigurationError, match="not a moment"):
        history.run(world.context(), at="0001-01-01T00:00+14:00")


def test_nothing_decided_yet(tmp_path: Path) -> None:
    assert history.run(FakeWorld(tmp_path, service="fresh").context()).lines() == ["nothing was decided yet"]
