"""The release journal: what was written is read, and neither a stale worker nor a broken file is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.core.release import Debt, Phase, Quarantine, Release, Standing, State, Version
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import EnvironmentFault, Held
from mlpipeline.record.journal import Journal

VERSION = Version(digest="sha256:" + "a" * 64, path="/bundles/a", model_version="3", run="run-1")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    state = State(
        release=Release(run="run-1", candidate=VERSION, colour=Colour.GREEN, phase=Phase.SHIFTING, stage=2, why="held"),
        champion=Standing(Colour.BLUE, VERSION),
        quarantined={"sha256:b": Quarantine("2", "slow", "run-0")},
        owed=(Debt("champion", "3"),),
        intents=("route users to green",),
    )
    journal = Journal(tmp_path / "release.json")
    written = journal.write(state, token=4)
    assert written.token == 4
    assert Journal(tmp_path / "release.json").read() == written


def test_before_the_first_release_it_is_empty(tmp_path: Path) -> None:
    assert Journal(tmp_path / "release.json").read() == State()


def test_worker_that_lost_its_lease_cannot_write(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "release.json")
    journal.write(State(previous=VERSION), token=2)
    with pytest.raises(Held, match="newer worker"):
        journal.write(State(), token=1)
    assert journal.read().previous == VERSION


@pytest.mark.parametrize("content", [b"", b"{", b'{"release": {"phase": "dancing"}}', b"\xff"])
def test_broken_journal_is_told_and_kept(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "release.json"
    file.write_bytes(content)
    with pytest.raises(EnvironmentFault) as told:
        Journal(file).read()
    assert str(file) in told.value.render()
    assert file.read_bytes() == content
