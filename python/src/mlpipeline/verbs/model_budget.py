"""How often a holdout has decided, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlpipeline.core.holdout import Use
from mlpipeline.core.model_gate import Finding
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.ledger import Entry

VERB = "gate-model"
"""The verb whose entries in the ledger are the decisions that count."""


def budget_finding(use: Use, policy: str) -> Finding:
    """The holdout's budget as a finding: silent only at its first use."""
    numbers: dict[str, bool | int | float | str] = {"comparison": use.position, "budget": use.budget, "left": use.left}
    if use.used_up:
        verdict = {"inconclusive": Verdict.INCONCLUSIVE, "fail": Verdict.FAIL, "warn": Verdict.PASS}[policy]
        text = (
            f"this holdout is used up: comparison {use.position} of a budget of {use.budget} (gate.reuse); "
            "fresh rows are needed before another candidate can be shown to be no worse"
        )
        return Finding("holdout.budget", verdict, text, numbers)
    judged = (
        "each judged with a confidence that keeps the configured one over all of them" if use.correct else "not corrected for"
    )
    text = f"comparison {use.position} of {use.budget} on this holdout, {judged}; {use.left} left"
    return Finding("holdout.budget", Verdict.PASS, text, numbers)


def position_of(entries: Iterable[Entry], holdout: str, *, model: str, champion: str, rules: str) -> int:
    """Which comparison on the holdout this is: the same one again keeps its place.

    Counted from the ledger, which shows an edit. Entries of earlier versions of this program name no place and no rules: each
    pair of models in them counts once.
    """
    seen: dict[tuple[str, str, str], int] = {}
    for entry in entries:
        facts = entry.facts
        if entry.event == VERB and facts.get("holdout") == holdout and facts.get("champion") and _compared(facts, entry):
            seen.setdefault((facts.get("model", ""), facts["champion"], facts.get("rules", "")), len(seen) + 1)
    return seen.get((model, champion, rules), len(seen) + 1)


def _compared(facts: Mapping[str, str], entry: Entry) -> bool:
    """Whether the models were compared. An entry without the number of a comparison is of a version that did not count, or of a
    gate that compared nothing; such a gate writes ``compared: no``."""
    return "comparison" in facts or (facts.get("compared") != "no" and entry.verdict in {"pass", "fail"})
