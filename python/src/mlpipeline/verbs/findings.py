"""What a check finds that is worth knowing and breaks nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """Told in the first line of a result that passes all the same."""

    text: str
