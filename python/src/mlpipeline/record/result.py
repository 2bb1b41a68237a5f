"""What one verb found out: ``result.json``, the only thing Jenkins reads from the worker."""

from __future__ import annotations

import msgspec

from mlpipeline.core.verdict import Verdict

SCHEMA = 1
Number = bool | int | float | str


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check and how it came out.

    Args:
        check: Stable dotted name (``metric.roc_auc.no_worse_than_champion``).
        verdict: Its outcome.
        summary: One line with the numbers that decided it.
        numbers: Those numbers by name; units in the name (``p99_seconds``).
        sample: A few of the offending values, as text.
    """

    check: str
    verdict: Verdict
    summary: str
    numbers: dict[str, Number] = {}
    sample: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The outcome of one verb. ``reasons`` are in order of importance; the first explains the verdict.

    Args:
        evidence: JSON-compatible data the verdict rests on and later verbs and reports read. Never null inside.
        links: Names to paths (relative to the run's folder) or URLs.
        started: UTC time, ISO 8601, seconds.
        seconds: How long the verb took.
    """

    schema: int = SCHEMA
    verb: str
    service: str
    run: str
    verdict: Verdict
    summary: str
    reasons: tuple[Reason, ...] = ()
    evidence: dict[str, object] = {}
    links: dict[str, str] = {}
    started: str = ""
    seconds: float = 0.0
    worker: str = ""
