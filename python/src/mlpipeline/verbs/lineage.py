"""``lineage``: what something came of, and what came of it: a digest, a version, a commit, a data hash or a run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlpipeline.core import lineage
from mlpipeline.core.lineage import Answered, Graph, Happened, Key, Made
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import auditing
from mlpipeline.verbs.context import Context

VERB = "lineage"
_ENDS = frozenset({"settled", "rolled-back", "quarantined"})


class Lineage(msgspec.Struct, frozen=True):
    """Args:
    about: The keys of what was meant.
    nodes, edges: All that it came of and all that came of it.
    """

    about: tuple[Key, ...]
    nodes: tuple[lineage.Node, ...]
    edges: tuple[lineage.Edge, ...]

    def lines(self) -> list[str]:
        """Both directions, indented."""
        found = Graph({(node.kind, node.name): node for node in self.nodes}, self.edges)
        return [text for key in self.about for text in lineage.told(found, key)]


def run(context: Context, *, what: str = "") -> Result:
    """What :func:`find` finds, to be shown. It leaves no entry: an archive made before and after is the same."""
    started = context.clock.monotonic()
    found = find(context, what)
    lines = found.lines()
    return context.judged(
        VERB,
        started,
        verdict=Verdict.PASS,
        summary=lines[0],
        evidence={
            "nodes": [msgspec.to_builtins(node) for node in found.nodes],
            "edges": [{"source": list(edge.source), "target": list(edge.target)} for edge in found.edges],
            "lines": lines,
        },
    )


def find(context: Context, what: str = "") -> Lineage:
    """Reads the ledger, the runs of this checkout, and what is kept beside packages.

    Args:
        what: A digest, commit or data hash, its first 4 digits or more, a version's number, or a run.

    Raises ConfigurationError when nothing is known by that name, EnvironmentFault for a broken ledger.
    """
    known = graph(context)
    keys = lineage.matching(known, what)
    if not keys:
        named = [f"{kind} {name[:19]}" for kind, name in known.nodes if kind in {"package", "version"}]
        raise ConfigurationError(
            f"nothing is known as {what!r}" if what else "lineage of what?",
            facts={"known": ", ".join(named[-6:]) or "nothing was packaged yet"},
            tries=("mlpipeline history", "mlpipeline lineage DIGEST | VERSION | COMMIT | DATA-HASH | RUN"),
        )
    around = known.around(keys)
    return Lineage(tuple(keys), tuple(sorted(around.nodes.values())), around.edges)


def graph(context: Context) -> Graph:
    """Everything that is known of this service here. Raises EnvironmentFault for a broken ledger."""
    entries = context.ledger.read()
    return lineage.graph(_made(context, entries), _happened(entries), _answered(entries))


def _made(context: Context, entries: Sequence[Entry]) -> list[Made]:
    runs = auditing.runs(context)
    results: dict[str, dict[str, Result]] = {}
    for (run, verb), content in auditing.results(context).items():
        with contextlib.suppress(msgspec.DecodeError):
            results.setdefault(run, {})[verb] = msgspec.json.decode(content, type=Result)
    names = {*runs, *(entry.run for entry in entries if entry.run and entry.event in {"train", "package", "register"})}
    return [_of_run(name, runs.get(name), results.get(name, {}), entries) for name in sorted(names)]


def _of_run(name: str, run: Run | None, results: Mapping[str, Result], entries: Sequence[Entry]) -> Made:
    """The results say most; the ledger knows digests and versions also of runs whose results are elsewhere."""
    noted: dict[str, str] = {}
    decisions: dict[str, str] = {}
    for entry in entries:
        if entry.run == name:
            noted |= {key: value for key, value in entry.facts.items() if value}
            if entry.event == "approve" and "who" in entry.facts:
                decisions[entry.facts["who"]] = entry.facts.get("why", "")
    trained, packaged = _evidence(results, "train"), _evidence(results, "package")
    data = _evidence(results, "gate-data").get("data_version") or trained.get("data_version") or {}
    images = packaged.get("image")
    image = str(images.get("digest", "")) if isinstance(images, Mapping) else ""
    return Made(
        run=name,
        commit=run.commit if run else noted.get("commit", ""),
        dirty=bool(run and run.dirty),
        data={path: str(version) for path, version in data.items()} if isinstance(data, Mapping) else {},
        model=str(trained.get("model_digest", "")) or noted.get("model_digest", ""),
        package=str(packaged.get("digest", "")) or noted.get("digest", ""),
        images={"image": image} if image else {},
        version=str(_evidence(results, "register").get("version", "")) or noted.get("model_version", ""),
        decisions=tuple(decisions.items()),
        reason=run.reason if run else "",
    )


def _happened(entries: Sequence[Entry]) -> list[Happened]:
    found = []
    for entry in entries:
        facts = entry.facts
        package, version = facts.get("digest", ""), facts.get("model_version", "")
        if entry.event in _ENDS:
            found.append(Happened(entry.event, entry.seq, entry.at, package, version, facts.get("reason", "")))
        elif entry.event == "live":
            shares = {"": facts.get("share", "100"), "other_": facts.get("other_share", "0")}
            for prefix, share in shares.items():
                if share != "0":
                    package, version = facts.get(f"{prefix}digest", ""), facts.get(f"{prefix}model_version", "")
                    found.append(Happened("live", entry.seq, entry.at, package, version, f"{share} % of users"))
    return found


def _answered(entries: Sequence[Entry]) -> list[Answered]:
    """Batches that were scored and whose answers were put in place."""
    found = [entry.facts for entry in entries if entry.event == "score" and entry.facts.get("output_digest")]
    return [
        Answered(
            facts["digest"],
            facts["input_digest"],
            facts["output_digest"],
            (facts.get("input", ""), facts.get("output", "")),
            facts.get("model_version", ""),
        )
        for facts in found
    ]


def _evidence(results: Mapping[str, Result], verb: str) -> Mapping[str, Any]:
    result = results.get(verb)
    return result.evidence if result is not None else {}
