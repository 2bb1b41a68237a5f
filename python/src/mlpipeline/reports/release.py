"""What the page of a release is made of, and where the release stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from mlpipeline.core.judge import Judgement, Look, Plan, StageEnd, TracePoint
from mlpipeline.core.lineage import Graph
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Result
from mlpipeline.record.run import FLOW, Run
from mlpipeline.reports.markup import Markup, element


class Recorded(msgspec.Struct, frozen=True):
    """``evidence.json`` or ``verify-evidence.json`` of the run, as far as the page needs it."""

    plan: Plan
    looks: tuple[Look, ...] = ()
    ends: tuple[StageEnd, ...] = ()
    judgement: Judgement | None = None
    trace: dict[str, tuple[TracePoint, ...]] = {}


@dataclass(frozen=True)
class Release:
    """Everything the page is made of.

    Args:
        results: By verb, in the order they ran; later ones may be missing.
        recorded: What was watched while this run moved users, if anything was.
        entries: The ledger's entries of this run.
        note: Something the reader should know about the record itself, such as an unreadable file.
        attached: Names, in the report's folder, of the copies of files that the results link to, by what they are linked as.
    """

    run: Run
    results: Mapping[str, Result]
    recorded: Recorded | None = None
    entries: Sequence[Entry] = ()
    note: str = ""
    attached: Mapping[str, str] = field(default_factory=dict)
    came: Graph | None = None
    """What this run's package came of, and what came of it."""
    beside: Sequence[str] = ()
    """Names, in the report's folder, of SBOM, provenance, approvals and model card."""
    watched: Recorded | None = None
    """What the verb ``verify`` watched on its own, if anything."""
    verified_alone: bool = False
    """Whether the result of ``verify`` is of that; a release that was judged writes one under the same name."""


@dataclass(frozen=True)
class Standing:
    """The release in big words."""

    words: str
    verdict: Verdict
    reason: str


@dataclass
class Files:
    """The files of the folder; plots are added while the page is written."""

    content: dict[str, bytes] = field(default_factory=dict)

    def plot(self, name: str, svg: Markup, description: str, class_: str) -> Markup:
        self.content[name] = svg.encode()
        return element("img", src=name, alt=description, class_=class_)


def standing_of(release: Release) -> Standing:
    """Where the release stands: the first step that did not pass decides, else how far it came."""
    results = release.results
    back = results.get("rollback")
    if back is not None and back.verdict is Verdict.PASS:
        return Standing("Rolled back", Verdict.FAIL, back.summary)
    for verb in FLOW:
        result = results.get(verb)
        if result is not None and result.verdict is not Verdict.PASS:
            return Standing(_stopped(result), result.verdict, deciding(result))
    done = [verb for verb in FLOW if verb in results]
    if not done:
        alone = results.get("verify")
        if alone is not None:
            return Standing(_watched_alone(alone.verdict), alone.verdict, deciding(alone))
        return Standing("Nothing done yet", Verdict.INCONCLUSIVE, "no step of this run has a result")
    last = results[done[-1]]
    words = {"settle": "Released", "switch": "Live, not settled yet"}.get(last.verb, f"Passed up to {spoken(last.verb)}")
    verdict = Verdict.PASS if last.verb == "settle" else Verdict.INCONCLUSIVE
    if last.verb != "settle":
        return Standing(words, verdict, deciding(last))
    proofs = [deciding(results[verb]) for verb in ("verify", "switch") if verb in results]
    return Standing(words, verdict, "; ".join(proofs) or deciding(last))


def _watched_alone(verdict: Verdict) -> str:
    if verdict is Verdict.PASS:
        return "Passed verify"
    return "Failed verify" if verdict is Verdict.FAIL else "No verdict at verify"


def _stopped(result: Result) -> str:
    if result.verb == "approve":
        return "Rejected" if result.verdict is Verdict.FAIL else "Waiting for approval"
    if result.verb == "switch":
        return "Taken back" if result.verdict is Verdict.FAIL else "No verdict in production"
    if result.verdict is Verdict.FAIL:
        return f"Stopped at {spoken(result.verb)}"
    return f"No verdict at {spoken(result.verb)}"


def deciding(result: Result) -> str:
    first = next((reason.summary for reason in result.reasons if reason.verdict is result.verdict), "")
    return result.summary or first


def spoken(verb: str) -> str:
    """The name as typed: ``gate data`` for ``gate-data``."""
    return verb.replace("-", " ", 1) if verb.startswith("gate-") else verb
