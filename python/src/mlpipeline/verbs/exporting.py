"""Exports a verdict as metrics: to a file for node_exporter's textfile collector, and to a Pushgateway."""

from __future__ import annotations

from pathlib import Path

from mlpipeline.core.exposition import exposition
from mlpipeline.core.judge import Judge, Look
from mlpipeline.errors import EnvironmentFault
from mlpipeline.record.files import write_atomically
from mlpipeline.verbs.context import Context

FILE = "verify.prom"
"""In the service's state folder, always written."""


class Exporter:
    """Writes after each look. What cannot be exported is said once and never touches the verdict."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.config.verify.export
        self._told: set[str] = set()

    def export(self, judge: Judge, last: Look | None) -> None:
        text = exposition(judge.plan, judge.judgement(), last.at if last else 0.0, judge.looks)
        files = [self._context.places.state / FILE]
        if self._settings.textfile:
            files.append(self._context.project / self._settings.textfile)
        for file in files:
            self._write(file, text)
        if self._settings.pushgateway:
            self._push(text)

    def _write(self, file: Path, text: str) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, text.encode())
            # node_exporter runs as a user of its own
            file.chmod(0o644)
        except OSError as error:
            self._tell(f"the verdict cannot be exported to {file}: {error}")

    def _push(self, text: str) -> None:
        from mlpipeline.adapters.prometheus.export import push

        try:
            push(
                self._settings.pushgateway, self._context.config.service, text, timeout=float(self._context.config.verify.timeout)
            )
        except EnvironmentFault as fault:
            self._tell(fault.in_one_line())

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._context.console.say(f"verify: {text}")
