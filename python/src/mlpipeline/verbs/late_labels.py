"""How often each colour was wrong, by labels that arrive while a release is watched."""

from __future__ import annotations

import itertools
from math import isfinite
from typing import TYPE_CHECKING

from mlpipeline.config.sections.verification import AccuracyRule
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError
from mlpipeline.ports import LabelledAnswers, MetricSource
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.looking import Roles

if TYPE_CHECKING:
    from mlpipeline.adapters.duckdb.labels import LabelFiles

NAME = "accuracy"
_HOUR, _STEP = 3600.0, 10.0
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
        self._counters = bool(self._rule.wrong_query)

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
            self._tell(f"no labels: {fault.in_one_line('; ')}")
            return None
        before = self._before
        if before is None:
            self._before = totals
            return None
        candidate, champion = (
            self._grown(before, totals, str(colour)) for colour in (self._roles.candidate, self._roles.champion)
        )
        return (*candidate, *champion) if candidate[0] or champion[0] else None

    def _grown(self, before: _Totals, totals: _Totals, colour: str) -> tuple[int, int]:
        """By how much since the last call, which is replaced.

        What has become less says nothing. A sum of counters lost one that began anew: there is no telling how much of the rest
        is new. Rows that are gone may come back (a file that is being written, a label that is corrected) and never count twice.
        """
        if colour not in totals:
            return 0, 0
        (labelled, wrong), (old, old_wrong) = totals[colour], before.get(colour, totals[colour] if self._counters else (0, 0))
        before[colour] = (labelled, wrong)
        if labelled >= old and wrong >= old_wrong:
            return labelled - old, min(labelled - old, wrong - old_wrong)
        if not self._counters:
            before[colour] = (max(labelled, old), max(wrong, old_wrong))
        return 0, 0

    def check(self) -> tuple[str, ...]:
        """What is strange about them, in a line each. Raises ConfigurationError when files, columns or queries cannot be read."""
        if self._counters:
            return tuple(
                f"no series answers verify.accuracy.{name}, {self._text(query, 'blue')}: nothing was labelled yet, "
                "or a name in it is misspelt"
                for name, query in (("labelled_query", self._rule.labelled_query), ("wrong_query", self._rule.wrong_query))
                if all(self._number(query, str(colour)) is None for colour in Colour)
            )
        from mlpipeline.adapters.duckdb.label_doubts import doubts

        names = [str(colour) for colour in Colour]
        found = doubts(self._context.project, self._wanted(), groups=names, now=self._context.clock.now().timestamp())
        if self._rule.time:
            return found
        return (*found, "labels of answers from before the release count too, as verify.accuracy.time names no column")

    def known(self) -> LabelledAnswers:
        """What is known of the champion's answers today. Raises MlpipelineError as :meth:`check`."""
        if not self._counters:
            from mlpipeline.adapters.duckdb.labels import known

            return known(self._context.project, self._wanted(), str(self._roles.champion))
        (labelled, seconds), (wrong, _) = (self._lately(query) for query in (self._rule.labelled_query, self._rule.wrong_query))
        return LabelledAnswers(labelled, min(labelled, wrong), seconds if labelled else None)

    def _lately(self, query: str) -> tuple[int, float]:
        """By how much a counter of the champion grew in the last hour, and the seconds of it in which it was there."""
        assert self._source is not None  # noqa: S101 - whoever has queries has a source
        now = self._source.instant("time()")[0].value
        found = self._source.series(self._text(query, str(self._roles.champion)), now - _HOUR, now, _STEP)
        pairs = [pair for points in found.values() for pair in itertools.pairwise(points)]
        grown = sum(later - earlier for (_, earlier), (_, later) in pairs if later > earlier)
        return round(grown), max((points[-1][0] - points[0][0] for points in found.values() if points), default=0.0)

    def _totals(self) -> _Totals:
        return self._asked() if self._counters else self._joined()

    def _joined(self) -> _Totals:
        from mlpipeline.adapters.duckdb.labels import labelled

        return labelled(self._context.project, self._wanted(), since=self._since if self._rule.time else None)

    def _wanted(self) -> LabelFiles:
        from mlpipeline.adapters.duckdb.labels import LabelFiles

        rule = self._rule
        return LabelFiles(
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

    def _asked(self) -> _Totals:
        """Of each colour that has labels. A counter of wrong answers may begin with the first of them."""
        found: _Totals = {}
        for colour in (str(colour) for colour in self._roles.named().values()):
            labelled, wrong = (self._number(query, colour) for query in (self._rule.labelled_query, self._rule.wrong_query))
            if labelled is not None:
                found[colour] = (labelled, (self._before or {}).get(colour, (0, 0))[1] if wrong is None else wrong)
        return found

    def _number(self, query: str, colour: str) -> int | None:
        text = self._text(query, colour)
        assert self._source is not None  # noqa: S101 - whoever has queries has a source
        found = self._source.instant(text)
        if len(found) > 1:
            raise ConfigurationError(
                f"a query of verify.accuracy has {len(found)} series as answer, and one number is needed",
                facts={"query": text},
                likely="it reads one counter of each process or model",
                tries=(f"sum({text})",),
            )
        if any(not isfinite(sample.value) for sample in found):
            raise EnvironmentFault(
                f"a query of verify.accuracy answers {found[0].value}, which is no number",
                facts={"query": text},
                likely="it divides by nothing; counters are needed, not their ratio",
                tries=("look at it in Prometheus",),
            )
        return round(found[0].value) if found else None

    def _text(self, query: str, colour: str) -> str:
        return query.replace("{{service}}", self._context.config.service).replace("{{colour}}", colour)

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._context.console.say(f"verify: {text}")
