"""Conditions in the grammar of ease.ml/ci (Renggli et al., MLSys 2019) and their verdict of three values.

``n - o > 0.02 +/- 0.01 /\\ d < 0.1 +/- 0.01``: n is the accuracy of the new model, o of the old one, d the share of rows on which
they disagree. The bounds come from bets against the condition (Waudby-Smith and Ramdas, JRSS B 2024), not from Hoeffding's or
Bennett's inequality: they hold at every moment of a growing number of labels, and need the labels only of rows on which the
models disagree, where the clause is about ``n - o`` and ``d``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlpipeline.core.verdict import Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mode = Literal["tolerance", "fp-free", "fn-free"]
Adaptivity = Literal["none", "first-change", "full"]
STAKES = tuple(0.005 * (0.9 / 0.005) ** (step / 7) for step in range(8))
"""Shares of the purse that are bet side by side; the mean of their purses is the evidence."""
_TOKEN = re.compile(r"\s*(\+/-|/\\|[<>*+-]|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+|[A-Za-z_]\w*|\S)")
_VARIABLES = ("n", "o", "d")
_LONGEST = 1000


class BadCondition(ValueError):
    """What is wrong with the condition, without a full stop."""


@dataclass(frozen=True)
class Clause:
    """``n * new + o * old + d * disagreement + constant`` above or below a limit, up to a tolerance."""

    text: str
    coefficients: Mapping[str, float]
    above: bool
    limit: float
    tolerance: float

    @property
    def label_free_agreement(self) -> bool:
        """Whether rows on which the models agree need no label: both gain or lose alike."""
        return self.coefficients["n"] + self.coefficients["o"] == 0

    @property
    def label_free(self) -> bool:
        return self.coefficients["n"] == 0 and self.coefficients["o"] == 0

    def values(self, new: NDArray[Any], old: NDArray[Any], differ: NDArray[Any]) -> NDArray[Any]:
        """The clause's own number of each row."""
        result: NDArray[Any] = self.coefficients["n"] * new + self.coefficients["o"] * old + self.coefficients["d"] * differ
        return result

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the greatest value that a row can have."""
        new, old, differ = (self.coefficients[name] for name in _VARIABLES)
        possible = (0.0, new + old, new + differ, old + differ, differ)
        return min(possible), max(possible)


@dataclass(frozen=True)
class Decided:
    """One clause on some rows.

    Args:
        rows: How many counted.
        labels: How many of them needed a label.
    """

    clause: Clause
    verdict: Verdict
    estimate: float
    low: float
    high: float
    rows: int
    labels: int


def parse(text: str) -> tuple[Clause, ...]:
    """The clauses of a condition. Raises BadCondition with what was expected."""
    if len(text) > _LONGEST:
        raise BadCondition(f"a condition has at most {_LONGEST} characters")
    tokens = [match.group(1) for match in _TOKEN.finditer(text)]
    if not tokens:
        raise BadCondition("the condition is empty")
    clauses: list[list[str]] = [[]]
    for token in tokens:
        if token == "/\\":
            clauses.append([])
        else:
            clauses[-1].append(token)
    return tuple(_clause(part, text) for part in clauses)


def _clause(tokens: Sequence[str], text: str) -> Clause:
    signs = [place for place, token in enumerate(tokens) if token in "<>"]
    if len(signs) != 1:
        raise BadCondition(f"each clause of {text!r} needs one > or <")
    left, right = tokens[: signs[0]], list(tokens[signs[0] + 1 :])
    if "+/-" not in right:
        raise BadCondition(f"{' '.join(tokens)!r} has no tolerance; add one, such as +/- 0.01")
    place = right.index("+/-")
    limit, tolerance = _number(right[:place], text), _number(right[place + 1 :], text)
    if tolerance <= 0:
        raise BadCondition(f"the tolerance of {' '.join(tokens)!r} must be above 0")
    coefficients = dict.fromkeys(_VARIABLES, 0.0)
    constant = 0.0
    for sign, term in _terms(left, text):
        name, factor = _term(term, text)
        if name:
            coefficients[name] += sign * factor
        else:
            constant += sign * factor
    if not any(coefficients.values()):
        raise BadCondition(f"{' '.join(tokens)!r} names none of n, o and d")
    return Clause(" ".join(tokens), coefficients, tokens[signs[0]] == ">", limit - constant, tolerance)


def _terms(tokens: Sequence[str], text: str) -> list[tuple[float, list[str]]]:
    terms: list[tuple[float, list[str]]] = [(1.0, [])]
    for token in tokens:
        if token in "+-":
            if terms[-1][1]:
                terms.append((1.0 if token == "+" else -1.0, []))
            else:
                terms[-1] = (-terms[-1][0] if token == "-" else terms[-1][0], [])
        else:
            terms[-1][1].append(token)
    if any(not term for _, term in terms):
        raise BadCondition(f"{text!r} ends in the middle of an expression")
    return terms


def _term(tokens: Sequence[str], text: str) -> tuple[str, float]:
    """``n``, ``1.1 * o``, ``o * 1.1`` or a number: the variable (empty for a number) and its factor."""
    parts = [token for token in tokens if token != "*"]
    shape = [token == "*" for token in tokens]
    names = [token for token in parts if _is_name(token)]
    if shape not in ([False], [False, True, False]) or len(names) > 1:
        raise BadCondition(f"{' '.join(tokens)!r} in {text!r} is no term; use n, o, d, numbers and products with a number")
    unknown = [name for name in names if name not in _VARIABLES]
    if unknown:
        raise BadCondition(f"{unknown[0]!r} in {text!r} is not known: n is the new accuracy, o the old one, d the disagreement")
    factor = math.prod(_number([token], text) for token in parts if not _is_name(token))
    return (names[0] if names else ""), factor


def _is_name(token: str) -> bool:
    return token[0].isalpha() or token[0] == "_"


def _number(tokens: Sequence[str], text: str) -> float:
    try:
        value = float("".join(tokens))
    except ValueError:
        raise BadCondition(f"{' '.join(tokens) or 'nothing'!r} in {text!r} is no number") from None
    if not math.isfinite(value):
        raise BadCondition(f"a number in {text!r} is not finite")
    return value


def log_evidence_needed(reliability: float, clauses: int, steps: int, adaptivity: Adaptivity) -> float:
    """Natural logarithm of what a purse must grow to: a verdict is wrong with at most ``1 - reliability``, over all steps.

    A wrong answer is possible on one side only, whatever the truth is, so the sides are not added. Without adaptivity, or until
    the first change, the steps share the error; fully adaptive candidates are leaves of a tree of all possible verdicts.
    """
    shared = math.log(steps) if adaptivity != "full" else steps * math.log(2.0)
    return -math.log1p(-reliability) + math.log(clauses) + shared


def bounds(values: Mapping[float, int], reach: tuple[float, float], evidence: float) -> tuple[float, float]:
    """Lower and upper bound of the mean of numbers inside ``reach``, of which these were seen so often.

    Each excludes what bets against it have won more than ``exp(evidence)`` times the purse on; both hold at every number of rows.
    """
    least, greatest = reach
    low = _lower(values, least, greatest, evidence)
    mirrored = {-value: count for value, count in values.items()}
    return low, -_lower(mirrored, -greatest, -least, evidence)


def _lower(values: Mapping[float, int], least: float, greatest: float, evidence: float) -> float:
    rows = sum(values.values())
    if not rows or greatest <= least:
        return least
    estimate = sum(value * count for value, count in values.items()) / rows
    left, right = least, estimate
    for _ in range(40):
        middle = (left + right) / 2
        if log_purse(values, middle, least) >= evidence:
            left = middle
        else:
            right = middle
    return left


def log_purse(values: Mapping[float, int], mean: float, least: float) -> float:
    """Logarithm of the purse of who bet that the mean is above ``mean``; falls as ``mean`` rises."""
    room = mean - least
    if room <= 0:
        return math.inf if any(value > mean and count for value, count in values.items()) else 0.0
    logs = [math.fsum(count * math.log1p(stake * (value - mean) / room) for value, count in values.items()) for stake in STAKES]
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


def decide(clause: Clause, values: Mapping[float, int], evidence: float, mode: Mode, labels: int) -> Decided:
    """The verdict of three values on the numbers of the rows seen."""
    rows = sum(values.values())
    low, high = bounds(values, clause.reach, evidence)
    estimate = sum(value * count for value, count in values.items()) / rows if rows else math.nan
    # For a clause with <, everything is mirrored.
    sign = 1.0 if clause.above else -1.0
    worst, best = (low, high) if clause.above else (-high, -low)
    limit, tolerance, point = sign * clause.limit, clause.tolerance, sign * estimate
    if mode == "fp-free":
        wide = best - worst > 2 * tolerance
        verdict = Verdict.PASS if worst > limit else Verdict.INCONCLUSIVE if wide and best > limit else Verdict.FAIL
    elif mode == "fn-free":
        wide = best - worst > 2 * tolerance
        verdict = Verdict.FAIL if best <= limit else Verdict.INCONCLUSIVE if wide and worst <= limit else Verdict.PASS
    elif worst >= limit - tolerance and point > limit:
        verdict = Verdict.PASS
    elif best <= limit + tolerance and point <= limit:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.INCONCLUSIVE
    return Decided(clause, verdict, estimate, low, high, rows, labels)


def together(decided: Sequence[Decided]) -> Verdict:
    """All clauses must hold: one that does not decides, else one that is open."""
    verdicts = [one.verdict for one in decided]
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.PASS


def counted(numbers: NDArray[Any]) -> dict[float, int]:
    """How often each number is there."""
    import numpy as np

    values, counts = np.unique(numbers, return_counts=True)
    return {float(value): int(count) for value, count in zip(values, counts, strict=True)}


def bennett_rows(evidence: float, disagreement: float, tolerance: float) -> int:
    """Labels that Bennett's inequality asks for to know ``n - o`` up to the tolerance when the models disagree this rarely."""
    ratio = tolerance / disagreement
    return math.ceil(evidence / (disagreement * ((1 + ratio) * math.log1p(ratio) - ratio)))


def rows_expected(evidence: float, disagreement: float, distance: float) -> int:
    """Rows until a bet on ``n - o`` has won enough, when the truth is ``distance`` beyond what is to be excluded.

    The best constant bet wins about ``distance squared / (2 * disagreement)`` a row; the purses side by side cost their number.
    """
    if distance <= 0:
        return 0
    return math.ceil((evidence + math.log(len(STAKES))) * 2 * max(disagreement, distance) / distance**2)


def rows_for_margin(disagreement: float, margin: float, confidence: float, power: float = 0.8) -> int:
    """Rows on which a candidate that is as good as the champion is shown to lose less than the margin, with this power."""
    from statistics import NormalDist

    reach = NormalDist().inv_cdf(confidence) + NormalDist().inv_cdf(power)
    return math.ceil(reach**2 * max(disagreement, 1e-9) / margin**2) if margin > 0 else 0
