"""``nightly``: makes a release safe that lost its worker, looks for drift and decay, decides whether to retrain, compares what
runs with what was released, and removes what is old. It starts no training itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlpipeline.core.drift import Look, Outcome, apart, due
from mlpipeline.core.release import Standing
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import MlpipelineError
from mlpipeline.record.journal import Journal
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Reason, Result
from mlpipeline.verbs import standing
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.nightly_looks import Found, looks
from mlpipeline.verbs.pruning import prune

VERB = "nightly"
_KINDS = ("data", "live", "accuracy")


def run(context: Context) -> Result:
    """The verdict says whether everything could be looked at; ``evidence.retrain`` whether to retrain, and why.

    Fail: what runs is not what was released. Inconclusive: a look could not be made, nothing is configured, or nothing was ever
    released.
    """
    started = context.clock.monotonic()
    resumed = _resumed(context)
    state = Journal(context.places.journal).read()
    found = looks(context, state.champion) if state.champion else {}
    reasons = [*_reasons(found), *_nothing(context, state.champion, found), *resumed]
    runs = _as_released(context)
    reasons = [*runs, *reasons] if any(reason.verdict is not Verdict.PASS for reason in runs) else [*reasons, *runs]
    why = _why(context, state.champion, found)
    waits = f"release {state.release.run} is under way ({state.release.phase})" if why and state.release else ""
    pruned = prune(context)
    if pruned.summary:
        reasons.append(Reason("nightly.prune", Verdict.PASS, pruned.summary))
    retrain = bool(why) and not waits
    verdict = worst(reason.verdict for reason in reasons)
    changed = next((reason.summary for reason in runs if reason.verdict is Verdict.FAIL), "")
    summary = "; ".join(filter(None, (changed, _summary(found, why, waits)))) or reasons[0].summary
    facts = {kind: str(one.outcome) for kind, one in found.items()}
    if state.champion:
        facts |= {"champion": state.champion.version.digest, "retrain": "yes" if retrain else "no"}
    context.note(VERB, verdict=str(verdict), summary=summary, facts=facts)
    return context.judged(
        VERB,
        started,
        reasons,
        verdict=verdict,
        summary=summary,
        evidence={
            "retrain": retrain,
            **({"reason": f"retrain: {why}"} if why else {}),
            "looks": {kind: {"outcome": str(one.outcome), "numbers": one.numbers} for kind, one in found.items()},
            "pruned": pruned.evidence(),
        },
    )


def _resumed(context: Context) -> list[Reason]:
    """What became of a release that was under way; nothing where that is left to others."""
    silence = float(context.config.nightly.if_silent_for)
    if not silence or Journal(context.places.journal).read().release is None:
        return []
    from mlpipeline.verbs import resume

    try:
        done = resume.run(context, if_silent_for=f"{silence:g}s")
    except MlpipelineError as fault:
        return [Reason("nightly.resume", Verdict.INCONCLUSIVE, f"a release is under way and could not be resumed: {fault.what}")]
    return [Reason("nightly.resume", done.verdict, f"a release was under way: {done.summary}")]


def earlier(entries: Sequence[Entry], champion: str) -> list[Look]:
    """The looks at this champion that no retraining has answered yet, oldest first.

    A retraining answers them once it was trained at all, whatever became of it: the same evidence does not start another one.
    """
    mine = [entry for entry in entries if entry.event == VERB and entry.facts.get("champion") == champion]
    trained = max((entry.seq for entry in entries if entry.event == "train"), default=0)
    ordered = max((entry.seq for entry in mine if entry.facts.get("retrain") == "yes" and entry.seq < trained), default=0)
    return [
        Look(
            datetime.fromisoformat(entry.at).timestamp(),
            {kind: Outcome(entry.facts[kind]) for kind in _KINDS if kind in entry.facts},
        )
        for entry in mine
        if entry.seq > ordered
    ]


def _why(context: Context, champion: Standing | None, found: Mapping[str, Found]) -> str:
    """What calls for a retraining, with the numbers; empty when nothing does."""
    if champion is None or not found:
        return ""
    rule = context.config.nightly
    today = Look(context.clock.now().timestamp(), {kind: one.outcome for kind, one in found.items()})
    history = apart([*earlier(context.ledger.read(), champion.version.digest), today], rule.apart)
    kinds = due(history, at_least=rule.at_least, of=rule.of)
    return "; ".join(
        f"{found[kind].summary} ({drifted} of the last {of} look{'s' if of > 1 else ''})" for kind, (drifted, of) in kinds.items()
    )


def _as_released(context: Context) -> list[Reason]:
    """What runs against what was released; nothing where no release has told how its parts run."""
    if not any(entry.event == standing.EVENT for entry in context.ledger.read()):
        return []
    from mlpipeline.verbs.drift_check import compared

    return compared(context).reasons()


def _summary(found: Mapping[str, Found], why: str, waits: str) -> str:
    if waits:
        return f"a retraining is due, but {waits}: {why}"
    if why:
        return f"retrain: {why}"
    drifted = [one.summary for one in found.values() if one.outcome is Outcome.DRIFTED]
    if drifted:
        return f"no retraining yet, it takes more looks: {drifted[0]}"
    steady = [kind for kind, one in found.items() if one.outcome is Outcome.STEADY]
    return f"no retraining: {', '.join(steady)} steady" if steady and len(steady) == len(found) else ""


def _reasons(found: Mapping[str, Found]) -> list[Reason]:
    """What could not be looked at comes first, then what drifted."""
    order = [Outcome.UNKNOWN, Outcome.DRIFTED, Outcome.STEADY]
    listed = sorted(found.items(), key=lambda item: order.index(item[1].outcome))
    return [
        Reason(
            check=f"nightly.{kind}",
            verdict=Verdict.INCONCLUSIVE if one.outcome is Outcome.UNKNOWN else Verdict.PASS,
            summary=f"{one.summary}{'' if one.outcome is Outcome.UNKNOWN else f' ({one.outcome})'}",
            numbers=one.numbers,
            sample=one.sample,
        )
        for kind, one in listed
    ]


def _nothing(context: Context, champion: Standing | None, found: Mapping[str, Found]) -> list[Reason]:
    """Silence is no good news: a night that looked at nothing says so."""
    if champion is None:
        what = f"nothing of {context.config.service} was released yet, so nothing can drift"
    elif not found:
        what = "nothing is looked at: set nightly.data.file, nightly.live.enabled, or nightly.accuracy"
    else:
        return []
    return [Reason("nightly.nothing", Verdict.INCONCLUSIVE, what)]
