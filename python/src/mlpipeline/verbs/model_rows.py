"""Rows of the holdout with the answers of both models, and the rules they are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpipeline.config.metrics import is_function
from mlpipeline.config.sections.model_gate import MetricGate
from mlpipeline.core.model_gate import Rules
from mlpipeline.core.resampling import Design
from mlpipeline.core.scores import Answers, Truth

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rules_of(metric: MetricGate) -> Rules:
    bound = metric.no_worse_than_champion
    return Rules(
        metric=metric.metric,
        at_least=metric.at_least,
        at_most=metric.at_most,
        margin=None if bound is None else float(bound.margin),
        confidence=0.95 if bound is None else float(bound.confidence),
        better=metric.better_than_champion,
        limit_confidence=metric.limit_confidence,
        upwards=metric.larger_is_better if is_function(metric.metric) else True,
    )


@dataclass(frozen=True)
class Rows:
    """Some rows of the holdout with both models' answers; ``theirs`` is absent without usable ones."""

    truth: Truth
    ours: Answers
    theirs: Answers | None
    numbers: NDArray[Any]
    design: Design
    column: str = ""
    name: str = ""
    expression: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def slice(self, group: Group) -> Rows:
        chosen = group.rows
        theirs = None if self.theirs is None else self.theirs.take(chosen)
        return Rows(
            self.truth.take(chosen),
            self.ours.take(chosen),
            theirs,
            self.numbers[chosen],
            self.design.take(chosen),
            group.column,
            group.name,
            group.expression,
        )


@dataclass(frozen=True)
class Group:
    """One slice: rows with one value of a column, or those that meet an expression."""

    column: str
    name: str
    rows: NDArray[Any]
    expression: bool = False

    @property
    def spoken(self) -> str:
        return self.column if self.expression else f"{self.column}={self.name}"
