"""Metrics of the model gate that this program does not compute itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipeline.adapters.scoring import Job, Measurement, Side, measure_outside, project_python
from mlpipeline.config.metrics import NDCG, is_function
from mlpipeline.config.sections.model_gate import MetricGate
from mlpipeline.core.model_gate import Measured, Rules
from mlpipeline.core.resampling import Comparison, Design, enough, of_draws, of_terms
from mlpipeline.core.scores import METRICS, Answers, Truth, Undefined
from mlpipeline.errors import Failed
from mlpipeline.verbs.model_rows import Group, Rows, rules_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlpipeline.verbs.model_judging import Judging


OUTSIDE_RESAMPLES = 500
"""How often the rows are drawn anew for a metric of the project's own that is no mean over rows: each draw calls it twice."""


class Outside:
    """Metrics of the gate that :mod:`mlpipeline.core.scores` does not know: measured together, before they are judged."""

    def __init__(self, judging: Judging) -> None:
        self._judging = judging
        self._known: dict[tuple[str, str, str], Measurement] = {}

    def prepare(self, whole: Rows, groups: Mapping[str, list[Group]]) -> None:
        """Measures scorers and functions on all rows and every slice, in one process for each environment."""
        gate = self._judging.gate
        jobs: dict[bool, list[tuple[tuple[str, str, str], Job]]] = {True: [], False: []}
        for metric in gate.metrics:
            if metric.metric in METRICS or metric.metric == NDCG:
                continue
            parts = [whole, *(whole.slice(one) for text in metric.slices for one in groups[text])]
            for rows in parts:
                if len(rows) and (not rows.column or len(rows) >= metric.min_rows):
                    key = (metric.metric, rows.column, rows.name)
                    compared = rules_of(metric).needs_champion and rows.theirs is not None and not self._judging.same_model()
                    bounds = compared or metric.limit_confidence is not None
                    draws = min(gate.resamples, OUTSIDE_RESAMPLES) if bounds else 0
                    jobs[is_function(metric.metric)].append((key, Job(metric.metric, rows.numbers, compared, draws)))
        for functions, found in jobs.items():
            if found:
                self._run(functions, found, whole)

    def _run(self, functions: bool, found: list[tuple[tuple[str, str, str], Job]], whole: Rows) -> None:
        judging, context = self._judging, self._judging.context
        if judging.ours is None:
            return
        context.console.say(f"gate model: {len(found)} measurements with {', '.join(sorted({job.metric for _, job in found}))}")
        champion = Side(judging.theirs, whole.theirs.score) if judging.theirs is not None and whole.theirs is not None else None
        try:
            measurements = measure_outside(
                project_python(context.environment or os.environ) if functions else Path(sys.executable),
                [job for _, job in found],
                judging.holdout,
                judging.holdout.labels(judging.gate.label),
                candidate=Side(judging.ours, whole.ours.score),
                champion=champion,
                design=(whole.design.clusters, whole.design.strata),
                seed=judging.gate.seed,
                import_path=[context.project] if functions else [],
            )
        except Failed as failure:
            measurements = [Measurement(trouble=failure.what)] * len(found)
        self._known.update(zip((key for key, _ in found), measurements, strict=True))

    def measured(self, metric: MetricGate, rows: Rows, measured: Measured) -> Measured:
        """The metric on these rows, with the comparison where a rule needs one. Raises Undefined when there is none."""
        if metric.metric == NDCG:
            return self._gain(metric, rows, measured)
        known = self._known.get((metric.metric, rows.column, rows.name))
        if known is None or known.trouble:
            return replace(measured, trouble=known.trouble if known is not None else "there are no rows")
        measured = replace(measured, candidate=known.candidate)
        if metric.limit_confidence is not None and (own := self._own(metric.limit_confidence, known, rows.design)) is not None:
            measured = replace(measured, own=own)
        if not measured.rules.needs_champion or self._judging.champion is None:
            return measured
        if self._judging.same_model():
            return replace(measured, compared=identical_models(known.candidate, measured.rules.confidence))
        if rows.theirs is None:
            return replace(measured, trouble="the champion gave no usable predictions")
        return replace(measured, compared=self._comparison(known, rows, measured.rules))

    def _comparison(self, known: Measurement, rows: Rows, rules: Rules) -> Comparison:
        gate, sign = self._judging.gate, 1.0 if rules.larger_is_better else -1.0
        if known.terms:
            return of_terms(
                *known.terms,
                larger_is_better=rules.larger_is_better,
                confidence=rules.confidence,
                resamples=gate.resamples,
                seed=gate.seed,
                design=rows.design,
                margin=rules.margin or 0.0,
            )
        if known.draws is None:
            raise Undefined("it was not drawn anew")
        enough(rows.design, len(rows))
        difference = sign * (known.candidate - known.champion)
        return of_draws(
            known.candidate,
            known.champion,
            difference,
            sign * known.draws,
            confidence=rules.confidence,
            margin=rules.margin or 0.0,
        )

    def _own(self, confidence: float, known: Measurement, design: Design) -> tuple[float, float, str] | None:
        """Bounds of the candidate alone, where it was measured alone or by terms."""
        import numpy as np

        gate = self._judging.gate
        if not known.terms:
            return None
        nothing = np.zeros(len(known.terms[0]))
        alone = of_terms(
            known.terms[0],
            nothing,
            larger_is_better=True,
            confidence=confidence,
            resamples=gate.resamples,
            seed=gate.seed,
            design=design,
        )
        return alone.low, alone.high, "bootstrap"

    def _gain(self, metric: MetricGate, rows: Rows, measured: Measured) -> Measured:
        """Normalised discounted cumulative gain: one term per ranking."""
        queries = self._judging.holdout.codes(metric.by, "ranking (gate.metrics[].by)")[rows.numbers]
        _refuse_design_of_rows(rows.design)
        ours = _gains(rows.truth, rows.ours, queries, metric.top)
        measured = replace(measured, candidate=float(ours.mean()))
        rules = measured.rules
        if not rules.needs_champion or self._judging.champion is None:
            return measured
        if self._judging.same_model():
            return replace(measured, compared=identical_models(float(ours.mean()), rules.confidence))
        if rows.theirs is None:
            return replace(measured, trouble="the champion gave no usable predictions")
        theirs = _gains(rows.truth, rows.theirs, queries, metric.top)
        return replace(measured, compared=self._comparison(Measurement(terms=(ours, theirs)), rows, rules))


def _gains(truth: Truth, answers: Answers, queries: NDArray[Any], top: int) -> NDArray[Any]:
    from mlpipeline.core.ranking import ndcg_terms

    said = answers.score if answers.score is not None else answers.numbers
    if truth.numbers is None or said is None:
        raise Undefined("ndcg needs labels and predictions that are numbers")
    return ndcg_terms(truth.numbers, said, queries, top)


def _refuse_design_of_rows(design: Design) -> None:
    """Whole rankings are drawn; entities and strata of rows have no meaning for them."""
    if not design.plain:
        raise Undefined("ndcg draws whole rankings, so gate.cluster and gate.stratify cannot be set with it")


def identical_models(own: float, confidence: float) -> Comparison:
    return Comparison(own, own, 0.0, 0.0, 0.0, confidence, "identical")
