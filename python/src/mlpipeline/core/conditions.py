"""Conditions over query results, with the semantics that Argo Rollouts users know and its fail-open corners closed.

A measurement is ``fail`` when ``failure`` holds (also when ``success`` holds too), ``pass`` when ``success`` holds or only
``failure`` is given and does not hold, ``fail`` when only ``success`` is given and does not hold, else ``inconclusive``.

Closed corners: no expression at all is refused; an empty, NaN, infinite, stale or ambiguous result does not pass, whatever the
expressions say, unless the condition names another policy for it; a policy is about the values it names and hides no failure
that holds without them; errors do not count as measurements, yet end the condition when too many follow each other; an error
never hides a failure; ending before ``count`` measurements is inconclusive, never a success.

What cannot be computed (a value with a policy, an index that is not there, a division by 0) is unknown, and the verdict stands
in for it that it has by its policy. ``&&`` is false and ``||`` true as soon as one side is, whatever the other is.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isinf, isnan
from typing import Literal

import msgspec

from mlpipeline.core.verdict import Verdict, failing_first, worst

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

Policy = Literal["inconclusive", "fail", "pass"]
"""What a measurement is that its expressions are not asked about."""
UNTIL_THE_END = 0
"""As ``count``: measured as long as the release is watched."""
_SHOWN = 3
_SHOWN_LETTERS = 60


class ConditionPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A condition with its query resolved. Durations in seconds; see ``verify.conditions`` in the configuration.

    Args:
        count: Measurements that are needed, after which it is asked no more; ``UNTIL_THE_END``: one that passes is needed, and it
            is asked as long as the release is watched.
    """

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

    @property
    def endless(self) -> bool:
        return self.count == UNTIL_THE_END

    @property
    def rule(self) -> str:
        return " / ".join(text for text in (self.success, self.failure and f"fails at {self.failure}") if text)

    @property
    def least(self) -> int:
        """Measurements that a pass needs."""
        return max(1, self.count)


class Measurement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one query answered: the values as text (so that NaN survives JSON), or why there is none.

    ``age``: seconds since the newest scrape of what the query reads, of the one that is oldest; 0 where it was not asked for.
    """

    values: tuple[str, ...] = ()
    error: str = ""
    age: float = 0.0


def parse(expression: str) -> ast.expr:
    """Parses an expression over ``result`` (``result < 0.01``, ``result[0] >= 0.95 && len(result) == 1``).

    Known: comparisons, ``+ - * /``, ``and or not`` (also ``&& || !``), ``len(result)``, ``result[i]``. Raises ValueError.
    """
    text = expression.replace("&&", " and ").replace("||", " or ").replace("!=", "\0").replace("!", " not ").replace("\0", "!=")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if not _is_truth(tree):
            raise ValueError(f"{expression!r} is no condition: it has to compare something, such as result < 0.01")
        _check_truth(tree)
    except SyntaxError as error:
        raise ValueError(f"cannot read {expression!r}: {error.msg}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"cannot read {expression[:_SHOWN_LETTERS]!r}...: it is nested too deeply") from error
    return tree


def check_expression(expression: str) -> None:
    """Refuses what :func:`parse` does, and what is the same whatever a query answers. Raises ValueError."""
    if not any(_is_result(node) for node in ast.walk(parse(expression))):
        raise ValueError(f"{expression!r} never looks at result, so it says nothing about what the query answers")


@dataclass(frozen=True)
class _Answer:
    """What the expressions are asked about. ``result``: what this name alone stands for, a verdict while it is unknown."""

    plan: ConditionPlan
    values: tuple[float, ...]
    result: float | Verdict


def measure(plan: ConditionPlan, measurement: Measurement) -> Verdict:
    """The verdict of one measurement, as the module's text says. Raises ValueError for a broken expression."""
    if measurement.error:
        return Verdict.ERROR
    values = tuple(float(value) for value in measurement.values)
    if not values and plan.empty == "zero":
        values = (0.0,)
    known = [_known(plan, value) for value in values]
    policies = [verdict for verdict in known if isinstance(verdict, Verdict)]
    if measurement.age > plan.stale_after and plan.stale != "ignore":
        return worst((Verdict(plan.stale), *policies))
    failure, success = (parse(text) if text else None for text in (plan.failure, plan.success))
    if not values:
        silent = _Answer(plan, (), Verdict(plan.empty))
        return Verdict.FAIL if failure is not None and _truth(failure, silent) is True else Verdict(plan.empty)
    if len(values) == 1 or plan.several in ("every", "any"):
        results: Sequence[float | Verdict] = [value for value in known if not isinstance(value, Verdict)] or known
    else:
        results = (Verdict(plan.several),)
    answer = _Answer(plan, values, results[0])
    found = [_compared(failure, success, replace(answer, result=result)) for result in results]
    one = max(found, key=failing_first) if plan.several == "any" else worst(found)
    return worst((one, *policies))


