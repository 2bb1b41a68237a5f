"""``gate model --plan``: how many labels each rule needs, and which rows to label first. Judges and records nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpipeline.adapters.scoring import read_holdout
from mlpipeline.config.sections.model_gate import MetricGate
from mlpipeline.core import grammar
from mlpipeline.core.holdout import Use
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.files import write_atomically
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.model_budget import position_of
from mlpipeline.verbs.model_checks import evidence_for, needs_label, order_of, parsed
from mlpipeline.verbs.model_judging import Judging
from mlpipeline.verbs.model_subjects import Interpreter, champion_of, served_environment

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERB = "gate-model-plan"
FILE = "label-first.csv"


@dataclass(frozen=True)
class _Seen:
    """What both models say: where they disagree, in the order of labelling, and which rows have labels."""

    differ: NDArray[Any]
    order: NDArray[Any]
    labelled: NDArray[Any]

    @property
    def disagreement(self) -> float:
        return float(self.differ.mean())


def run(context: Context, run: Run, *, interpreter: Interpreter | None = None) -> Result:
    """Scores both models on the holdout, whose rows need no labels for this, and plans.

    Raises:
        ConfigurationError: There is no champion, or no rule for which labels can be planned.
    """
    gate = context.config.gate
    champion = champion_of(context)
    if not gate.holdout or champion is None:
        what = "there is no champion yet" if gate.holdout else "gate.holdout is not set"
        raise ConfigurationError(f"{what}, so there is no comparison to plan for")
    planned = [metric for metric in gate.metrics if metric.metric == "accuracy" and metric.no_worse_than_champion is not None]
    if not planned and not gate.conditions:
        raise ConfigurationError(
            "no rule of the gate needs a plan for labels",
            likely="labels are planned for accuracy with no_worse_than_champion, and for gate.conditions",
        )
    trained = context.needed(run, "train", "gate-model")
    holdout = read_holdout(context.project / gate.holdout)
    judging = Judging(
        context, holdout, str(trained.evidence["model_digest"]), champion, interpreter=interpreter or served_environment
    )
    seen = _look(judging, context.project / str(trained.evidence["model"]))
    rules = [_margin_reason(metric, seen, judging) for metric in planned]
    wanted: list[int] = []
    for number, rule in enumerate(gate.conditions, start=1):
        for clause in parsed(rule):
            reason, first = _clause_reason(number, clause, evidence_for(rule, len(parsed(rule))), seen)
            rules.append(reason)
            wanted.extend(first)
    chosen = list(dict.fromkeys(wanted)) or _disagreeing(seen)
    file = context.runs.folder(run.id) / FILE
    rows = "".join(f"{number},{int(seen.differ[number])}\n" for number in chosen)
    write_atomically(file, f"row,disagree\n{rows}".encode())
    lines = [reason.summary for reason in rules]
    lines.append(f"label first: {len(chosen)} rows, in this order, in {file}" if chosen else "no row needs a label")
    return Result(
        verb=VERB,
        service=context.config.service,
        run=run.id,
        verdict=Verdict.PASS,
        summary=lines[0],
        reasons=tuple(rules),
        evidence={"disagreement": seen.disagreement, "rows": len(holdout), "label_first": chosen[:1000], "lines": lines},
    )


def _look(judging: Judging, model: Any) -> _Seen:
    """Both models' answers, compared as they are given: no label is read."""
    import numpy as np

    with judging.candidate(model) as subject:
        ours = judging.predict(subject, judging.holdout)
    theirs = judging.champions_output()
    differ = _codes(ours.predictions) != _codes(theirs.predictions)
    if judging.gate.label in judging.holdout.columns:
        labelled = judging.holdout.labelled(judging.gate.label)
    else:
        labelled = np.zeros(len(judging.holdout), dtype=bool)
    return _Seen(differ, order_of(len(judging.holdout), judging.gate.seed), labelled)


def _codes(said: NDArray[Any]) -> NDArray[Any]:
    if said.ndim == 1:
        return said
    most: NDArray[Any] = said.argmax(axis=1)
    return most


def _margin_reason(metric: MetricGate, seen: _Seen, judging: Judging) -> Reason:
    """Rows and labels with which a candidate as good as the champion would pass, with a power of 80 %."""
    rule = metric.no_worse_than_champion
    margin, wanted = (float(rule.margin), float(rule.confidence)) if rule is not None else (0.0, 0.95)
    reuse, champion = judging.gate.reuse, judging.champion
    position = position_of(
        judging.context.ledger.read(), judging.holdout.digest, model="", champion=champion.digest if champion else "", rules=""
    )
    use = Use(position, reuse.budget, reuse.correct)
    confidence = use.confidence(wanted)
    rows = grammar.rows_for_margin(seen.disagreement, margin, confidence)
    labels = round(rows * seen.disagreement)
    check = f"plan.{metric.metric}.no_worse_than_champion"
    if margin <= 0:
        return Reason(check, Verdict.INCONCLUSIVE, f"{metric.metric}: no number of labels excludes a loss of 0")
    text = (
        f"{metric.metric}: a loss of {margin:g} is excluded with {100 * confidence:.5g} % confidence on about {rows} rows, "
        f"of which about {labels} need labels: the models disagree on {100 * seen.disagreement:.3g} % of {len(seen.differ)} "
        f"rows, and a row on which they agree moves neither; this would be comparison {position} of {use.budget} on this holdout"
    )
    enough = len(seen.differ) >= rows
    text += "" if enough else f"; {rows - len(seen.differ)} more rows are needed"
    return Reason(check, Verdict.PASS if enough else Verdict.INCONCLUSIVE, text, {"rows": rows, "labels": labels})


def _clause_reason(number: int, clause: grammar.Clause, evidence: float, seen: _Seen) -> tuple[Reason, list[int]]:
    """Labels that a clause needs when the truth is one tolerance on the right side, and the first rows without one."""
    import numpy as np

    check = f"plan.condition.{number}"
    if clause.label_free:
        return Reason(check, Verdict.PASS, f"{clause.text}: needs no label"), []
    differ = seen.disagreement if clause.label_free_agreement else 1.0
    rows = grammar.rows_expected(evidence, differ, 2 * clause.tolerance)
    needs = needs_label(clause, seen.differ.astype(float))
    labels = round(rows * float(needs.mean()))
    bound = grammar.bennett_rows(evidence, max(differ, clause.tolerance), clause.tolerance)
    here = seen.order[: min(rows, len(seen.order))]
    first = [int(row) for row in here if needs[row] and not seen.labelled[row]]
    have = int(np.count_nonzero(seen.labelled & needs))
    text = (
        f"{clause.text}: decided with about {labels} labels on {rows} rows when the truth is one tolerance beyond the limit "
        f"(Bennett's bound asks for {bound}); {have} rows that need one have one"
    )
    text += "" if rows <= len(seen.order) else f"; the holdout has only {len(seen.order)} rows"
    numbers: dict[str, bool | int | float | str] = {"rows": rows, "labels": labels, "bennett": bound}
    return Reason(check, Verdict.PASS if rows <= len(seen.order) else Verdict.INCONCLUSIVE, text, numbers), first


def _disagreeing(seen: _Seen) -> list[int]:
    return [int(row) for row in seen.order if seen.differ[row] and not seen.labelled[row]]
