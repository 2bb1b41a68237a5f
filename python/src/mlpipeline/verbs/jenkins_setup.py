"""``jenkins setup``: the folder, the release job and the nightly job as the templates say; what is right is left alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlpipeline.adapters.jenkins import JenkinsServer, JobText, difference, folder_text, merged, rendered
from mlpipeline.config.model import Config
from mlpipeline.core.schedule import lines_of, parsed
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason, Result
from mlpipeline.verbs.jenkins_calling import TIMEOUT_SECONDS, Calling, passed

VERB = "jenkins-setup"
NIGHTLY_FILE = "Jenkinsfile.nightly"
_POLL = "H/5 * * * *"


def run(
    project: Path,
    environment: Mapping[str, str],
    *,
    repository: str = "",
    branch: str = "main",
    folder: str = "",
    scm_credentials: str = "",
    library: str = "mlpipeline",
    dry_run: bool = False,
    credentials: str = "",
    timeout: float = TIMEOUT_SECONDS,
) -> Result:
    """Creates what is missing and updates what differs; ``dry_run`` only tells.

    Raises ConfigurationError without a ``mlpipeline.yaml`` or a repository, and as the server does.
    """
    calling = Calling(project, environment, credentials, timeout)
    config = calling.config
    if config is None:
        raise ConfigurationError("there is no mlpipeline.yaml here, so there is nothing to set up", tries=("mlpipeline init",))
    folder = (folder or config.service).strip("/")
    values = _values(config, project, repository, branch, scm_credentials)
    reasons: list[Reason] = []
    changes: dict[str, list[str]] = {}
    for wanted in _wanted(folder, values):
        summary, lines = _settle(calling.server, wanted, dry_run=dry_run)
        reasons.append(Reason(check=f"jenkins.{wanted.name}", verdict=Verdict.PASS, summary=summary, sample=tuple(lines)))
        if lines:
            changes[wanted.name] = lines
    reasons += _files(project, library)
    evidence = {"changes": changes, "dry_run": dry_run, "jobs": [f"{folder}/release", f"{folder}/nightly"]}
    result = calling.result(VERB, reasons, evidence, {})
    return _told(result, changes, dry_run=dry_run)


def _told(result: Result, changes: Mapping[str, list[str]], *, dry_run: bool) -> Result:
    """The summary counts, and the differences are shown."""
    done = "would change" if dry_run else "changed"
    summary = f"{len(changes)} of 3 items {done}" if changes else "everything is as it should be, nothing was changed"
    lines = [f"jenkins setup: {result.verdict}: {summary}"]
    for reason in result.reasons:
        lines += [f"  {reason.summary}", *(f"    {line}" for line in reason.sample)]
    return msgspec.structs.replace(result, summary=summary, evidence={**result.evidence, "lines": lines})


def _wanted(folder: str, values: Mapping[str, str]) -> list[JobText]:
    """In the order in which they can be made. Outer folders are made when they are missing, and never changed."""
    return [
        JobText(folder, folder_text()),
        JobText(
            f"{folder}/release", rendered("release.xml", {**values, "SCRIPT": "Jenkinsfile", "DESCRIPTION": values["RELEASE"]})
        ),
        JobText(
            f"{folder}/nightly", rendered("nightly.xml", {**values, "SCRIPT": NIGHTLY_FILE, "DESCRIPTION": values["NIGHTLY"]})
        ),
    ]


def _settle(server: JenkinsServer, wanted: JobText, *, dry_run: bool) -> tuple[str, list[str]]:
    """Makes one item right; returns what was done and the differences there were."""
    found = server.configuration(wanted.name)
    if found is None:
        if not dry_run:
            _outer_folders(server, wanted.name)
            server.create(wanted.name, wanted.xml)
        return f"{wanted.name}: {'would be made' if dry_run else 'made'}", difference("<nothing/>", wanted.xml)
    if _kind(found) != _kind(wanted.xml):
        raise ConfigurationError(
            f"{wanted.name} exists in Jenkins, but is something else",
            facts={"found": _kind(found) or "no XML", "wanted": _kind(wanted.xml)},
            likely="a proxy or a login page stands before it" if _kind(found) in {"", "html"} else "",
            tries=("rename it in Jenkins", "--folder ANOTHER"),
        )
    # A folder that is there is left alone: credentials and permissions live in it.
    after = found if wanted.xml == folder_text() else merged(wanted.xml, found)
    lines = difference(found, after)
    if lines and not dry_run:
        server.update(wanted.name, after)
    done = "would be updated" if dry_run else "updated"
    return f"{wanted.name}: {done if lines else 'as it should be'}", lines


def _outer_folders(server: JenkinsServer, name: str) -> None:
    parts = name.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        outer = "/".join(parts[:depth])
        if server.job(outer) is None:
            server.create(outer, folder_text())


def _kind(xml: str) -> str:
    """The outermost element's name."""
    match = re.search(r"<([A-Za-z_][\w.\-]*)", xml)
    return match[1] if match else ""


def _values(config: Config, project: Path, repository: str, branch: str, scm_credentials: str) -> dict[str, str]:
    schedule = config.nightly.schedule
    try:
        for line in lines_of(schedule):
            parsed(line, late=False)
    except ValueError as error:
        raise ConfigurationError(
            f"nightly.schedule is not a Jenkins schedule: {error}", tries=('nightly: {schedule: "H 3 * * *"}',)
        ) from error
    return {
        "REPOSITORY": repository or _origin(project),
        "BRANCH": branch,
        "CREDENTIALS": scm_credentials,
        "POLL": _POLL,
        "SCHEDULE": f"TZ={config.nightly.zone}\n{schedule}",
        "RELEASE": f"Releases {config.service}. Kept by: mlpipeline jenkins setup",
        "NIGHTLY": f"Looks for drift of {config.service} and retrains. Kept by: mlpipeline jenkins setup",
    }


def _origin(project: Path) -> str:
    asked = subprocess.run(["git", "remote", "get-url", "origin"], cwd=project, capture_output=True, text=True, check=False)
    url = asked.stdout.strip()
    if asked.returncode or not url:
        raise ConfigurationError(
            "the project has no remote origin, so Jenkins cannot know where to fetch it from", tries=("--repository URL",)
        )
    if url.startswith(("http://", "https://")) and "@" in url.partition("://")[2].partition("/")[0]:
        raise ConfigurationError(
            "the URL of origin carries a user or a password", tries=("--repository URL --scm-credentials ID-IN-JENKINS",)
        )
    return url


def _files(project: Path, library: str) -> list[Reason]:
    """The two files that the jobs read; without one of them its first build would fail."""
    wanted = {"Jenkinsfile": "mlPipeline()", NIGHTLY_FILE: "mlNightly()"}
    missing = {name: step for name, step in wanted.items() if not (project / name).is_file()}
    if not missing:
        return [passed("jenkins.files", "Jenkinsfile and Jenkinsfile.nightly are there")]
    return [
        Reason(
            check=f"jenkins.files.{name}",
            verdict=Verdict.INCONCLUSIVE,
            summary=f"{name} is not in the project; its job fails until it is committed with these two lines",
            sample=(f"@Library('{library}') _", step),
        )
        for name, step in missing.items()
    ]