def _known(plan: ConditionPlan, value: float) -> float | Verdict:
    """The number, or the verdict of the policy that stands in for it."""
    if isnan(value):
        return Verdict(plan.nan)
    if isinf(value) and plan.infinity != "number":
        return Verdict(plan.infinity)
    return value


def _compared(failure: ast.expr | None, success: ast.expr | None, answer: _Answer) -> Verdict:
    """``failure`` first: nothing that is wrong with ``success`` hides it."""
    failed = False if failure is None else _truth(failure, answer)
    if failed is True:
        return Verdict.FAIL
    by_failure = Verdict.PASS if failed is False else failed
    if success is None:
        return by_failure
    succeeded = _truth(success, answer)
    if isinstance(succeeded, Verdict):
        return worst((by_failure, succeeded))
    missed = Verdict.FAIL if failure is None else Verdict.INCONCLUSIVE
    return worst((by_failure, Verdict.PASS if succeeded else missed))


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
    """Folds the measurements of one condition. Raises ValueError for a plan without expressions or with a negative count."""

    def __init__(self, plan: ConditionPlan) -> None:
        if not plan.success and not plan.failure:
            raise ValueError(f"condition {plan.name!r} has neither success nor failure")
        if plan.count < UNTIL_THE_END:
            raise ValueError(f"condition {plan.name!r} wants {plan.count} measurements")
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
        over = self.verdict is Verdict.FAIL or (self.complete and not self.plan.endless)
        return self._next is not None and at >= self._next and not over

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
        """How many measurements are not in yet that a pass needs; errors are none."""
        if self.plan.endless:
            return 0 if self._tally[Verdict.PASS] else 1
        return max(0, self.plan.count - self._measurements)

    @property
    def _measurements(self) -> int:
        return sum(number for verdict, number in self._tally.items() if verdict is not Verdict.ERROR)

    @property
    def complete(self) -> bool:
        """Whether the measurements are in that a pass needs."""
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
        rule = self.plan.rule
        if not self.plan.endless:
            return f"{self.plan.name}: {counts} of {self.plan.count} wanted ({rule})"
        passed = self._tally[Verdict.PASS]
        if passed and passed == sum(self._tally.values()):
            return f"{self.plan.name}: {passed} measurement{'s' if passed > 1 else ''}, all passed ({rule})"
        return f"{self.plan.name}: {counts}, asked every {self.plan.interval:g} s ({rule})"


def _truth(node: ast.expr, answer: _Answer) -> bool | Verdict:
    """Of an expression that was parsed; a verdict where it is unknown."""
    if isinstance(node, ast.BoolOp):
        decisive = isinstance(node.op, ast.Or)
        parts = [_truth(part, answer) for part in node.values]
        unknown = [part for part in parts if isinstance(part, Verdict)]
        return decisive if decisive in parts else worst(unknown) if unknown else not decisive
    if isinstance(node, ast.UnaryOp):
        inner = _truth(node.operand, answer)
        return inner if isinstance(inner, Verdict) else not inner
    return _holds(node, answer) if isinstance(node, ast.Compare) else Verdict.INCONCLUSIVE


