"""Reads what both colours did since the last look out of Prometheus: raw scrapes, over the same seconds."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import Literal, TypeVar

from mlpipeline.core.counters import Counters, Labels, Point, newest_scrape
from mlpipeline.core.histogram import bound_of, nearest_bound, quantile, slower_than
from mlpipeline.core.judge import Look, MetricPlan
from mlpipeline.core.sequential import Calibration, calibrate
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError
from mlpipeline.ports import MetricSource

Traffic = Literal["mirror", "live"]
ROUTER, SERVING = "router", "serving"
_REQUESTS = "mlpipeline_requests_total"
_BUCKETS = "mlpipeline_request_seconds_bucket"
_ENVOY = {"live": "envoy_cluster_external_upstream_rq_xx", "mirror": "envoy_cluster_internal_upstream_rq_xx"}
_HISTORY_SECONDS = 600.0

_Value = TypeVar("_Value")
Series = Mapping[Labels, Sequence[Point]]


@dataclass(frozen=True)
class Roles:
    """Who is compared: the colour being released with the colour users are on."""

    candidate: Colour
    champion: Colour

    def named(self) -> dict[str, Colour]:
        return {"candidate": self.candidate, "champion": self.champion}


def queries(service: str) -> dict[str, str]:
    """The two selectors everything is counted from; their raw scrapes are read."""
    return {
        SERVING: f'{{__name__=~"{_REQUESTS}|{_BUCKETS}",service="{service}"}}',
        ROUTER: (
            f'{{__name__=~"{_ENVOY["live"]}|{_ENVOY["mirror"]}|envoy_cluster_membership_total",'
            f'service="{service}",envoy_cluster_name=~"blue|green"}}'
        ),
    }


class Reader:
    """Follows the counters of both colours of one service.

    Args:
        interval: Seconds between looks, on which it depends when a scrape counts as stale.
    """

    def __init__(self, source: MetricSource, service: str, roles: Roles, interval: float) -> None:
        self._source = source
        self._service = service
        self._roles = roles
        self._queries = queries(service)
        self._counters = {SERVING: Counters(), ROUTER: Counters()}
        self._read_at = 0.0
        self._until = 0.0
        self.stale_after = max(10.0, 5 * interval)

    def now(self) -> float:
        """The monitoring system's own clock, Unix seconds, so that clocks need not agree."""
        return self._source.instant("time()")[0].value

    def scrapes(self, now: float) -> dict[str, Series]:
        """All raw scrapes since shortly before the last look, by source."""
        window = max(2 * self.stale_after, now - self._read_at + self.stale_after if self._read_at else 0.0)
        found = {name: self._raw(f"{query}[{int(window) + 1}s]", now) for name, query in self._queries.items()}
        self._read_at = now
        return found

    def _raw(self, query: str, now: float) -> Series:
        series: dict[Labels, list[Point]] = defaultdict(list)
        for sample in self._source.instant(query, now):
            series[tuple(sorted(sample.labels.items()))].append(Point(sample.at, sample.value))
        return {labels: sorted(points) for labels, points in series.items()}

    def absent(self, scrapes: Mapping[str, Series], now: float) -> str:
        """Why a colour cannot be seen at present; empty when both can."""
        for colour in self._roles.named().values():
            reason = self._unseen(scrapes[SERVING], colour, now)
            if reason:
                return reason
        return ""

    def look(self, stage: str, traffic: Traffic, metrics: Iterable[MetricPlan]) -> Look:
        """What happened since the last call. The first call only sets the base line and counts nothing."""
        now = self.now()
        scrapes = self.scrapes(now)
        counts: dict[str, tuple[int, int, int, int]] = {}
        missing: dict[str, str] = {}
        until = self._common(scrapes[SERVING])
        increments = {
            SERVING: self._counters[SERVING].take(scrapes[SERVING], until),
            ROUTER: self._counters[ROUTER].take(scrapes[ROUTER], newest_scrape(scrapes[ROUTER]) or 0.0),
        }
        for metric in metrics:
            reason = self._reason(metric, scrapes, now)
            if reason:
                missing[metric.name] = reason
            else:
                counts[metric.name] = self._count(metric, increments, traffic)
        seconds = until - self._until if self._until else 0.0
        self._until = until
        users = self._users(increments[SERVING], traffic, seconds) if seconds > 0 else {}
        return Look(round(until or now, 3), stage, traffic, round(max(0.0, seconds), 3), counts, missing, {}, users)

    def _common(self, serving: Series) -> float:
        """Up to when both colours are known, once both were scraped anew; until then the time of the look before.

        Looks may come faster than scrapes. A look that saw a new scrape of one colour only would compare its requests
        with none of the other and lose them.
        """
        newest = []
        for colour in self._roles.named().values():
            series = _of(serving, colour=colour)
            newest.append(newest_scrape(series) or 0.0)
        until = min(newest)
        for colour in self._roles.named().values():
            series = _of(serving, colour=colour)
            if not any(self._until < point.at <= until for points in series.values() for point in points):
                return self._until
        return until

    def _reason(self, metric: MetricPlan, scrapes: Mapping[str, Series], now: float) -> str:
        if metric.source == ROUTER:
            newest = newest_scrape(scrapes[ROUTER])
            return _age("the router", newest, now, self.stale_after)
        return self.absent(scrapes, now)

    def _unseen(self, serving: Series, colour: Colour, now: float) -> str:
        return _age(str(colour), newest_scrape(_of(serving, colour=colour)), now, self.stale_after)

    def _count(
        self, metric: MetricPlan, increments: Mapping[str, Mapping[Labels, float]], traffic: Traffic
    ) -> tuple[int, int, int, int]:
        numbers: list[int] = []
        for role, colour in self._roles.named().items():
            kind: Traffic = traffic if role == "candidate" else "live"
            if metric.bound:
                numbers.extend(slower_than(_buckets(increments[SERVING], colour, kind), metric.bound))
            elif metric.source == ROUTER:
                found = _of(increments[ROUTER], __name__=_ENVOY[kind], envoy_cluster_name=colour)
                numbers.extend(_with_class(found, "envoy_response_code_class", "5"))
            else:
                found = _of(increments[SERVING], __name__=_REQUESTS, colour=colour, traffic=kind)
                numbers.extend(_with_class(found, "code", "5xx"))
        return numbers[0], numbers[1], numbers[2], numbers[3]

    def _users(self, serving: Mapping[Labels, float], traffic: Traffic, seconds: float) -> dict[str, dict[str, float]]:
        users = {}
        for role, colour in self._roles.named().items():
            kind: Traffic = traffic if role == "candidate" else "live"
            buckets = _buckets(serving, colour, kind)
            numbers = {"requests_per_second": round(buckets.get(inf, 0.0) / seconds, 3)}
            for name, share in (("p50_seconds", 0.5), ("p99_seconds", 0.99)):
                found = quantile(buckets, share)
                if found is not None:
                    numbers[name] = round(found, 6)
            users[str(colour)] = numbers
        return users

    def router_seen(self, scrapes: Mapping[str, Series]) -> bool:
        return bool(scrapes[ROUTER])

    def bound(self, scrapes: Mapping[str, Series], objective: float) -> float:
        """The bucket bound nearest to the objective that both colours have. Raises ConfigurationError when there is none."""
        common: set[float] | None = None
        for colour in self._roles.named().values():
            found = {bound_of(dict(labels)["le"]) for labels in _of(scrapes[SERVING], __name__=_BUCKETS, colour=colour)}
            common = found if common is None else common & found
        bound = nearest_bound(sorted(common or set()), objective)
        if bound is None:
            raise ConfigurationError(
                "the two colours share no latency bucket to compare",
                facts={"query": self._queries[SERVING]},
                tries=("verify.latency.enabled: false",),
            )
        return bound

    def calibration(self, metric: MetricPlan, now: float, interval: float) -> Calibration:
        """From the champion's last ten minutes; the built-in defaults when these are too quiet to tell."""
        step = max(1.0, float(round(interval)))
        everything, harmless = self._history_queries(metric)
        totals = self._increments(everything, now, step)
        others = self._increments(harmless, now, step)
        history = [(totals[at], min(totals[at], max(0, totals[at] - others.get(at, 0)))) for at in sorted(totals)]
        return calibrate(history)

    def _history_queries(self, metric: MetricPlan) -> tuple[str, str]:
        """All requests of the champion, and those without the event. One without any series is read as 0."""
        colour = self._roles.champion
        if metric.source == ROUTER:
            name, labels = _ENVOY["live"], f'service="{self._service}",envoy_cluster_name="{colour}"'
            return f"sum({name}{{{labels}}})", f'sum({name}{{{labels},envoy_response_code_class!="5"}})'
        labels = f'service="{self._service}",colour="{colour}",traffic="live"'
        if metric.bound:
            texts = {f"{metric.bound:g}", repr(metric.bound)}
            return f'sum({_BUCKETS}{{{labels},le="+Inf"}})', f'sum({_BUCKETS}{{{labels},le=~"{"|".join(sorted(texts))}"}})'
        return f"sum({_REQUESTS}{{{labels}}})", f'sum({_REQUESTS}{{{labels},code!="5xx"}})'

    def _increments(self, query: str, now: float, step: float) -> dict[float, int]:
        found: dict[float, int] = {}
        for points in self._source.series(query, now - _HISTORY_SECONDS, now, step).values():
            for (_, before), (at, value) in itertools.pairwise(points):
                if value >= before:
                    found[at] = round(value - before)
        return found


def _of(series: Mapping[Labels, _Value], **wanted: str) -> dict[Labels, _Value]:
    return {labels: value for labels, value in series.items() if wanted.items() <= dict(labels).items()}


def _buckets(increments: Mapping[Labels, float], colour: Colour, traffic: Traffic) -> dict[float, float]:
    """Cumulative increments by bound, all processes of the colour together."""
    buckets: dict[float, float] = defaultdict(float)
    for labels, increment in _of(increments, __name__=_BUCKETS, colour=colour, traffic=traffic).items():
        buckets[bound_of(dict(labels)["le"])] += increment
    return dict(buckets)


def _with_class(increments: Mapping[Labels, float], label: str, event: str) -> tuple[int, int]:
    total = sum(increments.values())
    events = sum(value for labels, value in increments.items() if dict(labels).get(label) == event)
    return round(total), min(round(total), round(events))


def _age(who: str, newest: float | None, now: float, stale_after: float) -> str:
    if newest is None:
        return f"Prometheus has no recent scrape of {who}"
    age = now - newest
    return f"the newest scrape of {who} is {age:.0f} s old" if age > stale_after or isinf(age) else ""
