"""Lengths of time as people write them: ``500ms``, ``30s``, ``5m``, ``2h``, ``40d`` or a bare number of seconds."""

from __future__ import annotations

import math
import re
from datetime import datetime

from mlpipeline.config.values import Duration

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
PATTERN = r"^\d+(\.\d+)?\s*(ms|s|m|h|d)?$"
"""For the JSON schema."""


def parse_duration(written: object) -> Duration:
    """Raises ValueError for anything else, negative, infinite and boolean values included."""
    if isinstance(written, str) and (found := _WRITTEN.fullmatch(written.strip())):
        return Duration(float(found[1]) * _UNITS[found[2] or "s"])
    if isinstance(written, int | float) and not isinstance(written, bool) and 0 <= written < math.inf:
        return Duration(written)
    raise ValueError("expected a length of time, such as 500ms, 30s, 5m, 2h or 40d")


def written_duration(seconds: float) -> str:
    """The shortest exact way to write it: ``90s``, ``2h``, ``250ms``."""
    if seconds == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"


def is_time(text: str) -> bool:
    """Whether it is a moment in ISO 8601."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
