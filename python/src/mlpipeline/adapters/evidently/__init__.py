"""evidently's own page on drift, for those who want it; it judges nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlpipeline.errors import EnvironmentFault


def write(before: Any, now: Any, place: Path) -> None:
    """Writes the page of two ``pyarrow.Table`` of the same columns.

    Raises EnvironmentFault when evidently is not installed, or cannot make the page.
    """
    try:
        from evidently import Report  # type: ignore[import-not-found,unused-ignore]
        from evidently.presets import DataDriftPreset  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise EnvironmentFault(
            "evidently is not installed", facts={"found": error}, tries=("pip install evidently", "drift.evidently: false")
        ) from error
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        Report([DataDriftPreset()]).run(now.to_pandas(), before.to_pandas()).save_html(str(place))
    except Exception as error:
        raise EnvironmentFault("evidently could not make its page", facts={"found": error}) from error
