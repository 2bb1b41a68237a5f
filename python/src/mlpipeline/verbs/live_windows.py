"""Windows of live predictions as mergeable summaries, kept where a Prometheus has forgotten them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import reduce
from pathlib import Path

from mlpipeline.core.drift import Shift, shifts
from mlpipeline.core.sketch import Sketch, decode, encode, merged, of_categories
from mlpipeline.record.files import write_atomically
from mlpipeline.verbs.context import Context

_NAME = "%Y%m%dT%H%M%SZ"
CLASSES, VALUES = "class", "value"


def summed_up(classes: Mapping[str, float], buckets: Mapping[float, float]) -> dict[str, Sketch]:
    """One window.

    Args:
        classes: How often each class was predicted.
        buckets: How many predicted numbers are at most so large, by bound, the last one infinite.
    """
    found = {}
    if classes:
        found[CLASSES] = of_categories({name: round(times) for name, times in classes.items() if round(times) > 0})
    if buckets:
        bounds = sorted(buckets)
        most = [round(max(buckets[bound] for bound in bounds[: place + 1])) for place in range(len(bounds))]
        counts = [high - low for low, high in zip([0, *most], most, strict=False)]
        found[VALUES] = Sketch("number", most[-1], 0, tuple(bounds[:-1]), tuple(counts))
    return found


def keep(context: Context, digest: str, window: Mapping[str, Sketch], *, seconds: float, until: float) -> None:
    """Keeps a window of the model, unless one that overlaps it is kept; removes those that are older than ``until`` seconds."""
    folder, now = _folder(context, digest), context.clock.now()
    ages = {file: _age(file, now) for file in _files(folder)}
    for file in (file for file, age in ages.items() if age > until):
        file.unlink(missing_ok=True)
    if window and not any(age < 0.9 * seconds for age in ages.values()):
        write_atomically(folder / f"{now:{_NAME}}.sketch", encode(window))


def before(context: Context, digest: str, *, seconds: float, until: float) -> dict[str, Sketch]:
    """All kept windows of the model that ended before the newest ``seconds`` began, together; one that is damaged is left out."""
    now = context.clock.now()
    found: dict[str, Sketch] = {}
    for file in _files(_folder(context, digest)):
        if not 0.9 * seconds <= _age(file, now) <= until:
            continue
        with suppress(OSError, ValueError):
            window = decode(file.read_bytes())
            found = {name: reduce(merged, (side[name] for side in (found, window) if name in side)) for name in {*found, *window}}
    return found


def furthest(old: Mapping[str, Sketch], new: Mapping[str, Sketch]) -> Shift | None:
    """How far the predictions have moved; absent when nothing can be compared."""
    both = [name for name in old if name in new and old[name].edges == new[name].edges]
    return max(shifts({name: old[name] for name in both}, {name: new[name] for name in both}), key=_effect, default=None)


def _effect(shift: Shift) -> float:
    return shift.effect


def _folder(context: Context, digest: str) -> Path:
    return context.places.state / "windows" / digest.removeprefix("sha256:")[:16]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sketch")) if folder.is_dir() else []


def _age(file: Path, now: datetime) -> float:
    """Seconds; of a name that is no moment, endless."""
    try:
        return (now - datetime.strptime(file.stem, _NAME).replace(tzinfo=now.tzinfo)).total_seconds()
    except ValueError:
        return float("inf")
