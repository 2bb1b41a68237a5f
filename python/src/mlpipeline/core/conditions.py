"""Conditions over query results, with the semantics that Argo Rollouts users know and its fail-open corners closed.

A measurement is ``fail`` when ``failure`` holds (also when ``success`` holds too), ``pass`` when ``success`` holds or only
``failure`` is given and does not hold, ``fail`` when only ``success`` is given and does not hold, else ``inconclusive``.

Closed corners: no expression at all is refused; an empty, NaN, infinite, stale or ambiguous result is inconclusive whatever
the expressions say, unless the condition names another policy for it; errors do not count as measurements, yet end the
condition when too many follow each other; an error never hides a failure; ending before ``count`` measurements is
inconclusive, never a success.
"""

from __future__ import annotations

import ast
import contextlib
import operator
from collections.abc import Callable, Sequence
from math import isinf, isnan
from typing import Literal, TypeVar

import msgspec

from mlpipeline.core.verdict import Verdict

_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


_Rule = TypeVar("_Rule")
Policy = Literal["inconclusive", "fail", "pass"]
_SHOWN = 3
"""What a measurement is that its expressions are not asked about."""


class ConditionPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A condition with its query resolved. Durations in seconds; see ``verify.conditions`` in the configuration."""

    name: str
    query: str
    success: str = ""
    failure: str = ""
    interval: float = 10.0
    count: int = 1
    initial_delay: float = 0.0
    failure_limit: int = 0
    inconclusive_limit: int = 0
    consecutive_error_limit: int = 4
    dry_run: bool = False
    nan: Policy = "inconclusive"
    infinity: Literal["inconclusive", "fail", "pass", "number"] = "inconclusive"
    empty: Literal["inconclusive", "fail", "pass", "zero"] = "inconclusive"
    stale: Literal["inconclusive", "fail", "pass", "ignore"] = "inconclusive"
    stale_after: float = 120.0
    several: Literal["inconclusive", "fail", "pass", "every", "any"] = "inconclusive"


class Measurement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one query answered: the values as text (so that NaN survives JSON), or why there is none.

    ``age``: seconds since the newest scrape of what the query reads, of the one that is oldest; 0 where it was not asked for.
    """

    values: tuple[str, ...] = ()
    error: str = ""
    age: float = 0.0


class Ambiguous(Exception):
    """Several series where the expression wants one number."""


def parse(expression: str) -> ast.expr:
    """Parses an expression over ``result`` (``result < 0.01``, ``result[0] >= 0.95 && len(result) == 1``).

    Known: comparisons, ``+ - * /``, ``and or not`` (also ``&& || !``), ``len(result)``, ``result[i]``. Raises ValueError.
    """
    text = expression.replace("&&", " and ").replace("||", " or ").replace("!=", "\0").replace("!", " not ").replace("\0", "!=")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"cannot read {expression!r}: {error.msg}") from error
    if not isinstance(tree, ast.Compare | ast.BoolOp) and not (isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)):
        raise ValueError(f"{expression!r} is no condition: it has to compare something, such as result < 0.01")
    with contextlib.suppress(Ambiguous, IndexError, ZeroDivisionError):
        _truth(tree, (0.5,))
    return tree


def measure(plan: ConditionPlan, measurement: Measurement) -> Verdict:
    """The verdict of one measurement, as the module's text says. Raises ValueError for a broken expression."""
    if measurement.error:
        return Verdict.ERROR
    values = tuple(float(value) for value in measurement.values)
    if not values and plan.empty == "zero":
        values = (0.0,)
    policies = (
        (not values, plan.empty),
        (measurement.age > plan.stale_after, plan.stale),
        (any(map(isnan, values)), plan.nan),
        (any(map(isinf, values)), plan.infinity),
    )
    found = [Verdict(policy) for holds, policy in policies if holds and policy not in ("ignore", "number")]
    if found:
        # several policies at once: none of them hides a worse one
        return next(verdict for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS) if verdict in found)
    try:
        return _compared(plan, values)
    except Ambiguous:
        pass
    except (IndexError, ZeroDivisionError):
        return Verdict.INCONCLUSIVE
    if plan.several not in ("every", "any"):
        return Verdict(plan.several)
    each = [measure(plan, Measurement((value,))) for value in measurement.values]
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    return next(verdict for verdict in (order if plan.several == "every" else order[::-1]) if verdict in each)


def _compared(plan: ConditionPlan, values: Sequence[float]) -> Verdict:
    failed = bool(plan.failure) and _truth(parse(plan.failure), values)
    succeeded = bool(plan.success) and _truth(parse(plan.success), values)
    if failed or (plan.success and not plan.failure and not succeeded):
        return Verdict.FAIL
    return Verdict.PASS if succeeded or not plan.success else Verdict.INCONCLUSIVE


