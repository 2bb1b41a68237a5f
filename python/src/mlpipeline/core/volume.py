"""How much data there is, beside earlier runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec


class Earlier(msgspec.Struct, frozen=True):
    """One file in one earlier run that passed.

    Args:
        rows: How many it had.
        newest: Its newest time, ISO in UTC; empty when none was asked for.
        version: Of its data; the same data again is no history.
        schema: Its columns and their types; empty when they were not recorded.
    """

    rows: int
    newest: str = ""
    version: str = ""
    schema: Mapping[str, str] = {}


class Finding(msgspec.Struct, frozen=True):
    """Whether a rule holds, one line, and the numbers behind it."""

    holds: bool
    summary: str
    numbers: dict[str, int | float | str] = {}


def volume(rows: int, earlier: Sequence[Earlier], *, at_least: float, at_most: float) -> Finding:
    """The number of rows against the median of earlier ones, as shares of it. Without any it holds, and says so."""
    known = [one.rows for one in earlier]
    if not known:
        return Finding(True, f"{rows:,} rows; no earlier run to compare with", {"rows": rows, "runs": 0})
    usual = median(known)
    low, high = at_least * usual, at_most * usual
    numbers: dict[str, int | float | str] = {"rows": rows, "median": usual, "runs": len(known)}
    shown = f"{rows:,} rows, allowed {low:,.0f} to {high:,.0f} by the median {usual:,.0f} of {len(known)} earlier run(s)"
    return Finding(low <= rows <= high, shown, numbers)


def newer(newest: str, version: str, earlier: Sequence[Earlier]) -> Finding:
    """Whether the newest time moved on since the newest run of other data. ISO texts of one zone compare as times."""
    other = next((one for one in reversed(earlier) if one.newest and one.version != version), None)
    if other is None:
        return Finding(True, f"newest data is of {newest or 'no time'}; no earlier run of other data to compare with")
    return Finding(
        bool(newest) and newest > other.newest,
        f"newest data is of {newest or 'no time'}, that of the run before {other.newest}",
        {"newest": newest, "before": other.newest},
    )


def evolved(schema: Mapping[str, str], earlier: Sequence[Earlier], *, allowed: str) -> Finding:
    """What became of the columns since the newest run that recorded them.

    Args:
        allowed: ``any``; ``add``: only new columns; ``none``: no change at all.
    """
    before = next((one.schema for one in reversed(earlier) if one.schema), None)
    if before is None:
        return Finding(True, f"{len(schema)} columns; no earlier run to compare with")
    gone = [name for name in before if name not in schema]
    changed = [
        f"{name} was {before[name]} and is {schema[name]}" for name in before if schema.get(name, before[name]) != before[name]
    ]
    added = [name for name in schema if name not in before]
    told = [
        *(f"{name} is gone" for name in gone),
        *changed,
        *(f"{name} is new" for name in added),
    ]
    broken = bool(gone or changed) or (allowed == "none" and bool(added))
    numbers: dict[str, int | float | str] = {"gone": len(gone), "changed": len(changed), "new": len(added)}
    return Finding(not broken or allowed == "any", "; ".join(told[:10]) or "the columns are those of the run before", numbers)
