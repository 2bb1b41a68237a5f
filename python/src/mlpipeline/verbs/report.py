"""``report``: one page per release, and JUnit XML of every step, from the run's record alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlpipeline.core.lineage import Graph
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault
from mlpipeline.record.attestations import CARD_PAGE, PROVENANCE, SBOM, Attestations
from mlpipeline.record.files import write_atomically
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.reports.junit import junit
from mlpipeline.reports.page import build
from mlpipeline.reports.release import Recorded, Release, standing_of
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.verify_evidence import RELEASE_EVIDENCE, WATCH_EVIDENCE

VERB = "report"
ATTACHED_BYTES = 4 << 20
"""The most of one file of the run that is copied into the report's folder."""
SUMMARIES = frozenset({VERB, "run"})
"""Results that only repeat others, as they stood when they were written."""


def run(context: Context, run: Run) -> Result:
    """Writes ``report/`` and ``junit/`` into the run's folder; works for a run that was stopped anywhere."""
    started = context.clock.monotonic()
    folder = context.runs.folder(run.id)
    results = {verb: result for verb, result in context.runs.results(run.id).items() if verb not in SUMMARIES}
    recorded, trouble = _recorded(folder / RELEASE_EVIDENCE, "production")
    watched, unread = _recorded(folder / WATCH_EVIDENCE, "verify")
    entries, broken = _entries(context, run)
    attachments = _attachments(folder, results)
    beside = _beside(context, results)
    release = Release(
        run,
        results,
        recorded,
        entries,
        "; ".join(text for text in (trouble, unread, broken) if text),
        attached={target: name for target, (name, _) in attachments.items()},
        came=_came(context, run) if not broken else None,
        beside=tuple(beside),
        watched=watched,
        verified_alone="verify" in results and results["verify"].evidence.get("file") == WATCH_EVIDENCE,
    )
    _write(folder / "report", {**dict(attachments.values()), **beside, **build(release)})
    _write(folder / "junit", {f"{verb}.xml": junit(result) for verb, result in results.items()})
    words = standing_of(release).words
    reason = Reason("report.written", Verdict.PASS, f"{words}; the page covers {len(results)} steps")
    return context.finish(run, VERB, started, [reason], links={"report": "report/index.html", "junit": "junit"})


def _came(context: Context, run: Run) -> Graph | None:
    """What this run came of and what came of it; a trouble with it is no reason to be without a report."""
    from mlpipeline.verbs.lineage import graph

    known = graph(context)
    return known.around([("run", run.id)]) if ("run", run.id) in known.nodes else None


def _beside(context: Context, results: Mapping[str, Result]) -> dict[str, bytes]:
    """Copies of what is said of the package."""
    packaged = results.get("package")
    if packaged is None:
        return {}
    place = Attestations(context.places, str(packaged.evidence.get("digest", "")), packaged.run)
    names = [name for name in (SBOM, PROVENANCE, CARD_PAGE) if place.has(name)]
    return {**{name: place.read(name) for name in names}, **place.approvals()}


def _attachments(folder: Path, results: Mapping[str, Result]) -> dict[str, tuple[str, bytes]]:
    """Name and content of the copies of linked files of the run, by what they are linked as; of a log its end, nothing large."""
    found = {}
    for target in {target for result in results.values() for target in result.links.values()}:
        file = folder / target
        if ":" in target or not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            continue
        if file.suffix == ".log":
            # Servers show it as text by this name, and do not offer it for download.
            found[target] = (f"{file.name}.txt", _end(file))
        elif file.stat().st_size <= ATTACHED_BYTES:
            found[target] = (file.name, file.read_bytes())
    return found


def _end(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - ATTACHED_BYTES))
        return stream.read()


def _recorded(file: Path, whose: str) -> tuple[Recorded | None, str]:
    """What was watched; a damaged record is told on the page, not hidden."""
    if not file.is_file():
        return None, ""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Recorded), ""
    except msgspec.DecodeError as error:
        return None, f"the evidence of {whose} cannot be read ({error})"


def _entries(context: Context, run: Run) -> tuple[list[Entry], str]:
    try:
        return [entry for entry in context.ledger.read() if entry.run == run.id], ""
    except EnvironmentFault as fault:
        return [], f"{fault.what} ({fault.facts.get('found', '')})"


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """The folder with exactly these files; the page comes last, so that it never shows plots that are not there."""
    for name in sorted(files, key=lambda name: name == "index.html"):
        write_atomically(folder / name, files[name])
    for stale in folder.iterdir() if folder.is_dir() else ():
        if stale.name not in files and stale.is_file():
            stale.unlink()
