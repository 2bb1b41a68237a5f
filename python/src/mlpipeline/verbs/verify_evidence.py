"""The evidence of a release: its file, and the verdict that follows from it alone."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlpipeline.core.judge import Judge, Judgement, Look, Plan, StageEnd, TracePoint
from mlpipeline.core.rules import LAST_LOOKS
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason
from mlpipeline.verbs.verify_words import JudgedRelease, judged

RELEASE_EVIDENCE = "evidence.json"
"""Of a release: all stages of ``switch``, in the run's folder."""
WATCH_EVIDENCE = "verify-evidence.json"
"""Of the verb on its own, so that looking never changes what a release is judged by."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """``evidence.json``: everything a verdict rests on, in the order it happened, and how each metric stood after each look."""

    schema: int
    plan: Plan
    looks: tuple[Look, ...] = ()
    ends: tuple[StageEnd, ...] = ()
    trace: dict[str, tuple[TracePoint, ...]] = {}
    judgement: Judgement | None = None


def replay(file: Path) -> JudgedRelease:
    """Recomputes a verdict from its recorded evidence alone; writes nothing.

    A verdict that differs from the recorded one is reported as inconclusive: the file was changed, or another version
    judged it. Raises ConfigurationError for a file that is no evidence.
    """
    try:
        evidence = read(file)
    except FileNotFoundError as error:
        raise ConfigurationError("there is no such evidence file", facts={"file": file}, tries=("mlpipeline status",)) from error
    judge = folded(evidence)
    found = judged(judge, file.name, evidence.looks)
    recorded = evidence.judgement
    if recorded is not None and msgspec.json.encode(recorded) != msgspec.json.encode(judge.judgement()):
        summary = (
            f"the recorded verdict {recorded.verdict} is not what its looks say, which is {found.verdict}"
            if recorded.verdict is not found.verdict
            else f"the recorded numbers are not those of its looks, although both say {found.verdict}: "
            "the file was changed, or another version judged it"
        )
        reason = Reason("verify.replay", Verdict.INCONCLUSIVE, summary)
        return JudgedRelease(Verdict.INCONCLUSIVE, summary, (reason, *found.reasons), found.evidence)
    return found


def read(file: Path) -> Evidence:
    """Raises FileNotFoundError when there is none, ConfigurationError for a file that is no evidence."""
    try:
        evidence = msgspec.json.decode(file.read_bytes(), type=Evidence)
        Judge(evidence.plan)
        if evidence.plan.rules < LAST_LOOKS and any(end.last for end in evidence.ends):
            raise ValueError(f"a last look, which rules {evidence.plan.rules} do not know")
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError("this is no evidence of a release", facts={"file": file, "found": error}) from error
    return evidence


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
