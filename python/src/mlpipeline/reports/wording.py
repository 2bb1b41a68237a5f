"""How verdicts, digests and numbers are written on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipeline.core.verdict import Verdict
from mlpipeline.reports import plots
from mlpipeline.reports.markup import Markup, element, text

TONES = {Verdict.PASS: "pass", Verdict.FAIL: "fail", Verdict.ERROR: "error", Verdict.INCONCLUSIVE: "unsure"}
SIGNS = {Verdict.PASS: "✓", Verdict.FAIL: "✕", Verdict.ERROR: "!", Verdict.INCONCLUSIVE: "?"}
COLOURS = {Verdict.PASS: plots.GOOD, Verdict.FAIL: plots.BAD, Verdict.ERROR: plots.UNSURE, Verdict.INCONCLUSIVE: plots.UNSURE}


def sign(verdict: Verdict) -> Markup:
    """A verdict as one character; its name for those who listen."""
    return element("span", SIGNS[verdict], class_=f"sign {TONES[verdict]}", role="img", aria_label=str(verdict))


def badge(verdict: Verdict) -> Markup:
    """A verdict as a word in its colour."""
    return element("span", f"{SIGNS[verdict]} {verdict}", class_=f"badge {TONES[verdict]}")


def verdict_of(value: object) -> Verdict:
    """The verdict of that name; whatever is none is inconclusive."""
    try:
        return Verdict(str(value))
    except ValueError:
        return Verdict.INCONCLUSIVE


def short_digest(value: object) -> str:
    """The first twelve digits of a digest, without the name of its kind."""
    return str(value or "").rpartition(":")[2][:12]


def digest_code(value: object) -> Markup:
    """A short digest; the whole one is its title."""
    return element("code", short_digest(value), title=value) if value else text("")


def mapping(value: object) -> Mapping[str, Any]:
    """The value, or an empty mapping in the place of anything else."""
    return value if isinstance(value, Mapping) else {}


def decimal(value: object, default: float) -> float:
    """The value as a number, or the default in the place of anything else."""
    return float(value) if isinstance(value, int | float) else default


def number_words(value: object, sign: str = "") -> str:
    """Four significant digits, or nothing for what is no number."""
    return format(value, f"{sign}.4g") if isinstance(value, int | float) else ""


def count_words(value: object) -> str:
    """A count with its thousands set apart."""
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


def seconds_words(value: object) -> str:
    """A duration in the unit that reads best."""
    if not isinstance(value, int | float):
        return ""
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.1f} s" if value < 120 else plots.clock(value) + " min"
