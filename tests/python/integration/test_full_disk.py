"""A full disk: nothing is released on it, and users are taken back all the same."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_parts import not_allowed
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault
from mlpipeline.record import room
from mlpipeline.verbs import deploy, rollback
from release_story import Story

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if made.returncode:
        not_allowed(f"mount a small disk: {made.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    """To the last byte."""
    block = b"x" * 4096
    with contextlib.suppress(OSError), (folder / "filling").open("ab", buffering=0) as file:
        while file.write(block) == len(block):
            pass


def test_users_are_taken_back_on_a_full_disk_and_nothing_is_released_on_it(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(small_disk)
    story.watch(monkeypatch)
    story.released()
    story.released()
    waiting = story.packaged()
    fill(small_disk)
    state = story.context.places.state
    assert room.free(state) < 1 << 16
    before = list(story.world.target.calls)
    with pytest.raises(EnvironmentFault, match="nearly full"):
        deploy.run(story.context, waiting)
    assert story.world.target.calls == before, "it fails before anything is changed"
    result = rollback.run(story.context, reason="complaints")
    assert result.verdict is Verdict.PASS, result.summary
    assert story.world.target.plan == TrafficPlan.all_to(Colour.BLUE)
    assert "rolled-back" in [entry.event for entry in story.context.ledger.read()]
    assert "nearly full" in " ".join(story.world.console.lines)
    (small_disk / "filling").unlink()
    deploy.run(story.context, waiting)
    assert (state / "room").stat().st_blocks * 512 >= room.KEPT_BYTES, "room is kept again, really"
    os.sync()
