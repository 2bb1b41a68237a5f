"""The verb ``verify``: candidate against champion over the same seconds, in Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context


@dataclass(frozen=True)
class Roles:
    """Who is compared: the colour being released with the colour users are on."""

    candidate: Colour
    champion: Colour


@dataclass(frozen=True)
class StageOutcome:
    """How one stage of a rollout came out. ``seconds`` includes what an outage added."""

    verdict: Verdict
    summary: str
    reasons: tuple[Reason, ...]
    seconds: float
    looks: int


@dataclass(frozen=True)
class JudgedRelease:
    """The verdict over all looks of all stages. ``evidence`` is the summary that a result carries."""

    verdict: Verdict
    summary: str
    reasons: tuple[Reason, ...]
    evidence: dict[str, object]


class Watch:
    """Watches one release. Earlier evidence of the run is loaded, so that a resumed switch keeps it.

    Args:
        prometheus: URL of the Prometheus that scrapes the target.
    """

    def __init__(self, context: Context, run: Run, roles: Roles, *, prometheus: str) -> None:
        raise NotImplementedError

    def check(self) -> None:
        """Raises EnvironmentFault or ConfigurationError before any traffic moves."""
        raise NotImplementedError

    def watch(self, stage: str, seconds: float, *, traffic: Literal["mirror", "live"]) -> StageOutcome:
        """Looks until the stage is over, or at once when the candidate failed."""
        raise NotImplementedError

    def conclude(self) -> JudgedRelease:
        """The verdict over the whole release."""
        raise NotImplementedError


def run(context: Context, run: Run, *, seconds: float | None = None) -> Result:
    """Watches the plan that the target follows now."""
    raise NotImplementedError


def replay(file: Path) -> JudgedRelease:
    """Recomputes a verdict from its recorded evidence alone."""
    raise NotImplementedError
