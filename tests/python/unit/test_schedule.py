"""When a Jenkins schedule had to start a build, held against a plain minute-by-minute reading of cron."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipeline.core.schedule import lines_of, parsed, windows, zone_of

NOW = datetime(2026, 3, 18, 12, 0, tzinfo=UTC)  # a Wednesday


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high).map(str)
    spans = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda both: f"{min(both)}-{max(both)}")
    steps = st.integers(1, high).map(lambda step: f"*/{step}")
    return st.one_of(st.just("*"), number, spans, steps, st.tuples(number, spans).map(",".join))


def allowed(field: str, low: int, high: int) -> set[int]:
    """What a field without H stands for, the slow way."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-") if span != "*" else (str(low), "-", str(high))
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


@settings(deadline=None, max_examples=60)
@given(fields(0, 59), fields(0, 23), fields(1, 31), fields(0, 6))
def test_plain_schedules_start_at_the_minutes_cron_says(minute: str, hour: str, day: str, weekday: str) -> None:
    found = windows(f"{minute} {hour} {day} * {weekday}", NOW, 3, UTC)
    expected: list[datetime] = []
    for back in range(40):
        date = (NOW - timedelta(days=back)).date()
        by_day = date.day in allowed(day, 1, 31)
        by_weekday = date.isoweekday() % 7 in allowed(weekday, 0, 6)
        if not (by_day or by_weekday if day != "*" and weekday != "*" else by_day and by_weekday):
            continue
        moments = [
            datetime(date.year, date.month, date.day, at, minutes, tzinfo=UTC)
            for at in allowed(hour, 0, 23)
            for minutes in allowed(minute, 0, 59)
        ]
        expected.extend(moment for moment in moments if moment <= NOW)
        if len(expected) > 2000:
            break
    expected = sorted(expected)[-3:]
    assert all(window.start == window.end for window in found)
    if len(expected) == 3:
        assert [window.end for window in found] == expected


def test_a_hashed_minute_is_somewhere_in_its_hour() -> None:
    (window,) = windows("H 3 * * *", NOW, 1, UTC)
    assert (window.start, window.end) == (NOW.replace(hour=3), NOW.replace(hour=3, minute=59))


def test_a_window_that_is_not_over_is_not_due() -> None:
    at = NOW.replace(hour=3, minute=30)
    (window,) = windows("H 3 * * *", at, 1, UTC)
    assert window.end == NOW.replace(hour=3, minute=59) - timedelta(days=1)


@pytest.mark.parametrize(
    ("line", "start", "end"),
    [
        ("H(10-20) H(1-4) * * *", "2026-03-18T01:10", "2026-03-18T04:20"),
        ("H H(0-2) * * *", "2026-03-18T00:00", "2026-03-18T02:59"),
        ("@midnight", "2026-03-18T00:00", "2026-03-18T02:59"),
        ("@hourly", "2026-03-18T11:00", "2026-03-18T11:59"),
        ("0 3 * * 7", "2026-03-15T03:00", "2026-03-15T03:00"),
        ("0 3 1 * *", "2026-03-01T03:00", "2026-03-01T03:00"),
        ("H/30 3 * * *", "2026-03-18T03:30", "2026-03-18T03:59"),
    ],
)
def test_what_jenkins_adds_to_cron(line: str, start: str, end: str) -> None:
    window = windows(line, NOW, 1, UTC)[-1]
    assert (f"{window.start:%Y-%m-%dT%H:%M}", f"{window.end:%Y-%m-%dT%H:%M}") == (start, end)


def test_the_clock_hangs_where_the_schedule_says() -> None:
    schedule = "TZ=Europe/Paris\n# at night\nH 3 * * *"
    assert (zone_of(schedule), lines_of(schedule)) == ("Europe/Paris", ["H 3 * * *"])
    (window,) = windows(schedule, NOW, 1, ZoneInfo("Europe/Paris"))
    assert window.start == NOW.replace(hour=2)


def test_a_change_of_the_clock_loses_no_night() -> None:
    paris = ZoneInfo("Europe/Paris")
    found = windows("0 3 * * *", datetime(2026, 3, 31, 12, tzinfo=UTC), 4, paris)
    assert [window.end.astimezone(paris).day for window in found] == [28, 29, 30, 31]


@pytest.mark.parametrize("line", ["", "H 3 * *", "60 3 * * *", "x 3 * * *", "@nightly", "H(5-90) 3 * * *", "* * 0 * *"])
def test_what_is_no_schedule_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"cron line|outside"):
        parsed(line, late=True)
