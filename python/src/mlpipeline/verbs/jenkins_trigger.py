"""``jenkins trigger``: starts a build from outside, such as a retraining, with the reason recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlpipeline.record.result import Result
from mlpipeline.verbs.jenkins_calling import TIMEOUT_SECONDS, Calling, passed

VERB = "jenkins-trigger"
PARAMETER = "REASON"


def run(
    project: Path,
    environment: Mapping[str, str],
    *,
    job: str = "",
    reason: str = "asked for from outside",
    credentials: str = "",
    timeout: float = TIMEOUT_SECONDS,
) -> Result:
    """Queues a build of the release job. The reason is passed as the parameter REASON, which the job of ``setup`` declares."""
    calling = Calling(project, environment, credentials, timeout)
    name = calling.job(job, "release")
    place = calling.server.start(name, {PARAMETER: reason})
    evidence = {"job": name, "reason": reason, "queue": place}
    return calling.result(
        VERB, [passed("jenkins.trigger", f"queued {name}: {reason}")], evidence, {"queue": place} if place else {}
    )
