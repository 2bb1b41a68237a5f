"""What a pipeline's builds say of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipeline.core.health import Build, Stage, assess, flaky_stages, missed, percentile
from mlpipeline.core.schedule import Window

START = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def night(number: int, *, minutes: float = 5.0, scheduled: bool = True, result: str = "SUCCESS", **more: object) -> Build:
    started = START + timedelta(days=number, minutes=minutes)
    return Build(number=number, result=result, started=started.timestamp(), seconds=60.0, scheduled=scheduled, **more)  # type: ignore[arg-type]


def windows(*days: int) -> list[Window]:
    return [Window(START + timedelta(days=day), START + timedelta(days=day, minutes=59)) for day in days]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_a_value_that_enough_of_the_others_do_not_exceed(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 * (1 - 1e-12)


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_who_aborts_or_overtakes_a_build_says_nothing_of_the_pipeline() -> None:
    builds = [night(1), night(2, result="ABORTED"), night(3, result="NOT_BUILT"), night(4, result="FAILURE"), night(5, result="")]
    found = assess(builds, [], 0)
    assert (found.success, found.builds) == (0.5, 5)
    assert found.results == {"ABORTED": 1, "FAILURE": 1, "NOT_BUILT": 1, "SUCCESS": 1}


def test_without_a_judged_build_there_is_no_success_rate() -> None:
    found = assess([night(1, result="ABORTED")], [], 0)
    assert (found.success, found.seconds) == (None, {})


def test_a_night_without_a_build_of_the_schedule_was_missed() -> None:
    builds = [night(0), night(1), night(3), night(2, scheduled=False)]
    assert missed(builds, windows(1, 2, 3, 4), 3600) == tuple(windows(2, 4))


def test_a_late_start_within_the_grace_counts_and_a_later_one_does_not() -> None:
    builds = [night(0), night(1, minutes=90)]
    assert missed(builds, windows(1), 3600) == ()
    assert missed(builds, windows(1), 60) == tuple(windows(1))


def test_nights_before_the_oldest_known_build_are_not_held_against_it() -> None:
    assert missed([night(5)], windows(1, 2, 3), 0) == ()
    assert missed([], windows(1), 0) == ()


def staged(number: int, commit: str, **stages: str) -> Build:
    return night(number, commit=commit, stages=tuple(Stage(name, status, 1.0) for name, status in stages.items()))


def test_a_stage_is_flaky_when_one_commit_both_failed_and_passed_in_it() -> None:
    builds = [
        staged(1, "a", Tests="FAILED", Train="SUCCESS"),
        staged(2, "a", Tests="SUCCESS", Train="SUCCESS"),
        staged(3, "b", Train="FAILED"),
        staged(4, "c", Train="SUCCESS"),
    ]
    (found,) = flaky_stages(builds)
    assert (found.name, found.failed, found.passed, found.commits) == ("Tests", 1, 1, 1)


def test_an_unknown_commit_and_an_aborted_stage_prove_nothing() -> None:
    builds = [staged(1, "", A="FAILED"), staged(2, "", A="SUCCESS"), staged(3, "a", A="ABORTED"), staged(4, "a", A="SUCCESS")]
    assert flaky_stages(builds) == ()
