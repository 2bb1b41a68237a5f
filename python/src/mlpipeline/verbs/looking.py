"""Reads what both colours did since the last look out of Prometheus: raw scrapes, over the same seconds."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import Literal, NamedTuple, TypeVar

from mlpipeline.core.counters import Counters, Labels, Point, newest_scrape, scrape_interval
from mlpipeline.core.histogram import bound_of, quantile, slower_than, spread_bounds
from mlpipeline.core.judge import Look, MetricPlan
from mlpipeline.core.sequential import Calibration, calibrate
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import EnvironmentFault
from mlpipeline.packs import find
from mlpipeline.packs.shape import Buckets, Pack, Series, Traffic
from mlpipeline.ports import MetricSource
from mlpipeline.verbs.latency_bounds import bounds_of, shared_bound

ROUTER = "router"
PREDICTIONS = "predictions"
VALUES = "prediction values"
MOST_CLASSES = 8
"""Of the champion's predictions, the most frequent ones are compared; of predicted numbers, so many bounds."""
_OWN = "serving"
_HISTORY_SECONDS = 600.0
_LEARNING_WINDOW = 300.0
"""Seconds of scrapes that are read until it is known how often Prometheus scrapes."""
_SCRAPES_MISSED = 2.5

_Value = TypeVar("_Value")
Scrapes = Mapping[Labels, Sequence[Point]]


@dataclass(frozen=True)
class Roles:
    """Who is compared: the colour being released with the colour users are on."""

    candidate: Colour
    champion: Colour

    def named(self) -> dict[str, Colour]:
        return {"candidate": self.candidate, "champion": self.champion}


def sources(pack: str) -> dict[str, Pack]:
    """What requests are counted from, the main source first; our own server is looked at together with its router."""
    found = find(pack)
    name = found.requests_from or pack
    return {_OWN: find(_OWN), ROUTER: find("envoy")} if name == _OWN else {name: find(name)}


def queries(service: str, pack: str, *, predictions: bool = False) -> dict[str, str]:
    """The selectors everything is counted from, by source; their raw scrapes are read."""
    found = {name: source.selector(service) for name, source in sources(pack).items()}
    chosen = find(pack)
    counted = ((PREDICTIONS, chosen.predictions), (VALUES, chosen.values.series if chosen.values else None))
    for name, series in counted:
        if predictions and series is not None:
            found[name] = f'{series.name}{{service="{service}",{chosen.colour_label}=~"blue|green"}}'
    return found


class Usual(NamedTuple):
    """What the champion did lately.

    Args:
        per_second: Requests; 0 where none are known.
        share: Events per request; 0 where no requests are known.
        known: Seconds for which its requests are counted, at most all that were looked at; these too where nothing is counted.
    """

    per_second: float
    share: float
    known: float = _HISTORY_SECONDS


