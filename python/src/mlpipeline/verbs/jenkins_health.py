"""``jenkins health``: how the pipeline itself does, from Jenkins' own history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mlpipeline.adapters.jenkins import Forbidden, JenkinsServer, schedule_in
from mlpipeline.clock import iso
from mlpipeline.config.durations import parse_duration
from mlpipeline.core import health as core
from mlpipeline.core.schedule import Window, windows, zone_of
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Number, Reason, Result
from mlpipeline.verbs.jenkins_calling import TIMEOUT_SECONDS, Calling

VERB = "jenkins-health"
_TIMER = "hudson.triggers.TimerTrigger$TimerTriggerCause"
_WITH_STAGES = 30
_WINDOWS = 14


def run(
    project: Path,
    environment: Mapping[str, str],
    *,
    job: Sequence[str] = (),
    builds: int = 50,
    grace: str = "1h",
    zone: str = "",
    credentials: str = "",
    timeout: float = TIMEOUT_SECONDS,
) -> Result:
    """Fails when a scheduled run did not happen or a scheduled job is disabled.

    Args:
        job: Full names.
        builds: How many of the newest builds to look at.
        grace: How late a scheduled run may begin.
        zone: Where the controller's clock hangs, for schedules without a ``TZ=`` line.
    """
    if builds < 1:
        raise ConfigurationError("--builds must be at least 1", tries=("--builds 50",))
    calling = Calling(project, environment, credentials, timeout)
    names = list(job) or [calling.job("", "release"), calling.job("", "nightly")]
    now, late = datetime.now(UTC), _seconds(grace)
    reasons: list[Reason] = []
    found: dict[str, object] = {}
    for name in names:
        schedule, unread = _schedule(calling, name)
        health, more = _look(calling.server, name, schedule, most=builds, now=now, late=late, zone=zone)
        reasons += unread
        reasons += more
        found[name] = _evidence(health)
    order = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.INCONCLUSIVE: 2, Verdict.PASS: 3}
    reasons.sort(key=lambda reason: order[reason.verdict])
    return calling.result(VERB, reasons, {"jobs": found, "at": iso(now)}, {})


def _schedule(calling: Calling, name: str) -> tuple[str, list[Reason]]:
    """The job's own schedule; for a user who may not read it, the one that ``setup`` gave to this service's nightly job."""
    try:
        configuration = calling.server.configuration(name)
    except Forbidden:
        config = calling.config
        if config is not None and name == calling.job("", "nightly"):
            return f"TZ={config.nightly.zone}\n{config.nightly.schedule}", []
        what = f"{name}: this user may not read the job's schedule, so runs that did not happen would not show"
        return "", [Reason(f"jenkins.{name}.schedule", Verdict.INCONCLUSIVE, what)]
    return (schedule_in(configuration) if configuration else ""), []


def _look(
    server: JenkinsServer, name: str, schedule: str, *, most: int, now: datetime, late: float, zone: str
) -> tuple[core.Health, list[Reason]]:
    known = [_build(server, name, one, with_stages=place < _WITH_STAGES) for place, one in enumerate(server.builds(name, most))]
    described = server.job(name) or {}
    due, assumed = _due(name, schedule, now - timedelta(seconds=late), zone)
    health = core.assess(known, due, late)
    reasons = [_outcome(name, health), *_missed(name, health, schedule, assumed), *_flaky(name, health)]
    if described.get("disabled") and schedule:
        reasons.append(Reason(f"jenkins.{name}.disabled", Verdict.FAIL, f"{name} is DISABLED: its schedule starts nothing"))
    waiting = (described.get("queueItem") or {}).get("why")
    if described.get("inQueue") and waiting:
        reasons.append(Reason(f"jenkins.{name}.queue", Verdict.PASS, f"{name} waits in the queue: {waiting}"))
    if schedule and not known:
        reasons.append(
            Reason(
                f"jenkins.{name}.never",
                Verdict.INCONCLUSIVE,
                f"{name} has a schedule and never ran" + (f"; it should have before {iso(due[-1].end)}" if due else ""),
            )
        )
    return health, reasons


def _build(server: JenkinsServer, name: str, one: Mapping[str, Any], *, with_stages: bool) -> core.Build:
    stages = server.stages(name, int(one["number"])) if with_stages else None
    actions = one.get("actions") or ()
    return core.Build(
        number=int(one["number"]),
        result="" if one.get("building") else str(one.get("result") or ""),
        started=float(one["timestamp"]) / 1000,
        seconds=float(one.get("duration") or 0) / 1000,
        scheduled=any(cause.get("_class") == _TIMER for action in actions for cause in action.get("causes") or ()),
        commit=_revisions(actions),
        stages=tuple(core.Stage(str(stage["name"]), str(stage["status"]), _working_seconds(stage)) for stage in stages or ()),
    )


def _revisions(actions: Sequence[Mapping[str, Any]]) -> str:
    """Of everything that was checked out: each repository leaves one, the library's among them and before the project's."""
    return " ".join(sorted({str(action["lastBuiltRevision"]["SHA1"]) for action in actions if action.get("lastBuiltRevision")}))


def _working_seconds(stage: Mapping[str, Any]) -> float:
    """Without the time in which it waited for people."""
    return (float(stage.get("durationMillis") or 0) - float(stage.get("pauseDurationMillis") or 0)) / 1000


def _due(name: str, schedule: str, now: datetime, zone: str) -> tuple[list[Window], str]:
    """The windows, and what had to be assumed to find them."""
    if not schedule:
        return [], ""
    named = zone_of(schedule) or zone
    try:
        return windows(schedule, now, _WINDOWS, ZoneInfo(named or "UTC")), "" if named else "its clock was taken for UTC"
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(
            f"the schedule of {name} cannot be read",
            facts={"schedule": schedule, "found": error},
            tries=("mlpipeline jenkins setup", "--zone Europe/Paris"),
        ) from error


def _outcome(name: str, health: core.Health) -> Reason:
    parts = [f"{name}: {health.builds} builds"]
    numbers: dict[str, Number] = {"builds": health.builds}
    if health.success is not None:
        parts.append(f"{health.success:.0%} succeeded")
        numbers["success_share"] = round(health.success, 4)
    if health.seconds:
        parts.append("seconds " + ", ".join(f"p{percent} {value:.0f}" for percent, value in health.seconds.items()))
        numbers |= {f"p{percent}_seconds": value for percent, value in health.seconds.items()}
    if health.slowest:
        parts.append("slowest stages " + ", ".join(f"{stage} {value:.0f} s" for stage, value in list(health.slowest.items())[:3]))
    return Reason(check=f"jenkins.{name}", verdict=Verdict.PASS, summary="; ".join(parts), numbers=numbers)


def _missed(name: str, health: core.Health, schedule: str, assumed: str) -> list[Reason]:
    if not health.missed:
        return []
    last = health.missed[-1]
    text = (
        f"{name}: {len(health.missed)} SCHEDULED RUN{'S' if len(health.missed) > 1 else ''} DID NOT HAPPEN, "
        f"the last between {iso(last.start)} and {iso(last.end)}"
    )
    return [
        Reason(
            check=f"jenkins.{name}.missed",
            verdict=Verdict.FAIL,
            summary=text + (f" ({assumed})" if assumed else ""),
            numbers={"missed": len(health.missed), "schedule": " ".join(schedule.split())},
            sample=tuple(f"{iso(window.start)} to {iso(window.end)}" for window in health.missed),
        )
    ]


def _flaky(name: str, health: core.Health) -> list[Reason]:
    return [
        Reason(
            check=f"jenkins.{name}.flaky.{flaky.name}",
            verdict=Verdict.PASS,
            summary=f"{name}: stage {flaky.name!r} is flaky: {flaky.failed} failed and {flaky.passed} passed on the same commits",
            numbers={"failed": flaky.failed, "passed": flaky.passed, "commits": flaky.commits},
        )
        for flaky in health.flaky
    ]


def _evidence(health: core.Health) -> dict[str, object]:
    return {
        "builds": health.builds,
        "results": dict(health.results),
        **({} if health.success is None else {"success": health.success}),
        "seconds": {f"p{percent}": value for percent, value in health.seconds.items()},
        "slowest": dict(health.slowest),
        "flaky": [{"stage": flaky.name, "failed": flaky.failed, "passed": flaky.passed} for flaky in health.flaky],
        "missed": [{"from": iso(window.start), "to": iso(window.end)} for window in health.missed],
    }


def _seconds(text: str) -> float:
    try:
        return float(parse_duration(text))
    except ValueError as error:
        raise ConfigurationError(f"--grace is no length of time: {text!r}", tries=("--grace 2h",)) from error
