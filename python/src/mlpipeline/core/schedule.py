"""When a Jenkins schedule must have started a build.

Jenkins puts ``H`` at a fixed but unknown place of its range. A schedule is therefore read twice, with every ``H`` as early
and as late as it can be; between the two lies the moment the build really starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo

import msgspec

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_HASHED = ((0, 59), (0, 23), (1, 28), (1, 12), (0, 6))
"""What ``H`` stands for without a range of its own: not every month has a 29th."""
_NAMES = {
    "@yearly": "H H H H *",
    "@annually": "H H H H *",
    "@monthly": "H H H * *",
    "@weekly": "H H * * H",
    "@daily": "H H * * *",
    "@midnight": "H H(0-2) * * *",
    "@hourly": "H * * * *",
}
_PART = re.compile(r"^(?:(\*)|(H)(?:\((\d+)-(\d+)\))?|(\d+)(?:-(\d+))?)(?:/(\d+))?$")
_LONGEST_DAYS = 800


class Window(msgspec.Struct, frozen=True):
    """One scheduled run had to begin between these moments (aware)."""

    start: datetime
    end: datetime


class Line(msgspec.Struct, frozen=True):
    """One line of a schedule, as early or as late as it can be: minutes, hours, days, months, days of the week (0 is Sunday)."""

    fields: tuple[frozenset[int], ...]
    any_day: bool
    any_weekday: bool


def windows(schedule: str, now: datetime, most: int, zone: tzinfo) -> list[Window]:
    """The newest scheduled runs that had to begin before ``now``, oldest first, at most ``most``.

    Args:
        schedule: Text of a ``TimerTrigger``, one cron line each; ``#`` starts a comment.
        zone: Where the schedule's clock hangs.

    Raises ValueError when a line is no cron line.
    """
    found: list[Window] = []
    for text in lines_of(schedule):
        early, late = parsed(text, late=False), parsed(text, late=True)
        starts = _fires(early, now.astimezone(zone))
        # The last ones of both readings belong together: an H moves a whole line by one constant.
        for end in _take(_fires(late, now.astimezone(zone)), most):
            start = next((moment for moment in starts if moment <= end), None)
            if start is not None:
                found.append(Window(start, end))
    return sorted(found, key=lambda window: window.end)[-most:]


def lines_of(schedule: str) -> list[str]:
    """The cron lines, without comments and the ``TZ=`` line."""
    lines = (line.split("#", 1)[0].strip() for line in schedule.splitlines())
    return [line for line in lines if line and not line.startswith("TZ=")]


def zone_of(schedule: str) -> str:
    """The time zone that a first line ``TZ=...`` names; empty when none does."""
    first = schedule.strip().partition("\n")[0].strip()
    return first.removeprefix("TZ=").strip() if first.startswith("TZ=") else ""


def parsed(text: str, *, late: bool) -> Line:
    """One cron line. Raises ValueError when it is none."""
    fields = _NAMES.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise ValueError(f"{text!r} is no cron line: five fields are needed")
    values = [_values(field, place, late=late) for place, field in enumerate(fields)]
    weekdays = frozenset(day % 7 for day in values[4])
    return Line((*values[:4], weekdays), any_day=fields[2] == "*", any_weekday=fields[4] == "*")


def _values(field: str, place: int, *, late: bool) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.match(part)
        if match is None:
            raise ValueError(f"{field!r} is no field of a cron line")
        found |= _of_part(match, place, late=late)
    low, high = _RANGES[place]
    if not found or min(found) < low or max(found) > high:
        raise ValueError(f"{field!r} is outside {low}-{high}")
    return frozenset(found)


def _of_part(match: re.Match[str], place: int, *, late: bool) -> set[int]:
    star, hashed, first, last, number, end, step_text = match.groups()
    step = int(step_text or 0)
    if hashed:
        low, high = (int(first), int(last)) if first else _HASHED[place]
        if not step:
            return {high if late else low}
        begin = min(low + step - 1, high) if late else low
        return set(range(begin, high + 1, step))
    low, high = _RANGES[place] if star else (int(number), int(end or number))
    if step and not star and not end:
        high = _RANGES[place][1]
    return set(range(low, high + 1, step or 1))


def _fires(line: Line, now: datetime) -> Iterator[datetime]:
    """Moments at or before now, newest first. Days go by the calendar, so that a change of the clock loses no day."""
    minutes, hours = sorted(line.fields[0], reverse=True), sorted(line.fields[1], reverse=True)
    for back in range(_LONGEST_DAYS):
        day = (now - timedelta(days=back)).date()
        if not _on(line, day.day, day.month, day.isoweekday() % 7):
            continue
        for hour in hours:
            for minute in minutes:
                moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=now.tzinfo)
                if moment <= now:
                    yield moment


def _on(line: Line, day: int, month: int, weekday: int) -> bool:
    """Cron's own rule: with both days given, either is enough."""
    by_day, by_weekday = day in line.fields[2], weekday in line.fields[4]
    both = not line.any_day and not line.any_weekday
    return month in line.fields[3] and (by_day or by_weekday if both else by_day and by_weekday)


def _take(moments: Iterator[datetime], most: int) -> list[datetime]:
    return [moment for moment, _ in zip(moments, range(most), strict=False)]
