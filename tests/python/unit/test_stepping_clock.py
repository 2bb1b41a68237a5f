"""A wall clock that steps by hours, back and forth, changes no decision: what waits, waits by a clock that never steps."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fakes import FakeClock
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.verbs import deploy, history, resume, rollback, settle, switch
from release_story import Story


class SteppingClock(FakeClock):
    """Its wall time jumps at every look; the other one goes on evenly."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def now(self) -> datetime:
        self._looks += 1
        return super().now() + timedelta(hours=(-7, 5, -1, 30)[self._looks % 4])


def test_a_release_and_the_way_back_under_a_clock_that_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(tmp_path)
    story.world.clock = SteppingClock()
    story.watch(monkeypatch)
    story.released()
    run = story.packaged()
    for verb in (deploy, switch, settle):
        result = verb.run(story.context, run)
        assert result.verdict is Verdict.PASS
        assert 0 <= result.seconds < 3600, "lengths of time are not measured with it"
    assert rollback.run(story.context, reason="complaints").verdict is Verdict.PASS
    assert story.world.target.plan == TrafficPlan.all_to(Colour.BLUE)
    assert history.run(story.context).summary.endswith("the chain is whole"), "the order of entries is their number"
    assert "nothing to do" in resume.run(story.context, if_silent_for="10m").summary
