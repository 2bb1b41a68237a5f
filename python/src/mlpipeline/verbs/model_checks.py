"""What ``gate model`` judges besides metrics: agreed conditions, fairness, what the model rests on, and how it behaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipeline.adapters.scoring import Holdout
from mlpipeline.config.sections.model_gate import AgreedCondition, Fairness, Importance
from mlpipeline.core import fairness, grammar
from mlpipeline.core.answers import Mismatch
from mlpipeline.core.model_gate import Finding, short
from mlpipeline.core.resampling import compare
from mlpipeline.core.scores import METRICS, Answers, Undefined, value
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, Failed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpipeline.verbs.model_judging import Judging
    from mlpipeline.verbs.model_rows import Rows
    from mlpipeline.verbs.model_subjects import Subject

Numbers = dict[str, bool | int | float | str]
MOST_CLASSES = 50
"""Of a label, for fairness: with more, bounds for all of them together say nothing."""


def judge_more(judging: Judging, subject: Subject, rows: Rows) -> None:
    """Fairness, importance and behaviour, where they are configured."""
    from mlpipeline.verbs.model_behaviour import judge_behaviour

    for number, rule in enumerate(judging.gate.fairness):
        _fairness(judging, rows, rule, number)
    if judging.gate.importance is not None:
        _importance(judging, subject, rows, judging.gate.importance)
    if judging.gate.behaviour.file:
        judge_behaviour(judging, subject, rows)


def check_before(judging: Judging, model: Path) -> None:
    """Refuses what does not fit the holdout or the model before anything is predicted."""
    from mlpipeline.verbs.model_behaviour import check_columns, read_suite

    gate = judging.gate
    for rule in gate.conditions:
        parsed(rule)
    for group in gate.fairness:
        judging.holdout.need_plain(group.by, "groups (gate.fairness[].by)")
    if gate.importance is not None:
        for name in (*gate.importance.must_matter, *gate.importance.must_not_matter):
            if name not in (names := _inputs(judging, model)):
                raise ConfigurationError(
                    f"gate.importance: {name!r} is no input of the model", facts={"inputs": ", ".join(names[:20])}
                )
    if gate.behaviour.file:
        check_columns(judging, read_suite(judging.context.project / gate.behaviour.file))


def _inputs(judging: Judging, model: Path) -> list[str]:
    from mlpipeline.adapters.scoring import model_columns

    return model_columns(model) or [name for name in judging.holdout.columns if name != judging.gate.label]


# --- agreed conditions --------------------------------------------------------------------------------------------------


def order_of(rows: int, seed: int) -> NDArray[Any]:
    """The order in which rows are labelled and looked at: drawn once, so that it cannot depend on the labels."""
    import numpy as np

    return np.random.default_rng(seed).permutation(rows)


def evidence_for(rule: AgreedCondition, clauses: int) -> float:
    """What must be won against each clause; see :func:`mlpipeline.core.grammar.log_evidence_needed`."""
    return grammar.log_evidence_needed(rule.reliability, clauses, rule.steps, rule.adaptivity)


def parsed(rule: AgreedCondition) -> tuple[grammar.Clause, ...]:
    """The clauses; a condition that cannot be read is a ConfigurationError."""
    try:
        return grammar.parse(rule.condition)
    except grammar.BadCondition as error:
        raise ConfigurationError(f"gate.conditions: {error}", tries=("n - o > 0.02 +/- 0.01 /\\ d < 0.1 +/- 0.01",)) from error


def judge_conditions(judging: Judging, rows: Rows, labelled: NDArray[Any] | None) -> None:
    """One finding for each condition, of three values."""
    told: list[dict[str, object]] = []
    for number, rule in enumerate(judging.gate.conditions, start=1):
        check = f"condition.{number}"
        clauses = parsed(rule)
        if judging.champion is None or rows.theirs is None or judging.same_model():
            judging.findings.append(_no_comparison(judging, rows, check, rule))
            continue
        if judging.use is not None and judging.use.position > rule.steps:
            text = (
                f"comparison {judging.use.position} on this holdout, and the reliability covers {rule.steps} (steps): "
                "fresh rows are needed"
            )
            judging.findings.append(Finding(check, Verdict.INCONCLUSIVE, text))
            continue
        decided = decide_all(rule, clauses, rows, labelled=labelled, differ=_differ(judging, rows), seed=judging.gate.seed)
        judging.findings.append(_condition_finding(check, rule, decided))
        told.extend(
            {
                "condition": number,
                "clause": one.clause.text,
                "verdict": str(one.verdict),
                "estimate": one.estimate,
                "low": one.low,
                "high": one.high,
                "rows": one.rows,
                "labels": one.labels,
            }
            for one in decided
            if one.rows
        )
    if told:
        judging.evidence["conditions"] = told


def _no_comparison(judging: Judging, rows: Rows, check: str, rule: AgreedCondition) -> Finding:
    if judging.champion is None:
        passes = judging.gate.no_champion == "pass"
        text = f"there is no champion yet, so {rule.condition!r} {'passes' if passes else 'fails'} (gate.no_champion)"
        return Finding(check, Verdict.PASS if passes else Verdict.FAIL, text)
    if rows.theirs is None:
        policy = {"error": Verdict.ERROR, "pass": Verdict.PASS, "fail": Verdict.FAIL}[judging.gate.champion_unusable]
        return Finding(check, policy, f"{rule.condition!r}: the champion gave no usable predictions")
    return Finding(check, Verdict.PASS, f"{rule.condition!r}: candidate and champion are the same model")


def decide_all(
    rule: AgreedCondition,
    clauses: tuple[grammar.Clause, ...],
    rows: Rows,
    *,
    labelled: NDArray[Any] | None,
    differ: NDArray[Any],
    seed: int,
) -> list[grammar.Decided]:
    """Each clause on the rows that can be looked at: all, or those before the first that needs a label and has none.

    Args:
        differ: 1.0 where the models disagree, else 0.0.
    """
    import numpy as np

    if rows.theirs is None or rows.truth.codes is None or rows.ours.codes is None or rows.theirs.codes is None:
        raise ConfigurationError("gate.conditions needs models that answer classes")
    new = (rows.ours.codes == rows.truth.codes).astype(float)
    old = (rows.theirs.codes == rows.truth.codes).astype(float)
    order = order_of(len(rows), seed)
    known = np.ones(len(rows), dtype=bool) if labelled is None else labelled
    evidence = evidence_for(rule, len(clauses))
    decided = []
    for clause in clauses:
        needs = np.zeros(len(rows), dtype=bool) if clause.label_free else needs_label(clause, differ)
        blocked = np.flatnonzero((needs & ~known)[order])
        seen = order[: blocked[0]] if len(blocked) else order
        values = clause.values(new[seen], old[seen], differ[seen])
        decided.append(grammar.decide(clause, grammar.counted(values), evidence, rule.mode, int(needs[seen].sum())))
    return decided


def _differ(judging: Judging, rows: Rows) -> NDArray[Any]:
    """1.0 where the models disagree. Classes that no labelled row has share one code: there the answers themselves are asked."""
    if rows.theirs is None or rows.ours.codes is None or rows.theirs.codes is None:
        raise ConfigurationError("gate.conditions needs models that answer classes")
    different = rows.ours.codes != rows.theirs.codes
    ours, theirs = judging.ours, judging.theirs
    if ours is not None and theirs is not None and ours.predictions.ndim == theirs.predictions.ndim == 1:
        unseen = (rows.ours.codes == rows.truth.classes) & (rows.theirs.codes == rows.truth.classes)
        different = different | (unseen & (ours.predictions != theirs.predictions))
    values: NDArray[Any] = different.astype(float)
    return values


def needs_label(clause: grammar.Clause, differ: NDArray[Any]) -> NDArray[Any]:
    """The rows whose label the clause cannot do without."""
    import numpy as np

    return differ > 0 if clause.label_free_agreement else np.ones(len(differ), dtype=bool)


def _condition_finding(check: str, rule: AgreedCondition, decided: list[grammar.Decided]) -> Finding:
    verdict = grammar.together(decided)
    parts = [
        f"{one.clause.text}: {one.estimate:.4g} [{one.low:.4g}, {one.high:.4g}] on {one.rows} rows "
        f"with {one.labels} labels, {one.verdict}"
        if one.rows
        else f"{one.clause.text}: no row could be looked at"
        for one in decided
    ]
    more = "; mlpipeline gate model --plan says how many labels are missing" if verdict is Verdict.INCONCLUSIVE else ""
    numbers: Numbers = {"reliability": rule.reliability, "mode": rule.mode, "adaptivity": rule.adaptivity, "steps": rule.steps}
    return Finding(check, verdict, f"{'; '.join(parts)}{more}", numbers)


# --- fairness -----------------------------------------------------------------------------------------------------------


def _fairness(judging: Judging, rows: Rows, rule: Fairness, number: int) -> None:
    """One finding for each measure that has a limit: pass when a larger gap is excluded, fail when one is shown."""
    if not 2 <= rows.truth.classes <= MOST_CLASSES or rows.ours.codes is None or rows.truth.codes is None:
        raise ConfigurationError(
            f"gate.fairness[{number}] needs a label with 2 to {MOST_CLASSES} classes and a model that answers them",
            facts={"classes": rows.truth.classes},
        )
    groups = judging.holdout.groups(rule.by)
    small = [name for name, chosen in groups.items() if len(chosen) < rule.min_rows]
    kept = {name: chosen for name, chosen in groups.items() if name not in small}
    limits = {name: getattr(rule, name) for name in fairness.OF if getattr(rule, name) is not None}
    if not limits:
        raise ConfigurationError(
            f"gate.fairness[{number}] has no limit", tries=("add demographic_parity, equal_opportunity or equalised_odds",)
        )
    for measure, limit in limits.items():
        found = _gap(judging, rows, rule, measure, kept)
        judging.findings.append(_gap_finding(rule, measure, limit, found, small))
        if found is not None:
            told = judging.evidence.setdefault("fairness", [])
            if isinstance(told, list):
                told.append(
                    {
                        "by": rule.by,
                        "measure": measure,
                        "gap": found.value,
                        "low": found.low,
                        "high": found.high,
                        "limit": limit,
                        "confidence": rule.confidence,
                        "most": found.most,
                        "least": found.least,
                        "among": found.among,
                        **({"class": found.of_class} if found.of_class else {}),
                        "shares": dict(found.shares),
                        "verdict": str(judging.findings[-1].verdict),
                    }
                )


def _gap(
    judging: Judging, rows: Rows, rule: Fairness, measure: fairness.Measure, groups: Mapping[str, NDArray[Any]]
) -> fairness.Gap | None:
    """Of the positive class, or of each class in turn where there are more than two."""
    said, true = rows.ours.codes, rows.truth.codes
    assert said is not None and true is not None  # noqa: S101 - the caller has looked

    def worth(outcomes: NDArray[Any]) -> float:
        return fairness.effective_share(outcomes, rows.design.clusters)

    if rows.truth.classes > 2:
        names = [str(name) for name in judging.truth()[1]]
        return fairness.gap_of_classes(measure, said, true, groups, classes=names, confidence=rule.confidence, effective=worth)
    positive = said == rows.truth.positive
    return fairness.gap(
        measure,
        positive,
        true == rows.truth.positive,
        groups,
        confidence=rule.confidence,
        effective=worth(positive.astype(float)),
    )


def _gap_finding(rule: Fairness, measure: str, limit: float, found: fairness.Gap | None, small: list[str]) -> Finding:
    check = f"fairness.{rule.by}.{measure}"
    left_out = f"; too small to judge: {', '.join(small[:5])}" if small else ""
    if found is None:
        return Finding(check, Verdict.INCONCLUSIVE, f"{rule.by} has fewer than two groups with {rule.min_rows} rows{left_out}")
    if found.high <= limit:
        verdict, meaning = Verdict.PASS, f"more than {short(limit)} is excluded"
    elif found.low > limit:
        verdict, meaning = Verdict.FAIL, f"more than {short(limit)} is shown"
    else:
        verdict, meaning = Verdict.INCONCLUSIVE, f"more than {short(limit)} is neither shown nor excluded"
    among = {"all": "all rows", "positive": "truly positive rows", "negative": "truly negative rows"}[found.among]
    if found.of_class:
        among = {"all": "all rows", "positive": "rows of that class", "negative": "rows of other classes"}[found.among]
    of = f" in being called {found.of_class}" if found.of_class else ""
    text = (
        f"{measure.replace('_', ' ')} by {rule.by}: {found.most} and {found.least} differ{of} by {short(found.value)} "
        f"[{short(found.low)}, {short(found.high)}] among {among}; {meaning} with {100 * rule.confidence:g} % confidence "
        f"over all pairs of groups{' and all classes' if of else ''}{left_out}"
    )
    numbers: Numbers = {"gap": found.value, "low": found.low, "high": found.high, "limit": limit, "confidence": rule.confidence}
    return Finding(check, verdict, text, numbers)


# --- importance ---------------------------------------------------------------------------------------------------------


def _importance(judging: Judging, subject: Subject, rows: Rows, rule: Importance) -> None:
    """Shuffles each input column, predicts once for all of them, and compares with the answers to the unshuffled rows."""
    import numpy as np
    import pandas as pd

    metric = rule.metric or next((one.metric for one in judging.gate.metrics if one.metric in METRICS), "")
    if metric not in METRICS:
        raise ConfigurationError(
            "gate.importance needs one of the metrics that this program knows itself", facts={"metrics": ", ".join(METRICS)}
        )
    names = _inputs(judging, subject.model)
    random = np.random.default_rng(judging.gate.seed)
    chosen = np.sort(random.permutation(len(rows))[: rule.rows])
    frame = judging.holdout.frame.iloc[chosen].reset_index(drop=True)
    shuffled = []
    for name in names:
        mixed = frame[name].iloc[random.permutation(len(frame))].reset_index(drop=True)
        shuffled.append(frame.assign(**{name: mixed}))
    table = Holdout(judging.holdout.path, "", pd.concat(shuffled, ignore_index=True))
    try:
        scored = judging.predict(subject, table)
    except Failed as failure:
        judging.findings.append(Finding("importance", Verdict.FAIL, f"with shuffled columns {failure.what}"))
        return
    truth, classes, _ = judging.truth()
    answers = judging.answers(scored, truth.take(np.tile(chosen, len(names))), classes)
    if isinstance(answers, Mismatch):
        judging.findings.append(Finding("importance", Verdict.ERROR, f"answers to shuffled columns are unusable: {answers}"))
        return
    kept = replace(
        rows,
        truth=rows.truth.take(chosen),
        ours=rows.ours.take(chosen),
        theirs=None,
        numbers=chosen,
        design=rows.design.take(chosen),
    )
    losses = _losses(judging, metric, rule, names=names, rows=kept, answers=answers)
    if losses is not None:
        _judge_importance(judging, rule, metric, losses)


def _losses(
    judging: Judging, metric: str, rule: Importance, *, names: list[str], rows: Rows, answers: Answers
) -> Mapping[str, tuple[float, float]] | None:
    """By column: what is lost without it, and the lower bound of that."""
    import numpy as np

    truth, ours, design = rows.truth, rows.ours, rows.design
    size = len(rows)
    losses = {}
    level = 1.0 - (1.0 - rule.confidence) / max(1, len(rule.must_matter) + len(rule.must_not_matter))
    try:
        value(metric, truth, ours)
        for number, name in enumerate(names):
            part = answers.take(np.arange(number * size, (number + 1) * size))
            found = compare(
                metric,
                truth,
                ours,
                part,
                confidence=level,
                resamples=judging.gate.resamples,
                seed=judging.gate.seed,
                design=design,
            )
            losses[name] = (found.difference, found.low)
    except Undefined as error:
        judging.findings.append(Finding("importance", Verdict.ERROR, f"importance by {metric} cannot be computed: {error}"))
        return None
    return losses


def _judge_importance(judging: Judging, rule: Importance, metric: str, losses: Mapping[str, tuple[float, float]]) -> None:
    total = sum(max(0.0, loss) for loss, _ in losses.values())
    shares = {name: (max(0.0, loss) / total if total > 0 else 0.0) for name, (loss, _) in losses.items()}
    ordered = sorted(losses, key=lambda name: -losses[name][0])
    judging.evidence["importance"] = {
        "metric": metric,
        "columns": [{"name": name, "loss": losses[name][0], "low": losses[name][1], "share": shares[name]} for name in ordered],
    }
    top = ordered[0]
    if rule.max_share is not None:
        verdict = Verdict.PASS if shares[top] <= rule.max_share and total > 0 else Verdict.FAIL
        text = (
            f"{top} holds {100 * shares[top]:.0f} % of what {metric} loses when single columns are shuffled; "
            f"allowed are {100 * rule.max_share:g} %"
        )
        if total <= 0:
            text = f"no column matters: {metric} loses nothing when single columns are shuffled"
        judging.findings.append(Finding("importance.max_share", verdict, text, {"share": shares[top], "column": top}))
    for name in rule.must_matter:
        judging.findings.append(_wanted("must_matter", name, metric, losses[name]))
    for name in rule.must_not_matter:
        judging.findings.append(_wanted("must_not_matter", name, metric, losses[name]))
    if rule.max_share is None and not rule.must_matter and not rule.must_not_matter:
        text = f"{top} matters most: {metric} loses {short(losses[top][0])} without it"
        judging.findings.append(Finding("importance", Verdict.PASS, text))


def _wanted(rule: str, name: str, metric: str, found: tuple[float, float]) -> Finding:
    loss, low = found
    matters = low > 0
    good = matters if rule == "must_matter" else not matters
    meaning = "matters" if matters else "is not shown to matter"
    text = f"without {name}, {metric} loses {short(loss)} (at least {short(low)}): it {meaning}"
    return Finding(f"importance.{rule}.{name}", Verdict.PASS if good else Verdict.FAIL, text, {"loss": loss, "low": low})
