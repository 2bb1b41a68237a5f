"""Expressions over columns that choose rows: ``distance > 1000 and origin == 'JFK'``. Parsed, never evaluated as code.

Known: ``== != < <= > >=``, ``in (...)``, ``not in (...)``, ``and or not`` (also ``&& || !``), ``+ - * / %``, numbers, text,
``true``, ``false``, ``missing(column)``, and columns by name, in backticks where the name is no plain word. A missing value meets
no comparison.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_LONGEST = 1000


class BadExpression(ValueError):
    """What is wrong with the expression, without a full stop."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression and the columns it names."""

    text: str
    tree: ast.expr
    names: Mapping[str, str]

    @property
    def columns(self) -> list[str]:
        found = [node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)]
        return sorted({self.names.get(name, name) for name in found} - {"true", "false", "missing"})

    def rows(self, columns: Mapping[str, Any]) -> NDArray[Any]:
        """Which rows meet it, as booleans.

        Args:
            columns: pandas Series by name.

        Raises:
            BadExpression: A column is not there, or text is compared with a number.
        """
        import numpy as np

        try:
            met = _truth(self.tree, columns, self.names)
        except TypeError as error:
            raise BadExpression(f"{self.text!r} compares what cannot be compared: {error}") from error
        return np.asarray(met.fillna(False) if hasattr(met, "fillna") else met, dtype=bool)


def parse(text: str) -> Expression:
    """Raises BadExpression when it is none, or only names a column."""
    if len(text) > _LONGEST:
        raise BadExpression(f"the expression is longer than {_LONGEST} characters")
    names: dict[str, str] = {}
    parts, place = [], 0
    for quoted in _QUOTED.finditer(text):
        parts.append(_words(text[place : quoted.start()]))
        word = quoted.group()
        if word.startswith("`"):
            names[f"_column_{len(names)}"] = word[1:-1]
            word = f" _column_{len(names) - 1} "
        parts.append(word)
        place = quoted.end()
    plain = "".join([*parts, _words(text[place:])]).strip()
    try:
        tree = ast.parse(plain, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadExpression(f"cannot read {text!r}: {getattr(error, 'msg', error)}") from error
    _check(tree, text)
    return Expression(text, tree, names)


def _words(text: str) -> str:
    text = text.replace("&&", " and ").replace("||", " or ")
    return re.sub(r"!(?!=)", " not ", text)


def _check(node: ast.expr, text: str) -> None:
    """Refuses whatever is not known before any row is looked at."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand, text)
    elif isinstance(node, ast.Compare):
        _check_value(node.left, text)
        for rule, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(rule, ast.In | ast.NotIn):
                if not isinstance(right, ast.Tuple | ast.List) or not all(isinstance(item, ast.Constant) for item in right.elts):
                    raise BadExpression(f"{text!r}: in needs a list of values, such as ('JFK', 'EWR')")
            elif type(rule) in _COMPARISONS:
                _check_value(right, text)
            else:
                raise BadExpression(f"{text!r}: {ast.unparse(node)} is no known comparison")
    elif not _is_missing(node):
        raise BadExpression(f"{text!r} does not choose rows: it has to compare something, such as distance > 1000")


def _check_value(node: ast.expr, text: str) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        _check_value(node.left, text)
        _check_value(node.right, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        _check_value(node.operand, text)
    elif not (
        isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str))
    ):
        raise BadExpression(f"{text!r}: {ast.unparse(node)} is not known here; use columns, numbers and text")


def _is_missing(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "missing"
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Name)
        and not node.keywords
    )


def _truth(node: ast.expr, columns: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    if isinstance(node, ast.BoolOp):
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        met = _truth(node.values[0], columns, names)
        for part in node.values[1:]:
            met = join(met, _truth(part, columns, names))
        return met
    if isinstance(node, ast.UnaryOp):
        return ~_truth(node.operand, columns, names)
    if isinstance(node, ast.Compare):
        met, left = None, _value(node.left, columns, names)
        for rule, right_node in zip(node.ops, node.comparators, strict=True):
            one = _compared(rule, left, right_node, columns, names)
            met = one if met is None else met & one
            left = None if isinstance(rule, ast.In | ast.NotIn) else _value(right_node, columns, names)
        return met
    if isinstance(node, ast.Call):
        return _value(node.args[0], columns, names).isna()
    raise BadExpression(f"{ast.unparse(node)} is neither true nor false")


def _compared(rule: ast.cmpop, left: Any, right: ast.expr, columns: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    if isinstance(rule, ast.In | ast.NotIn):
        if not hasattr(left, "isin"):
            raise BadExpression("the left side of in has to be a column")
        wanted = (
            [item.value for item in right.elts if isinstance(item, ast.Constant)]
            if isinstance(right, ast.Tuple | ast.List)
            else []
        )
        found = left.isin(wanted)
        return found if isinstance(rule, ast.In) else ~found & left.notna()
    value = _value(right, columns, names)
    if not hasattr(left, "isna") and not hasattr(value, "isna"):
        raise BadExpression("a comparison has to name a column")
    met = _COMPARISONS[type(rule)](left, value)
    for side in (left, value):
        if hasattr(side, "notna"):
            met = met & side.notna()
    return met.fillna(False).astype(bool)


def _value(node: ast.expr, columns: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        name = names.get(node.id, node.id)
        if name in {"true", "false"} and name not in columns:
            return name == "true"
        if name not in columns:
            raise BadExpression(f"there is no column {name!r}")
        return columns[name]
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, columns, names)
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_value(node.left, columns, names), _value(node.right, columns, names))
    raise BadExpression(f"{ast.unparse(node)} has no value")