def _holds(node: ast.Compare, answer: _Answer) -> bool | Verdict:
    numbers = _numbers((node.left, *node.comparators), answer)
    if isinstance(numbers, Verdict):
        return numbers
    pairs = zip(node.ops, numbers, numbers[1:], strict=False)
    return all(_COMPARISONS[type(rule)](left, right) for rule, left, right in pairs)


def _numbers(nodes: Sequence[ast.expr], answer: _Answer) -> list[float] | Verdict:
    found = [_number(node, answer) for node in nodes]
    unknown = [number for number in found if isinstance(number, Verdict)]
    return worst(unknown) if unknown else [number for number in found if not isinstance(number, Verdict)]


def _number(node: ast.expr, answer: _Answer) -> float | Verdict:
    found: float | Verdict = Verdict.INCONCLUSIVE
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        found = float(node.value)
    elif isinstance(node, ast.Name):
        found = answer.result
    elif isinstance(node, ast.Call):
        found = float(len(answer.values))
    elif isinstance(node, ast.Subscript):
        found = _element(_number(node.slice, answer), answer)
    elif isinstance(node, ast.UnaryOp):
        inner = _number(node.operand, answer)
        found = inner if isinstance(inner, Verdict) else -inner
    elif isinstance(node, ast.BinOp):
        found = _calculated(node, answer)
    return found


def _calculated(node: ast.BinOp, answer: _Answer) -> float | Verdict:
    sides = _numbers((node.left, node.right), answer)
    if isinstance(sides, Verdict):
        return sides
    if isinstance(node.op, ast.Div) and not sides[1]:
        return Verdict.INCONCLUSIVE
    return _known(answer.plan, _ARITHMETIC[type(node.op)](*sides))


def _element(index: float | Verdict, answer: _Answer) -> float | Verdict:
    if isinstance(index, Verdict):
        return index
    if not index.is_integer() or not -len(answer.values) <= index < len(answer.values):
        return Verdict.INCONCLUSIVE
    return _known(answer.plan, answer.values[int(index)])


def _is_truth(node: ast.expr) -> bool:
    return isinstance(node, ast.Compare | ast.BoolOp) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))


def _check_truth(node: ast.expr) -> None:
    """Refuses what :func:`_truth` does not know, also where one answer would never reach it. Raises ValueError."""
    if not _is_truth(node):
        raise ValueError(f"{ast.unparse(node)!r} is neither true nor false")
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check_truth(part)
    elif isinstance(node, ast.UnaryOp):
        _check_truth(node.operand)
    elif isinstance(node, ast.Compare):
        for rule in node.ops:
            if type(rule) not in _COMPARISONS:
                raise ValueError(f"the comparison in {ast.unparse(node)!r} is not known in a condition; use < <= > >= == !=")
        for number in (node.left, *node.comparators):
            _check_number(number)


def _check_number(node: ast.expr) -> None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        if not _fits(node.value):
            raise ValueError(f"a number in the condition is too large: {ast.unparse(node)[:_SHOWN_LETTERS]}")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        _check_number(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        _check_number(node.left)
        _check_number(node.right)
    elif isinstance(node, ast.Subscript) and _is_result(node.value):
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, float):
            raise ValueError(f"{ast.unparse(node)!r} names no series: the first is result[0]")
        _check_number(node.slice)
    elif not _is_result(node) and not (isinstance(node, ast.Call) and ast.unparse(node) == "len(result)"):
        raise ValueError(f"{ast.unparse(node)!r} is not known in a condition; use result, numbers, len(result) and result[0]")


def _fits(number: float) -> bool:
    try:
        return isfinite(number)
    except OverflowError:
        return False


def _is_result(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "result"
