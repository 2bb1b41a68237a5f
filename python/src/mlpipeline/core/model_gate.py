"""The model gate's decisions: rules and numbers in, findings out. Nothing is read or measured here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlpipeline.core.resampling import Comparison
from mlpipeline.core.scores import METRICS
from mlpipeline.core.verdict import Verdict, worst


@dataclass(frozen=True)
class Rules:
    """What one metric must satisfy.

    Args:
        margin: Non-inferiority: the champion may be better by less than this; absent without the rule.
        confidence: One-sided confidence of the champion rules.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    margin: float | None = None
    confidence: float = 0.95
    better: bool = False

    @property
    def needs_champion(self) -> bool:
        return self.margin is not None or self.better

    def names(self) -> list[str]:
        """The rules as written in the configuration, with their numbers."""
        texts = []
        if self.at_least is not None:
            texts.append(f"at_least {short(self.at_least)}")
        if self.at_most is not None:
            texts.append(f"at_most {short(self.at_most)}")
        if self.margin is not None:
            texts.append(f"no_worse_than_champion margin {short(self.margin)}")
        if self.better:
            texts.append("better_than_champion")
        return texts


@dataclass(frozen=True)
class Finding:
    """One rule and how it came out; becomes a reason of the result."""

    check: str
    verdict: Verdict
    summary: str
    numbers: dict[str, bool | int | float | str] = field(default_factory=dict)
    sample: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """One metric on all rows or on one slice.

    Args:
        column: The slice's column; empty for all rows.
        value: The slice's value, as text.
        candidate: The candidate's metric; absent when it has none, and then ``trouble`` says why.
        compared: Against the champion; absent without one.
        trouble: Why there is no candidate value, or no comparison.
    """

    rules: Rules
    rows: int
    column: str = ""
    value: str = ""
    candidate: float | None = None
    compared: Comparison | None = None
    trouble: str = ""

    @property
    def slice(self) -> str:
        return f"{self.column}={self.value}" if self.column else ""


def short(number: float) -> str:
    """Four significant digits."""
    return f"{number:.4g}"


def signed(number: float) -> str:
    return f"{number:+.4g}"


def judge(measured: Measured, *, has_champion: bool, no_champion: Verdict) -> list[Finding]:
    """One finding per rule of the metric, on these rows."""
    rules, name = measured.rules, f"metric.{measured.rules.metric}"
    if measured.candidate is None:
        return [Finding(name, Verdict.FAIL, f"{rules.metric} of the candidate cannot be computed: {measured.trouble}")]
    found = [*_thresholds(measured, name)]
    if rules.needs_champion:
        found.extend(_against_champion(measured, name, has_champion, no_champion))
    return found


def _thresholds(measured: Measured, name: str) -> list[Finding]:
    found = []
    value = measured.candidate if measured.candidate is not None else math.nan
    for rule, limit in (("at_least", measured.rules.at_least), ("at_most", measured.rules.at_most)):
        if limit is None:
            continue
        good = value >= limit if rule == "at_least" else value <= limit
        relation = "is" if good else "is not"
        text = f"{measured.rules.metric} {short(value)} {relation} {rule.replace('_', ' ')} {short(limit)}{_on(measured)}"
        numbers: dict[str, bool | int | float | str] = {"value": value, "limit": limit, "rows": measured.rows}
        found.append(Finding(f"{name}.{rule}", Verdict.PASS if good else Verdict.FAIL, text, numbers))
    return found


def _on(measured: Measured) -> str:
    return f" on {measured.rows} rows" + (f" with {measured.slice}" if measured.column else "")


def _against_champion(measured: Measured, name: str, has_champion: bool, no_champion: Verdict) -> list[Finding]:
    rules = measured.rules
    chosen = [
        rule for rule, on in (("no_worse_than_champion", rules.margin is not None), ("better_than_champion", rules.better)) if on
    ]
    if not has_champion:
        said = "passes" if no_champion is Verdict.PASS else "fails"
        return [
            Finding(f"{name}.{rule}", no_champion, f"there is no champion yet, so {rule} {said} (gate.no_champion)")
            for rule in chosen
        ]
    compared = measured.compared
    if compared is None:
        text = f"{rules.metric} cannot be compared with the champion: {measured.trouble}"
        return [Finding(f"{name}.{rule}", Verdict.ERROR, text) for rule in chosen]
    judged = {"no_worse_than_champion": _no_worse, "better_than_champion": _better}
    return [judged[rule](measured, compared, f"{name}.{rule}") for rule in chosen]


def _numbers(measured: Measured, compared: Comparison) -> dict[str, bool | int | float | str]:
    return {
        "candidate": compared.candidate,
        "champion": compared.champion,
        "difference": compared.difference,
        "low": compared.low,
        "high": compared.high,
        "confidence": compared.confidence,
        "rows": measured.rows,
        "method": compared.method,
    }


def _values(measured: Measured, compared: Comparison) -> str:
    """``roc_auc 0.7652 against the champion's 0.7841``, then how much better or worse that is, and the difference's bounds."""
    change = "worse" if compared.difference < 0 else "better"
    direction = "" if METRICS[measured.rules.metric].larger_is_better else ", smaller is better"
    return (
        f"{measured.rules.metric} {short(compared.candidate)} against the champion's {short(compared.champion)}{direction}: "
        f"{change} by {short(abs(compared.difference))} [{signed(compared.low)}, {signed(compared.high)}]"
    )


