"""What the verbs that talk to a Jenkins share: its server, the service's name where there is one, and their results."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mlpipeline import __version__
from mlpipeline.adapters.jenkins import JenkinsServer, find_credentials
from mlpipeline.clock import iso
from mlpipeline.config.load import FILE, load
from mlpipeline.config.model import Config
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason, Result

TIMEOUT_SECONDS = 20.0


class Calling:
    """One call: where it was made, and when it began.

    Args:
        credentials: File that holds them, relative to the working folder; empty: the environment does.
        timeout: Seconds that one answer may take.
    """

    def __init__(
        self, project: Path, environment: Mapping[str, str], credentials: str = "", timeout: float = TIMEOUT_SECONDS
    ) -> None:
        if timeout <= 0:
            raise ConfigurationError("--timeout must be more than 0 seconds")
        self.project = project
        self.environment = environment
        self.server = JenkinsServer(find_credentials(environment, Path(credentials) if credentials else None), timeout)
        self._began = time.monotonic()

    @property
    def config(self) -> Config | None:
        """That of the project; nothing where there is none, for these verbs are also called from elsewhere."""
        return load(self.project, environment=self.environment).config if (self.project / FILE).is_file() else None

    def job(self, given: str, kind: str) -> str:
        """The job's full name: as given, else ``SERVICE/kind``."""
        if given:
            return given.strip("/")
        config = self.config
        if config is None:
            raise ConfigurationError(
                "which job?", likely=f"there is no {FILE} here that names the service", tries=(f"--job SERVICE/{kind}",)
            )
        return f"{config.service}/{kind}"

    def result(self, verb: str, reasons: Sequence[Reason], evidence: Mapping[str, object], links: Mapping[str, str]) -> Result:
        """The worst of the reasons is the verdict, and the first of that verdict the summary."""
        verdict = worst(reason.verdict for reason in reasons)
        config = self.config
        return Result(
            verb=verb,
            service=config.service if config else "",
            run="",
            verdict=verdict,
            summary=next((reason.summary for reason in reasons if reason.verdict is verdict), ""),
            reasons=tuple(reasons),
            evidence=dict(evidence),
            links=dict(links),
            started=iso(datetime.now(UTC)),
            seconds=round(time.monotonic() - self._began, 3),
            worker=__version__,
        )


def passed(check: str, summary: str) -> Reason:
    return Reason(check=check, verdict=Verdict.PASS, summary=summary)
