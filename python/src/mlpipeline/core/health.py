"""How a pipeline itself does, from its builds: how long it takes, how often it succeeds, which stages are flaky, and which
scheduled runs did not happen."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from mlpipeline.core.schedule import Window

PERCENTILES = (50, 90, 99)
_JUDGED = frozenset({"SUCCESS", "UNSTABLE", "FAILURE"})
"""Results that say something of the pipeline; who aborts a build or overtakes it says something of people."""
_BAD_STAGE = frozenset({"FAILED", "UNSTABLE"})


class Stage(msgspec.Struct, frozen=True):
    """A stage of a build.

    Args:
        status: As Jenkins says it (SUCCESS, FAILED, UNSTABLE, ABORTED, NOT_EXECUTED).
        seconds: Without the time in which it waited for people.
    """

    name: str
    status: str
    seconds: float = 0.0


class Build(msgspec.Struct, frozen=True):
    """One build.

    Args:
        result: SUCCESS, UNSTABLE, FAILURE, ABORTED, NOT_BUILT; empty while it runs.
        started: Unix seconds at which it was scheduled.
        scheduled: Started by the job's own schedule.
        commit: What it built, the revisions of all its repositories together; empty when Jenkins does not say.
    """

    number: int
    result: str
    started: float
    seconds: float
    scheduled: bool = False
    commit: str = ""
    stages: tuple[Stage, ...] = ()


class Flaky(msgspec.Struct, frozen=True):
    """A stage that both failed and passed with the very same commit."""

    name: str
    failed: int
    passed: int
    commits: int


class Health(msgspec.Struct, frozen=True):
    """What the builds show.

    Args:
        results: Number of finished builds by result.
        success: Share of SUCCESS among SUCCESS, UNSTABLE and FAILURE; ``None`` without any of these.
        seconds: Duration of the successful builds at each percentile; empty without any.
        slowest: Stage to its median seconds in builds where it passed, slowest first.
        missed: Scheduled runs that did not begin in their window.
    """

    builds: int
    results: Mapping[str, int]
    success: float | None
    seconds: Mapping[int, float]
    slowest: Mapping[str, float]
    flaky: tuple[Flaky, ...]
    missed: tuple[Window, ...]


def assess(builds: Sequence[Build], due: Sequence[Window], grace_seconds: float) -> Health:
    """Sums the builds up.

    Args:
        due: Windows in which the schedule had to start a build, the last of them over.
        grace_seconds: How late a run may begin and still count.
    """
    finished = [build for build in builds if build.result]
    results = Counter(build.result for build in finished)
    judged = sum(results[name] for name in _JUDGED)
    good = [build.seconds for build in finished if build.result == "SUCCESS"]
    return Health(
        builds=len(builds),
        results=dict(sorted(results.items())),
        success=results["SUCCESS"] / judged if judged else None,
        seconds={percent: percentile(good, percent) for percent in PERCENTILES} if good else {},
        slowest=_slowest(finished),
        flaky=flaky_stages(finished),
        missed=missed(builds, due, grace_seconds),
    )


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least this percent of the values do not exceed. Raises ValueError without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there are no values")
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def flaky_stages(builds: Iterable[Build]) -> tuple[Flaky, ...]:
    """Stages with both outcomes on one commit, most failures first. Builds of an unknown commit prove nothing."""
    seen: dict[str, dict[str, Counter[bool]]] = defaultdict(lambda: defaultdict(Counter))
    for build in builds:
        for stage in build.stages if build.commit else ():
            if stage.status == "SUCCESS" or stage.status in _BAD_STAGE:
                seen[stage.name][build.commit][stage.status in _BAD_STAGE] += 1
    found = []
    for name, commits in seen.items():
        both = [counts for counts in commits.values() if counts[True] and counts[False]]
        if both:
            failed, passed = sum(counts[True] for counts in both), sum(counts[False] for counts in both)
            found.append(Flaky(name, failed, passed, len(both)))
    return tuple(sorted(found, key=lambda flaky: (-flaky.failed, flaky.name)))


def missed(builds: Iterable[Build], due: Iterable[Window], grace_seconds: float) -> tuple[Window, ...]:
    """Windows without a scheduled build. Windows from before the oldest known build are left out: its record may be gone."""
    known = sorted(build.started for build in builds)
    begun = sorted(build.started for build in builds if build.scheduled)
    if not known:
        return ()
    first = datetime.fromtimestamp(known[0], UTC)
    grace = timedelta(seconds=grace_seconds)
    late = (window for window in due if window.start > first)
    return tuple(window for window in late if not any(_within(moment, window, grace) for moment in begun))


def _within(moment: float, window: Window, grace: timedelta) -> bool:
    # A minute before too: Jenkins starts on the minute of its own clock, which need not be ours.
    return window.start - timedelta(minutes=1) <= datetime.fromtimestamp(moment, UTC) <= window.end + grace


def _slowest(builds: Iterable[Build]) -> dict[str, float]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for build in builds:
        for stage in build.stages:
            if stage.status == "SUCCESS":
                seconds[stage.name].append(stage.seconds)
    medians = {name: percentile(values, 50) for name, values in seconds.items()}
    return dict(sorted(medians.items(), key=lambda item: -item[1])[:5])