def _no_worse(measured: Measured, compared: Comparison, check: str) -> Finding:
    margin = measured.rules.margin or 0.0
    same = compared.method == "identical"
    good = compared.low > -margin or same
    percent = f"{100 * compared.confidence:g} %"
    if good:
        verdict, meaning = Verdict.PASS, f"a loss of {short(margin)} is excluded with {percent} confidence"
    elif compared.difference <= -margin:
        verdict, meaning = Verdict.FAIL, f"worse than the allowed {short(margin)}"
    else:
        needed = _rows_needed(measured.rows, compared, margin)
        enough = f"; about {needed} rows would be needed" if needed else ""
        verdict, meaning = Verdict.FAIL, f"a loss of {short(margin)} cannot be excluded with {percent} confidence{enough}"
    numbers = {**_numbers(measured, compared), "margin": margin}
    return Finding(check, verdict, f"{_values(measured, compared)}; {meaning}{_on(measured)}", numbers)


def _rows_needed(rows: int, compared: Comparison, margin: float) -> int:
    """How many rows like these would decide it if the difference stayed as it is: the reach shrinks with the root."""
    reach, room = compared.difference - compared.low, compared.difference + margin
    if room <= 0 or reach <= 0:
        return 0
    return math.ceil(rows * (reach / room) ** 2)


def _better(measured: Measured, compared: Comparison, check: str) -> Finding:
    chance = compared.better_probability
    good = compared.low > 0 if chance is None else chance < 1.0 - compared.confidence
    numbers = _numbers(measured, compared)
    if chance is not None:
        numbers["p_value"] = chance
    meaning = "better than the champion" if good else "not shown to be better than the champion"
    percent = f"{100 * compared.confidence:g} %"
    text = f"{_values(measured, compared)}; {meaning} at {percent} confidence{_on(measured)}"
    return Finding(check, Verdict.PASS if good else Verdict.FAIL, text, numbers)


@dataclass(frozen=True)
class SliceOutcome:
    """One slice with the verdict of all its rules."""

    measured: Measured
    verdict: Verdict
    findings: tuple[Finding, ...]


def judge_slices(
    metric: str,
    column: str,
    outcomes: Sequence[SliceOutcome],
    too_small: Sequence[str],
    too_small_verdict: Verdict | None,
) -> Finding:
    """One finding for all slices of a column, naming the worst.

    Args:
        too_small: Slices that could not be judged, as text with the reason.
        too_small_verdict: What they count as; absent: ignored.
    """
    check = f"metric.{metric}.slice.{column}"
    verdicts = [outcome.verdict for outcome in outcomes]
    if too_small and too_small_verdict is not None:
        verdicts.append(too_small_verdict)
    if not outcomes:
        verdict = too_small_verdict or Verdict.PASS
        return Finding(check, verdict, f"no slice of {column} could be judged ({', '.join(too_small[:3])})", {}, tuple(too_small))
    bad = [outcome for outcome in outcomes if outcome.verdict is not Verdict.PASS]
    lowest = min(outcomes, key=_goodness)
    skipped = f"; {len(too_small)} too small to judge" if too_small else ""
    reason = next((finding.summary for finding in lowest.findings if finding.verdict is lowest.verdict), "")
    state = f"{len(bad)} of {len(outcomes)} slices of {column} do not pass" if bad else f"all {len(outcomes)} slices pass"
    summary = f"{state}{skipped}; worst is {lowest.measured.slice}: {reason}"
    numbers: dict[str, bool | int | float | str] = {
        "slices": len(outcomes),
        "not_passed": len(bad),
        "too_small": len(too_small),
        "worst": lowest.measured.slice,
    }
    sample = tuple(outcome.measured.slice for outcome in bad) if bad else tuple(too_small)
    return Finding(check, worst(verdicts), summary, numbers, sample[:20])


def _goodness(outcome: SliceOutcome) -> tuple[int, float]:
    """Smaller is worse: first the verdict, then the difference to the champion, then the value itself."""
    order = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.INCONCLUSIVE: 2, Verdict.PASS: 3}[outcome.verdict]
    measured = outcome.measured
    if measured.compared is not None:
        return order, measured.compared.difference
    sign = 1.0 if METRICS[measured.rules.metric].larger_is_better else -1.0
    return order, sign * (measured.candidate if measured.candidate is not None else -math.inf)


def judge_latency(p50: float, p99: float, predictions: int, limit: float) -> Finding:
    """Seconds of single predictions against the limit for the 99th percentile."""
    good = p99 <= limit
    text = (
        f"single predictions take {1000 * p50:.4g} ms (p50), {1000 * p99:.4g} ms (p99 of {predictions}); "
        f"{'within' if good else 'over'} the limit of {1000 * limit:.4g} ms"
    )
    numbers: dict[str, bool | int | float | str] = {
        "p50_seconds": p50,
        "p99_seconds": p99,
        "limit_seconds": limit,
        "predictions": predictions,
    }
    return Finding("latency.p99", Verdict.PASS if good else Verdict.FAIL, text, numbers)


def evidence_row(measured: Measured, findings: Sequence[Finding]) -> Mapping[str, object]:
    """What the result's evidence keeps of one metric on these rows; absent values are left out."""
    row: dict[str, object] = {"name": measured.rules.metric, "rows": measured.rows, "rules": measured.rules.names()}
    if measured.column:
        row["slice"] = measured.slice
    if measured.candidate is not None:
        row["candidate"] = measured.candidate
    if measured.compared is not None:
        row |= {
            "champion": measured.compared.champion,
            "difference": measured.compared.difference,
            "low": measured.compared.low,
            "high": measured.compared.high,
            "confidence": measured.compared.confidence,
            "method": measured.compared.method,
        }
    row["verdict"] = str(worst(finding.verdict for finding in findings))
    return row
