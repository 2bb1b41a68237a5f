"""The data that something is compared with: as it was in the champion's commit, or as an earlier run summed it up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from mlpipeline.core.release import Version
from mlpipeline.core.sketch import Sketch, decode, encode
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault
from mlpipeline.record.files import write_atomically
from mlpipeline.record.journal import Journal
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context

GATE = "gate-data"


def champion(context: Context) -> Version | None:
    """The version that users are on, by this machine's journal; None before the first release."""
    standing = Journal(context.places.journal).read().champion
    return standing.version if standing else None


def commit_of(context: Context, version: Version, *, tries: Sequence[str]) -> str:
    """The commit a version was made of: from its run when this checkout has it, from its release, else from the registry.

    Raises EnvironmentFault when neither knows it.
    """
    known = next((run.commit for run in context.runs.all() if run.id == version.run), "")
    if not known and version.source is not None:
        known = version.source.commit
    if known:
        return known
    name = context.config.service
    registered = context.world.registry().version(name, version.model_version) if version.model_version else None
    commit = registered.tags.get("mlpipeline.commit", "") if registered else ""
    if not commit:
        raise EnvironmentFault(
            "the commit of the champion is not known",
            facts={"run": version.run or "none", "version": version.model_version or "none"},
            likely="its run is of another checkout and it is not in the registry",
            tries=tries,
        )
    return commit


def at_commit(context: Context, path: str, commit: str, folder: Path) -> Path:
    """A data file as it was at a commit, in a folder of the caller's. Raises EnvironmentFault when it cannot be had."""
    from mlpipeline.adapters import git

    content = git.file_at(context.project, path, commit)
    if content is not None:
        place = folder / Path(path).name
        write_atomically(place, content)
        return place
    from mlpipeline.adapters.dvc.earlier import get

    return get(context.project, path, commit, folder)


def summaries_file(context: Context, run: str, name: str) -> Path:
    """Where a run keeps the summaries of one data file's columns."""
    return context.runs.folder(run) / "sketches" / f"{name}.json.gz"


def summaries(file: Path, columns: Sequence[str] = ()) -> dict[str, Sketch] | None:
    """What was kept, if it is there, whole, and knows all these columns."""
    with suppress(OSError, ValueError):
        found = decode(file.read_bytes())
        return found if set(columns) <= set(found) else None
    return None


def keep(file: Path, sketches: dict[str, Sketch]) -> None:
    write_atomically(file, encode(sketches))


def cached(context: Context, *parts: str) -> Path:
    """Where summaries of data at a commit are kept on this machine."""
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return context.places.home / "sketches" / f"{name}.json.gz"


def earlier_run(context: Context, run: Run, name: str, *, older_than: float) -> Run | None:
    """The newest run of this checkout, this one left out, whose data gate passed, that kept summaries, and is old enough.

    Args:
        older_than: Seconds since it was started.
    """
    now = context.clock.now()
    for known in reversed(context.runs.all()):
        if known.id == run.id or not summaries_file(context, known.id, name).is_file():
            continue
        age = (now - datetime.fromisoformat(known.created)).total_seconds()
        result = context.runs.result(known.id, GATE)
        if age >= older_than and result is not None and result.verdict is Verdict.PASS:
            return known
    return None
