"""The evidence of a release: its file, and the verdict that follows from it alone."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlpipeline.core.judge import RULES, Judge, Judgement, Look, Plan, StageEnd, TracePoint
from mlpipeline.core.plausibility import check_record
from mlpipeline.core.verdict import Verdict
from mlpipeline.core.weighted_score import RULES as SCORE_RULES
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason
from mlpipeline.verbs.verify_words import JudgedRelease, judged

RELEASE_EVIDENCE = "evidence.json"
"""Of a release: all stages of ``switch``, in the run's folder."""
WATCH_EVIDENCE = "verify-evidence.json"
"""Of the verb on its own, so that looking never changes what a release is judged by."""
SCHEMA = 1
"""Of the file, today."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """``evidence.json``: everything a verdict rests on, in the order it happened, and how each metric stood after each look."""

    schema: int
    plan: Plan
    looks: tuple[Look, ...] = ()
    ends: tuple[StageEnd, ...] = ()
    trace: dict[str, tuple[TracePoint, ...]] = {}
    judgement: Judgement | None = None


class _ScoreVersion(msgspec.Struct):
    rules: int = 1


class _PlanVersion(msgspec.Struct):
    rules: int = 1
    score: _ScoreVersion | None = None

    @property
    def newer(self) -> bool:
        return self.rules > RULES or (self.score is not None and self.score.rules > SCORE_RULES)


class _Version(msgspec.Struct):
    """What tells evidence of a version to come, whatever else may stand in it."""

    schema: int
    plan: _PlanVersion


def replay(file: Path) -> JudgedRelease:
    """Recomputes a verdict from its recorded evidence alone; writes nothing.

    A verdict, number or curve that differs from the recorded one is reported as inconclusive, as is a missing verdict: the file
    was changed, or another version judged it. Raises ConfigurationError for a file that is no evidence.
    """
    try:
        evidence = read(file)
    except FileNotFoundError as error:
        raise ConfigurationError("there is no such evidence file", facts={"file": file}, tries=("mlpipeline status",)) from error
    judge = folded(evidence)
    found = judged(judge, file.name, evidence.looks)
    summary = _difference(evidence, judge)
    if summary:
        reason = Reason("verify.replay", Verdict.INCONCLUSIVE, summary)
        return JudgedRelease(Verdict.INCONCLUSIVE, summary, (reason, *found.reasons), found.evidence)
    return found


def _difference(evidence: Evidence, judge: Judge) -> str:
    """How what was recorded differs from what the looks say; empty where it does not."""
    recorded, found = evidence.judgement, judge.judgement()
    if recorded is None:
        return f"there is no recorded verdict to compare with: the file was changed; its looks say {found.verdict}"
    if recorded.verdict is not found.verdict:
        return f"the recorded verdict {recorded.verdict} is not what its looks say, which is {found.verdict}"
    changed = f"although both say {found.verdict}: the file was changed, or another version judged it"
    if msgspec.json.encode(recorded) != msgspec.json.encode(found):
        return f"the recorded numbers are not those of its looks, {changed}"
    if evidence.trace != traces(judge):
        return f"the recorded curves of the metrics are not those of its looks, {changed}"
    return ""


def traces(judge: Judge) -> dict[str, tuple[TracePoint, ...]]:
    """Of each metric, how it stood after each look."""
    return {name: tuple(state.trace) for name, state in judge.metrics.items()}


def read(file: Path) -> Evidence:
    """Raises FileNotFoundError when there is none, ConfigurationError for a file that is no evidence, or of a newer version."""
    written = file.read_bytes()
    try:
        version = msgspec.json.decode(written, type=_Version)
        if version.schema > SCHEMA or version.plan.newer:
            raise ConfigurationError(
                "this evidence was written by a newer version of mlpipeline",
                facts={"file": file, "found": f"schema {version.schema}, {_rules(version.plan)}"},
                likely=f"this version knows schema {SCHEMA}, rules 1 to {RULES} and 1 to {SCORE_RULES} of a score",
                tries=("replay it with the version that wrote it",),
            )
        if version.schema != SCHEMA:
            raise ValueError(f"schema {version.schema}")
        evidence = msgspec.json.decode(written, type=Evidence)
        Judge(evidence.plan)
        check_record(evidence.plan, evidence.looks, evidence.ends)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(
            "this is no evidence of a release",
            facts={"file": file, "found": error},
            likely="it is another file, or somebody changed it",
            tries=("replay the file as the run recorded it",),
        ) from error
    return evidence


def _rules(plan: _PlanVersion) -> str:
    return f"rules {plan.rules}" + (f", rules {plan.score.rules} of the score" if plan.score else "")


def folded(evidence: Evidence) -> Judge:
    """The judge after all looks and stage ends, in the order they happened."""
    judge = Judge(evidence.plan)
    ends = list(evidence.ends)
    for number, look in enumerate(evidence.looks):
        while ends and ends[0].looks <= number:
            judge.end(ends.pop(0))
        judge.add(look)
    for end in ends:
        judge.end(end)
    return judge
