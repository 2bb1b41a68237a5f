"""The samples of a score: what its queries answer at each look, and whether anything was scraped since the last one."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import msgspec

from mlpipeline.core.promql import Selector, selectors
from mlpipeline.core.weighted_score import Sampled, ScoredMetric, ScorePlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.ports import MetricSource

_PLACE = "selector"
"""Label by which the answers about many selectors are told apart."""

Scraped = dict[Selector, float | None]
"""When a series of the selector was scraped last (Unix seconds), nothing where it has none now. Absent: cannot be told."""


class Samples:
    """Takes them during one release. Looks may come faster than scrapes: one scrape that answers at ten looks would otherwise
    be ten samples, and prove a difference that was seen once.

    A look costs two queries a metric, and one about the scrapes of all of them.
    """

    def __init__(self, source: MetricSource) -> None:
        self._source = source
        self._used: dict[str, dict[int, float]] = {}

    def take(self, plan: ScorePlan | None) -> dict[str, Sampled]:
        """One sample per metric of the score; none of any metric while the monitoring is out."""
        if plan is None:
            return {}
        wanted = dict.fromkeys(one for metric in plan.metrics for query in metric.queries for one in selectors(query))
        try:
            scraped, at = self._scraped(list(wanted))
            return {metric.name: self._told_apart(metric, self._answers(metric, at), scraped) for metric in plan.metrics}
        except EnvironmentFault:
            return {}

    def _answers(self, metric: ScoredMetric, at: float | None) -> Sampled:
        try:
            answers = [tuple(repr(sample.value) for sample in self._source.instant(query, at)) for query in metric.queries]
        except ConfigurationError as error:
            return Sampled(error=error.what)
        return Sampled(answers[0], answers[1])

    def _scraped(self, wanted: Sequence[Selector]) -> tuple[Scraped, float | None]:
        """And Prometheus' time of that answer, at which the values are asked for: a scrape in between would count for neither."""
        if not wanted:
            return {}, None
        parts = (f'label_replace(max(timestamp({one.text})), "{_PLACE}", "{place}", "", "")' for place, one in enumerate(wanted))
        try:
            answer = self._source.instant(" or ".join(parts))
        except ConfigurationError:
            # the series of a pattern of names may differ in nothing else, and their times cannot be asked for
            alone = [self._scraped([one]) for one in wanted] if len(wanted) > 1 else []
            return {one: time for found, _ in alone for one, time in found.items()}, None
        times = {wanted[int(sample.labels[_PLACE])]: sample.value for sample in answer}
        return {one: times.get(one) for one in wanted}, max((sample.at for sample in answer), default=None)

    def _told_apart(self, metric: ScoredMetric, sample: Sampled, scraped: Scraped) -> Sampled:
        """The sample, marked where not each colour that is there was scraped since the last one that counted."""
        newest: dict[int, float] = {}
        for place, query in enumerate(metric.queries):
            own = selectors(query)
            if not own or sample.error or not all(one in scraped for one in own):
                return sample
            times = [time for one in own if (time := scraped[one]) is not None]
            if times:
                newest[place] = max(times)
        used = self._used.get(metric.name, {})
        never = not newest and not used and not (sample.candidate or sample.champion)
        if never or (newest and all(time > used.get(place, -inf) for place, time in newest.items())):
            self._used[metric.name] = {**used, **newest}
            return sample
        return msgspec.structs.replace(sample, repeated=True)
