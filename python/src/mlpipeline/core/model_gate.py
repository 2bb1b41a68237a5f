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
        confidence: One-sided confidence of the champion rules, on this use of the holdout.
        overall: The configured one, over all uses of the holdout; absent when it is the same.
        limit_confidence: One-sided confidence with which the limits must hold; absent: for the value itself.
        upwards: Whether larger is better, for a metric that this program does not know itself.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    margin: float | None = None
    confidence: float = 0.95
    better: bool = False
    overall: float | None = None
    limit_confidence: float | None = None
    upwards: bool = True

    @property
    def larger_is_better(self) -> bool:
        return METRICS[self.metric].larger_is_better if self.metric in METRICS else self.upwards

    @property
    def needs_champion(self) -> bool:
        return self.margin is not None or self.better

    def names(self) -> list[str]:
        """The rules as written in the configuration, with their numbers."""
        texts = []
        sure = f" ({100 * self.limit_confidence:g} %)" if self.limit_confidence is not None else ""
        if self.at_least is not None:
            texts.append(f"at_least {short(self.at_least)}{sure}")
        if self.at_most is not None:
            texts.append(f"at_most {short(self.at_most)}{sure}")
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
        column: The slice's column, or its expression; empty for all rows.
        value: The slice's value, as text.
        candidate: The candidate's metric; absent when it has none, and then ``trouble`` says why.
        compared: Against the champion; absent without one.
        trouble: Why there is no candidate value, or no comparison.
        expression: Whether ``column`` is an expression.
        own: Bounds of the candidate's own metric and how they were found; absent when nobody asked for them.
        unusable: What champion rules say because the champion gave no usable predictions; absent when it did.
        harm: Holm's adjusted p-value that the slice is worse by the margin; absent for all rows.
    """

    rules: Rules
    rows: int
    column: str = ""
    value: str = ""
    candidate: float | None = None
    compared: Comparison | None = None
    trouble: str = ""
    expression: bool = False
    own: tuple[float, float, str] | None = None
    unusable: Verdict | None = None
    harm: float | None = None

    @property
    def slice(self) -> str:
        if self.expression:
            return self.column
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
        held, bound = _held(measured, rule, value)
        good = held >= limit if rule == "at_least" else held <= limit
        relation = "is" if good else "is not"
        if bound:
            relation = "is surely" if good else "cannot be said to be"
        text = f"{measured.rules.metric} {short(value)}{bound} {relation} {rule.replace('_', ' ')} {short(limit)}{_on(measured)}"
        numbers: dict[str, bool | int | float | str] = {"value": value, "limit": limit, "rows": measured.rows}
        if measured.own is not None:
            numbers |= {"low": measured.own[0], "high": measured.own[1], "method": measured.own[2]}
        found.append(Finding(f"{name}.{rule}", Verdict.PASS if good else Verdict.FAIL, text, numbers))
    return found


def _held(measured: Measured, rule: str, value: float) -> tuple[float, str]:
    """What is held against the limit: the value, or its bound; and the bounds in words."""
    confidence = measured.rules.limit_confidence
    if confidence is None:
        return value, ""
    if measured.own is None:
        return math.nan, " without bounds"
    low, high, _ = measured.own
    return (low if rule == "at_least" else high), f" [{short(low)}, {short(high)}] at {100 * confidence:g} %"


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
        verdict = measured.unusable or Verdict.ERROR
        said = "" if verdict is Verdict.ERROR else f"; {'passes' if verdict is Verdict.PASS else 'fails'} by declared policy"
        text = f"{rules.metric} cannot be compared with the champion: {measured.trouble}{said}"
        return [Finding(f"{name}.{rule}", verdict, text) for rule in chosen]
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
    direction = "" if measured.rules.larger_is_better else ", smaller is better"
    return (
        f"{measured.rules.metric} {short(compared.candidate)} against the champion's {short(compared.champion)}{direction}: "
        f"{change} by {short(abs(compared.difference))} [{signed(compared.low)}, {signed(compared.high)}]"
    )


def _no_worse(measured: Measured, compared: Comparison, check: str) -> Finding:
    margin = measured.rules.margin or 0.0
    same = compared.method == "identical"
    good = compared.low > -margin or same
    percent = _percent(measured, compared)
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


def _percent(measured: Measured, compared: Comparison) -> str:
    overall = measured.rules.overall
    if overall is None or compared.method == "identical":
        return f"{100 * compared.confidence:g} %"
    return f"{100 * compared.confidence:.5g} % ({100 * overall:g} % over all uses of this holdout)"


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
    percent = _percent(measured, compared)
    text = f"{_values(measured, compared)}; {meaning} at {percent} confidence{_on(measured)}"
    return Finding(check, Verdict.PASS if good else Verdict.FAIL, text, numbers)


def judge_shown(measured: Measured) -> Finding | None:
    """``slice_verdict: shown``: fails only when the loss is shown after the correction; absent without a margin rule."""
    margin, compared = measured.rules.margin, measured.compared
    if margin is None or compared is None or measured.harm is None:
        return None
    shown = measured.harm < 1.0 - compared.confidence
    meaning = f"a loss of {short(margin)} or more is {'shown' if shown else 'not shown'} after Holm's correction"
    text = f"{_values(measured, compared)}; {meaning} (p = {measured.harm:.3g}){_on(measured)}"
    check = f"metric.{measured.rules.metric}.no_worse_than_champion"
    numbers = {**_numbers(measured, compared), "margin": margin, "p_worse": measured.harm}
    return Finding(check, Verdict.FAIL if shown else Verdict.PASS, text, numbers)


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
    tested = [outcome.measured.harm for outcome in outcomes if outcome.measured.harm is not None]
    harmed = sum(1 for outcome in outcomes if _harm_shown(outcome.measured))
    if tested and not any("Holm" in finding.summary for finding in lowest.findings):
        summary += f"; after Holm's correction for all slices of {metric} a loss is shown in {harmed or 'none'} of {len(tested)}"
    numbers: dict[str, bool | int | float | str] = {
        "slices": len(outcomes),
        "not_passed": len(bad),
        "too_small": len(too_small),
        "worst": lowest.measured.slice,
    }
    if tested:
        numbers |= {"least_p_worse": min(tested), "harm_shown": harmed}
    sample = tuple(outcome.measured.slice for outcome in bad) if bad else tuple(too_small)
    return Finding(check, worst(verdicts), summary, numbers, sample[:20])


def _harm_shown(measured: Measured) -> bool:
    return measured.harm is not None and measured.compared is not None and measured.harm < 1.0 - measured.compared.confidence


def _goodness(outcome: SliceOutcome) -> tuple[int, float]:
    """Smaller is worse: first the verdict, then the difference to the champion, then the value itself."""
    order = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.INCONCLUSIVE: 2, Verdict.PASS: 3}[outcome.verdict]
    measured = outcome.measured
    if measured.compared is not None:
        return order, measured.compared.difference
    sign = 1.0 if measured.rules.larger_is_better else -1.0
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


def judge_bytes(check: str, what: str, value: int, limit: int) -> Finding:
    """Bytes of the model's files, or of its process, against the limit."""
    good = value <= limit
    text = f"{what} {value / 1e6:.4g} MB, {'within' if good else 'over'} the limit of {limit / 1e6:.4g} MB"
    return Finding(check, Verdict.PASS if good else Verdict.FAIL, text, {"bytes": value, "limit_bytes": limit})


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
    if measured.own is not None:
        row |= {"own_low": measured.own[0], "own_high": measured.own[1], "own_method": measured.own[2]}
    if measured.harm is not None:
        row["p_worse"] = measured.harm
    row["verdict"] = str(worst(finding.verdict for finding in findings))
    return row
