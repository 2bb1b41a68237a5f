"""How often each colour was wrong, by labels that arrive while a release is watched."""

from __future__ import annotations

from math import isfinite

from mlpipeline.config.sections.verification import AccuracyRule
from mlpipeline.errors import EnvironmentFault, MlpipelineError
from mlpipeline.ports import MetricSource
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.looking import Roles

NAME = "accuracy"
_Totals = dict[str, tuple[int, int]]


class LateLabels:
    """Counts answers whose label arrived since the last call, and how many of these were wrong.

    Args:
        source: None where the labels stand in files or tables.
        since: Unix seconds; answers given before are left out where the time of an answer is known.
    """

    def __init__(self, context: Context, roles: Roles, source: MetricSource | None, since: float) -> None:
        self._context, self._roles, self._source, self._since = context, roles, source, since
        self._rule: AccuracyRule = context.config.verify.accuracy
        self._before: _Totals | None = None
        self._due = 0.0
        self._told = ""

    def new(self) -> tuple[int, int, int, int] | None:
        """Candidate's labelled answers and wrong ones, champion's the same; absent when nothing new was asked for or came.

        Labels that cannot be read are silence: it is said once, and read again at the next time.
        """
        now = self._context.clock.monotonic()
        if now < self._due:
            return None
        self._due = now + self._rule.interval
        try:
            totals = self._totals()
        except MlpipelineError as fault:
            self._tell(f"no labels: {fault.what}")
            return None
        before, self._before = self._before, totals
        if before is None:
            return None
        counts = []
        for colour in (str(self._roles.candidate), str(self._roles.champion)):
            labelled, wrong = totals.get(colour, (0, 0))
            old, old_wrong = before.get(colour, (0, 0))
            if labelled < old or wrong < old_wrong:
                old, old_wrong = 0, 0  # a counter that began anew
            counts += [labelled - old, min(labelled - old, wrong - old_wrong)]
        return (counts[0], counts[1], counts[2], counts[3]) if counts[0] or counts[2] else None

    def check(self) -> None:
        """Raises ConfigurationError when files, columns or queries cannot be read."""
        self._totals()

    def _totals(self) -> _Totals:
        return self._asked() if self._rule.wrong_query else self._joined()

    def _joined(self) -> _Totals:
        from mlpipeline.adapters.duckdb.labels import LabelFiles, labelled

        rule = self._rule
        wanted = LabelFiles(
            predictions=rule.predictions,
            labels=rule.labels,
            predictions_table=rule.predictions_table,
            labels_table=rule.labels_table,
            request=rule.request,
            group=rule.colour,
            prediction=rule.prediction,
            truth=rule.truth,
            time=rule.time,
            tolerance=rule.tolerance,
            environment=self._context.environment,
        )
        return labelled(self._context.project, wanted, since=self._since if rule.time else None)

    def _asked(self) -> _Totals:
        return {
            str(colour): (self._number(self._rule.labelled_query, str(colour)), self._number(self._rule.wrong_query, str(colour)))
            for colour in self._roles.named().values()
        }

    def _number(self, query: str, colour: str) -> int:
        text = query.replace("{{service}}", self._context.config.service).replace("{{colour}}", colour)
        assert self._source is not None  # noqa: S101 - whoever has queries has a source
        found = self._source.instant(text)
        if len(found) > 1 or any(not isfinite(sample.value) for sample in found):
            raise EnvironmentFault("a query of verify.accuracy has no one number as answer", facts={"query": text})
        return round(found[0].value) if found else 0

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._context.console.say(f"verify: {text}")