class Reader:
    """Follows the counters of both colours of one service.

    Args:
        interval: Seconds between looks. A scrape counts as stale after five of them, after ten seconds, or when two have been
            missed at the pace that was seen, whichever is longest.
        pack: Name of the metric pack.
        predictions: Whether predictions are counted by class too.
    """

    def __init__(
        self,
        source: MetricSource,
        service: str,
        roles: Roles,
        interval: float,
        pack: str = _OWN,
        *,
        predictions: bool = False,
    ) -> None:
        self._source = source
        self._service = service
        self._roles = roles
        self._packs = sources(pack)
        self.main = next(iter(self._packs))
        self.queries = queries(service, pack, predictions=predictions)
        self._counters = {name: Counters() for name in self.queries}
        self._read_at = 0.0
        self._until = 0.0
        self.stale_after = max(10.0, 5 * interval)
        self._pace_known = False

    def now(self) -> float:
        """The monitoring system's own clock, Unix seconds, so that clocks need not agree."""
        found = self._source.instant("time()")
        if not found:
            raise EnvironmentFault(
                "Prometheus does not tell its time: time() answers nothing",
                likely="something between it and the worker answers in its place",
                tries=("ask verify.prometheus for time() yourself",),
            )
        return found[0].value

    def scrapes(self, now: float) -> dict[str, Scrapes]:
        """All raw scrapes since shortly before the last look, by source."""
        found = self._read(now, self._window(now)) if self._pace_known else self._learned(now)
        self._read_at = now
        return found

    def _learned(self, now: float) -> dict[str, Scrapes]:
        """The scrapes, after the pace was looked for in more of them."""
        found = self._read(now, max(_LEARNING_WINDOW, self._window(now)))
        pace = scrape_interval(found[self.main])
        if pace:
            self._pace_known, self.stale_after = True, max(self.stale_after, _SCRAPES_MISSED * pace)
        since = now - self._window(now)
        return {name: _newer(series, since) for name, series in found.items()}

    def _window(self, now: float) -> float:
        return max(2 * self.stale_after, now - self._read_at + self.stale_after if self._read_at else 0.0)

    def _read(self, now: float, window: float) -> dict[str, Scrapes]:
        return {name: self._raw(f"{query}[{int(window) + 1}s]", now) for name, query in self.queries.items()}

    def _raw(self, query: str, now: float) -> Scrapes:
        series: dict[Labels, list[Point]] = defaultdict(list)
        for sample in self._source.instant(query, now):
            series[tuple(sorted(sample.labels.items()))].append(Point(sample.at, sample.value))
        return {labels: sorted(points) for labels, points in series.items()}

    def absent(self, scrapes: Mapping[str, Scrapes], now: float) -> str:
        """Why a colour cannot be seen at present; empty when both can."""
        for colour in self._roles.named().values():
            reason = self._unseen(scrapes[self.main], colour, now)
            if reason:
                return reason
        return ""

    def look(self, stage: str, traffic: Traffic, metrics: Iterable[MetricPlan]) -> Look:
        """What happened since the last call. The first call only sets the base line and counts nothing."""
        now = self.now()
        scrapes = self.scrapes(now)
        counts: dict[str, tuple[int, int, int, int]] = {}
        missing: dict[str, str] = {}
        until = self._common(scrapes[self.main])
        increments = {
            name: counters.take(scrapes[name], newest_scrape(scrapes[name]) or 0.0 if name == ROUTER else until)
            for name, counters in self._counters.items()
        }
        for metric in metrics:
            reason = self._reason(metric, scrapes, now)
            if reason:
                missing[metric.name] = reason
            else:
                counts[metric.name] = self._count(metric, increments, traffic)
        seconds = until - self._until if self._until else 0.0
        self._until = until
        users = self._users(increments[self.main], traffic, seconds) if seconds > 0 else {}
        return Look(round(until or now, 3), stage, traffic, round(max(0.0, seconds), 3), counts, missing, {}, users)

    def _common(self, main: Scrapes) -> float:
        """Up to when both colours are known, once both were scraped anew; until then the time of the look before.

        Looks may come faster than scrapes. A look that saw a new scrape of one colour only would compare its requests
        with none of the other and lose them.
        """
        until = min(newest_scrape(self._of(main, colour)) or 0.0 for colour in self._roles.named().values())
        for colour in self._roles.named().values():
            series = self._of(main, colour)
            if not any(self._until < point.at <= until for points in series.values() for point in points):
                return self._until
        return until

    def _reason(self, metric: MetricPlan, scrapes: Mapping[str, Scrapes], now: float) -> str:
        if metric.source == ROUTER:
            newest = newest_scrape(scrapes[metric.source])
            return _age(f"the {metric.source}", newest, now, self.stale_after)
        return self.absent(scrapes, now)

    def _unseen(self, main: Scrapes, colour: Colour, now: float) -> str:
        return _age(str(colour), newest_scrape(self._of(main, colour)), now, self.stale_after)

    def _of(self, series: Mapping[Labels, _Value], colour: Colour, source: str = "") -> dict[Labels, _Value]:
        """The series of one colour of a source, the main one unless named."""
        label = self._packs.get(source or self.main, self._packs[self.main]).colour_label
        return {labels: value for labels, value in series.items() if dict(labels).get(label) == colour}

    def _count(
        self, metric: MetricPlan, increments: Mapping[str, Mapping[Labels, float]], traffic: Traffic
    ) -> tuple[int, int, int, int]:
        numbers: list[int] = []
        for role, colour in self._roles.named().items():
            kind: Traffic = traffic if role == "candidate" else "live"
            found = self._of(increments[metric.source], colour, metric.source)
            pack = self._packs.get(metric.source, self._packs[self.main])
            if metric.source == VALUES and pack.values:
                numbers.extend(slower_than(_buckets(found, pack.values, kind), metric.bound))
            elif metric.label and pack.predictions:
                total = _sum(found, (pack.predictions,), kind)
                numbers.extend((total, min(total, _sum(_labelled(found, metric.label), (pack.predictions,), kind))))
            elif metric.bound and pack.latency:
                numbers.extend(slower_than(_buckets(found, pack.latency, kind), metric.bound))
            elif pack.errors:
                total, errors = (_sum(found, series, kind) for series in (pack.errors.total, pack.errors.errors))
                numbers.extend((total, min(total, errors)))
        return numbers[0], numbers[1], numbers[2], numbers[3]

    def _users(self, main: Mapping[Labels, float], traffic: Traffic, seconds: float) -> dict[str, dict[str, float]]:
        users: dict[str, dict[str, float]] = {}
        latency = self._packs[self.main].latency
        if latency is None:
            return users
        for role, colour in self._roles.named().items():
            kind: Traffic = traffic if role == "candidate" else "live"
            buckets = _buckets(self._of(main, colour), latency, kind)
            numbers = {"requests_per_second": round(buckets.get(inf, 0.0) / seconds, 3)}
            for name, share in (("p50_seconds", 0.5), ("p99_seconds", 0.99)):
                found = quantile(buckets, share)
                if found is not None:
                    numbers[name] = round(found, 6)
            users[str(colour)] = numbers
        return users

    def error_source(self, scrapes: Mapping[str, Scrapes]) -> str:
        """Where errors are counted: at the router when it is seen, since it sees those of a crashed colour too."""
        return ROUTER if scrapes.get(ROUTER) else self.main

    def classes(self, scrapes: Mapping[str, Scrapes]) -> tuple[str, ...]:
        """The classes that the champion predicted most often so far, the most frequent first. None where it predicts numbers."""
        totals: dict[str, float] = defaultdict(float)
        for labels, points in self._of(scrapes.get(PREDICTIONS, {}), self._roles.champion).items():
            if points:
                totals[dict(labels).get("label", "")] += points[-1].value
        named = sorted((label for label in totals if label and totals[label]), key=lambda label: (-totals[label], label))
        return tuple(named[:MOST_CLASSES])

    def value_bounds(self, scrapes: Mapping[str, Scrapes]) -> tuple[float, ...]:
        """Bounds that divide the numbers which the champion predicted so far. None where it predicts classes."""
        values = self._packs[self.main].values
        newest = {labels: points[-1].value for labels, points in scrapes.get(VALUES, {}).items() if points}
        return spread_bounds(_buckets(self._of(newest, self._roles.champion), values, "live"), MOST_CLASSES) if values else ()

    def counts(self, what: Literal["errors", "latency"]) -> bool:
        """Whether the runtime of the pack counts this at all."""
        return getattr(self._packs[self.main], what) is not None

    def bound(self, scrapes: Mapping[str, Scrapes], objective: float) -> float:
        """The bucket bound nearest to the objective that both colours have. Raises ConfigurationError when there is none."""
        latency = self._packs[self.main].latency
        assert latency is not None  # noqa: S101 - latency is planned only where the pack counts it
        main = scrapes[self.main]
        found = {str(colour): bounds_of(latency, map(dict, self._of(main, colour))) for colour in self._roles.named().values()}
        return shared_bound(latency, found, objective)

    def calibration(self, metric: MetricPlan, now: float, step: float) -> Calibration:
        """From the champion's last ten minutes in steps of so many seconds; the built-in defaults when these are too quiet to
        tell."""
        everything, others, others_are_events = self._history_queries(metric)
        totals, counted = self._increments(everything, now, step), self._increments(others, now, step)
        history = []
        for at in sorted(totals):
            events = counted.get(at, 0) if others_are_events else totals[at] - counted.get(at, 0)
            history.append((totals[at], min(totals[at], max(0, events))))
        return calibrate(history)

    def usual(self, metric: MetricPlan, now: float) -> Usual:
        """What the champion did in its last ten minutes."""
        step = 10.0
        everything, others, others_are_events = self._history_queries(metric)
        totals, counted = self._increments(everything, now, step), self._increments(others, now, step)
        requests, other = sum(totals.values()), sum(counted.get(at, 0) for at in totals)
        events = other if others_are_events else requests - other
        if not requests:
            return Usual(0.0, 0.0, self._known_for(everything, now, step))
        return Usual(requests / (step * len(totals)), max(0, events) / requests)

    def _known_for(self, query: str, now: float, step: float) -> float:
        found = self._source.series(query, now - _HISTORY_SECONDS, now, step).values()
        times = [at for points in found for at, _ in points]
        if times:
            return max(times) - min(times)
        # a range is asked for in whole seconds and misses what was scraped for the first time within the last one
        return 0.0 if self._source.instant(query) else _HISTORY_SECONDS

    def _history_queries(self, metric: MetricPlan) -> tuple[str, str, bool]:
        """All requests of the champion, and its events or (False) its requests without them. No series is read as 0."""
        pack = self._packs.get(metric.source, self._packs[self.main])
        if metric.source == VALUES and pack.values:
            return self._above(pack, pack.values, metric.bound)
        if metric.label and pack.predictions:
            value = metric.label.replace("\\", "\\\\").replace('"', '\\"')
            series = (pack.predictions,)
            return self._selected(pack, series), self._selected(pack, series, f'label="{value}"'), True
        if metric.bound and pack.latency:
            return self._above(pack, pack.latency, metric.bound)
        counted = pack.errors
        assert counted is not None  # noqa: S101 - a metric is planned only where the pack counts it
        return self._selected(pack, counted.total), self._selected(pack, counted.errors), True

    def _above(self, pack: Pack, buckets: Buckets, bound: float) -> tuple[str, str, bool]:
        """All that a histogram counted, and what of it lies up to the bound, however ``le`` is written."""
        raw = bound / buckets.seconds
        texts = sorted({f"{raw:.12g}", repr(float(f"{raw:.12g}")), f"{raw:.6g}"})
        upto = "|".join(text.replace("+", r"\\+") for text in texts)
        return (
            self._selected(pack, (buckets.series,), 'le="+Inf"'),
            self._selected(pack, (buckets.series,), f'le=~"{upto}"'),
            False,
        )

    def _selected(self, pack: Pack, series: Sequence[Series], extra: str = "") -> str:
        """PromQL of the sum over the champion's live series."""
        own = [f'service="{self._service}"', f'{pack.colour_label}="{self._roles.champion}"', *([extra] if extra else [])]
        parts = (
            ",".join([f'__name__="{one.name}"', *own, *(f'{label}=~"{value}"' for label, value in one.labels.items())])
            for one in series
        )
        return f"sum({' or '.join(f'{{{part}}}' for part in parts)})"

    def _increments(self, query: str, now: float, step: float) -> dict[float, int]:
        found: dict[float, int] = {}
        for points in self._source.series(query, now - _HISTORY_SECONDS, now, step).values():
            for (_, before), (at, value) in itertools.pairwise(points):
                if value >= before:
                    found[at] = round(value - before)
        return found