def in_words(plan: ConditionPlan, measurement: Measurement) -> str:
    """What came of one query."""
    if measurement.error:
        return f"the query broke: {measurement.error}"
    if not measurement.values:
        return "the query answered no series"
    shown = ", ".join(measurement.values[:_SHOWN]) + (", ..." if len(measurement.values) > _SHOWN else "")
    many = f"{len(measurement.values)} series: " if len(measurement.values) > 1 else ""
    old = f", of which the newest scrape is {measurement.age:.0f} s old" if measurement.age > plan.stale_after else ""
    return f"the query answered {many}{shown}{old}"


class ConditionState:
    """Folds the measurements of one condition. Raises ValueError for a plan without expressions."""

    def __init__(self, plan: ConditionPlan) -> None:
        if not plan.success and not plan.failure:
            raise ValueError(f"condition {plan.name!r} has neither success nor failure")
        self.plan = plan
        self._tally = dict.fromkeys(Verdict, 0)
        self._errors_in_a_row = 0
        self._worst_errors_in_a_row = 0
        self._next: float | None = None
        self.told = ""
        """What the newest measurement that did not pass was; no part of a judgement, so that old evidence replays as it is."""

    def start(self, at: float) -> None:
        """Sets the clock of ``initial_delay``; later calls change nothing."""
        if self._next is None:
            self._next = at + self.plan.initial_delay

    def due(self, at: float) -> bool:
        """Whether to query now (Unix seconds). Errors are retried at the same interval."""
        return self._next is not None and at >= self._next and not self.complete and self.verdict is not Verdict.FAIL

    def pass_over(self, at: float) -> None:
        """It was asked and the answer does not count, because the monitoring is out: to be asked again after ``interval``."""
        self._next = at + self.plan.interval

    def add(self, at: float, measurement: Measurement) -> Verdict:
        """Takes in one measurement and returns its own verdict."""
        verdict = measure(self.plan, measurement)
        self._tally[verdict] += 1
        if verdict is not Verdict.PASS:
            self.told = in_words(self.plan, measurement)
        self._errors_in_a_row = self._errors_in_a_row + 1 if verdict is Verdict.ERROR else 0
        self._worst_errors_in_a_row = max(self._worst_errors_in_a_row, self._errors_in_a_row)
        self._next = at + self.plan.interval
        return verdict

    @property
    def missing(self) -> int:
        """How many measurements are not in yet; errors are none."""
        return max(0, self.plan.count - sum(number for verdict, number in self._tally.items() if verdict is not Verdict.ERROR))

    @property
    def complete(self) -> bool:
        """Whether ``count`` measurements are in."""
        return not self.missing

    @property
    def failing(self) -> bool:
        """Whether more failed than ``failure_limit`` forgives."""
        return self._tally[Verdict.FAIL] > self.plan.failure_limit

    @property
    def beyond_inconclusive(self) -> bool:
        """Whether more are inconclusive than ``inconclusive_limit`` forgives, so that it can pass no more."""
        return self._tally[Verdict.INCONCLUSIVE] > self.plan.inconclusive_limit

    @property
    def verdict(self) -> Verdict:
        """So far; ``inconclusive`` while measurements are missing."""
        if self.failing:
            return Verdict.FAIL
        if self._worst_errors_in_a_row > self.plan.consecutive_error_limit:
            return Verdict.ERROR
        if self.beyond_inconclusive or not self.complete:
            return Verdict.INCONCLUSIVE
        return Verdict.PASS

    @property
    def summary(self) -> str:
        counts = ", ".join(f"{number} {verdict}" for verdict, number in self._tally.items() if number) or "no measurement"
        rule = " / ".join(text for text in (self.plan.success, self.plan.failure and f"fails at {self.plan.failure}") if text)
        return f"{self.plan.name}: {counts} of {self.plan.count} wanted ({rule})"


def _truth(node: ast.expr, values: Sequence[float]) -> bool:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(part, values) for part in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _truth(node.operand, values)
    if isinstance(node, ast.Compare):
        numbers = [_number(part, values) for part in (node.left, *node.comparators)]
        rules = [_COMPARISONS.get(type(rule)) for rule in node.ops]
        pairs = zip(rules, numbers, numbers[1:], strict=False)
        return all(_known(rule, "this comparison")(left, right) for rule, left, right in pairs)
    raise ValueError(f"{ast.unparse(node)!r} is neither true nor false")


def _number(node: ast.expr, values: Sequence[float]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id == "result":
        if len(values) != 1:
            raise Ambiguous
        return values[0]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand, values)
    if isinstance(node, ast.BinOp):
        apply = _known(_ARITHMETIC.get(type(node.op)), "this arithmetic")
        return apply(_number(node.left, values), _number(node.right, values))
    if isinstance(node, ast.Subscript) and _is_result(node.value):
        return values[int(_number(node.slice, values))]
    if isinstance(node, ast.Call) and ast.unparse(node) == "len(result)":
        return float(len(values))
    raise ValueError(f"{ast.unparse(node)!r} is not known in a condition; use result, numbers, len(result) and result[0]")


def _is_result(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "result"


def _known(rule: _Rule | None, what: str) -> _Rule:
    if rule is None:
        raise ValueError(f"{what} is not known in a condition")
    return rule