def _buckets(increments: Mapping[Labels, float], latency: Buckets, traffic: Traffic) -> dict[float, float]:
    """Cumulative increments by bound in seconds, all processes of the colour together."""
    buckets: dict[float, float] = defaultdict(float)
    for labels, increment in increments.items():
        named = dict(labels)
        if latency.series.matches(named, traffic):
            buckets[round(bound_of(named["le"]) * latency.seconds, 12)] += increment
    return dict(buckets)


def _labelled(increments: Mapping[Labels, float], label: str) -> dict[Labels, float]:
    return {labels: value for labels, value in increments.items() if dict(labels).get("label") == label}


def _sum(increments: Mapping[Labels, float], wanted: Sequence[Series], traffic: Traffic) -> int:
    """Each series counts once, however many of the wanted ones it matches."""
    return round(
        sum(value for labels, value in increments.items() if any(series.matches(dict(labels), traffic) for series in wanted))
    )


def _newer(series: Scrapes, since: float) -> Scrapes:
    """Without what was scraped before; a series of which nothing is left is gone."""
    kept = {labels: [point for point in points if point.at >= since] for labels, points in series.items()}
    return {labels: points for labels, points in kept.items() if points}


def _age(who: str, newest: float | None, now: float, stale_after: float) -> str:
    if newest is None:
        return f"Prometheus has no recent scrape of {who}"
    age = now - newest
    return f"the newest scrape of {who} is {age:.0f} s old" if age > stale_after or isinf(age) else ""
