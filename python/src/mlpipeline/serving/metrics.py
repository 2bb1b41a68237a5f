"""What Prometheus is told about this process.

The numbers live in plain fields that only the event loop's thread changes, because a client library's locks and label
look-ups would cost more per request than everything else around the model. The client library writes them out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from mlpipeline.serving.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, Metric

CODES = ("2xx", "4xx", "5xx")
TRAFFIC = ("live", "mirror")
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Fine between 0 and 1, where probabilities live; by powers of ten beyond.
VALUE_BUCKETS = (
    *(-(10.0**power) for power in range(6, -1, -1)),
    *(step / 20 for step in range(21)),
    *(factor * 10.0**power for power in range(6) for factor in (2.0, 5.0, 10.0)),
)
LABEL_LIMIT = 50
OTHER = "other"
NOT_A_NUMBER = "NaN"


@dataclass(frozen=True)
class Seen:
    """What one request showed of inputs and predictions, counted in the thread that computed it.

    Args:
        nulls: Nulls per column of the signature; columns without any may be left out.
        labels: Predictions per class; for numbers only those that were not a number.
        values: Numbers per bucket of ``VALUE_BUCKETS`` and one for all beyond, empty for classes.
        total: Sum of these numbers.
    """

    nulls: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    values: Sequence[int] = ()
    total: float = 0.0


class Counts:
    """The numbers of one kind of traffic."""

    def __init__(self) -> None:
        self.codes = dict.fromkeys(CODES, 0)
        self.seconds = [0] * (len(SECONDS_BUCKETS) + 1)
        self.seconds_sum = 0.0
        self.in_flight = 0
        self.labels: dict[str, int] = {}
        self.values: list[int] = []
        self.values_sum = 0.0
        self.nulls: dict[str, int] = {}

    def answered(self, status: int, seconds: float) -> None:
        """Counts one request that was answered with this HTTP status."""
        self.codes["2xx" if status < 400 else "4xx" if status < 500 else "5xx"] += 1
        self.seconds[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self.seconds_sum += seconds

    def add(self, seen: Seen) -> None:
        """Adds what one request showed. A class beyond ``LABEL_LIMIT`` counts as ``other``."""
        for column, count in seen.nulls.items():
            self.nulls[column] = self.nulls.get(column, 0) + count
        for label, count in seen.labels.items():
            known = label if label in self.labels or len(self.labels) < LABEL_LIMIT else OTHER
            self.labels[known] = self.labels.get(known, 0) + count
        if seen.values:
            self.values = [old + new for old, new in zip(self.values or [0] * len(seen.values), seen.values, strict=True)]
            self.values_sum += seen.total


class Metrics:
    """All metrics of the process, by kind of traffic: ``live`` or ``mirror``."""

    def __init__(self, settings: Settings) -> None:
        self._identity = {"service": settings.service, "colour": settings.colour, "model_version": settings.model_version}
        self._digest = settings.digest
        self.live, self.mirror = Counts(), Counts()

    def expect(self, columns: Iterable[str], seen: Seen) -> None:
        """Creates every series that can occur with the value 0, so that a rate never starts from nothing.

        Args:
            columns: All columns of the model's signature.
            seen: Like what the model will show: its classes, or the buckets of its numbers.
        """
        for counts in (self.live, self.mirror):
            counts.nulls = dict.fromkeys(columns, 0)
            counts.labels = dict.fromkeys(list(seen.labels)[:LABEL_LIMIT], 0)
            counts.values = [0] * len(seen.values)

    def render(self) -> bytes:
        """The text exposition format, version 0.0.4."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """All metrics, as the client library asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        names = (*self._identity, "traffic")
        requests = CounterMetricFamily("mlpipeline_requests", "Scoring requests answered.", labels=(*names, "code"))
        seconds = HistogramMetricFamily(
            "mlpipeline_request_seconds", "Time from a scoring request's head to its answer.", labels=names
        )
        flying = GaugeMetricFamily("mlpipeline_requests_in_flight", "Scoring requests not yet answered.", labels=names)
        labels = CounterMetricFamily("mlpipeline_predictions", "Predictions per class.", labels=(*names, "label"))
        values = HistogramMetricFamily("mlpipeline_prediction_value", "Predicted numbers.", labels=names)
        nulls = CounterMetricFamily("mlpipeline_input_nulls", "Nulls in the inputs.", labels=(*names, "column"))
        for traffic, counts in zip(TRAFFIC, (self.live, self.mirror), strict=True):
            own = (*self._identity.values(), traffic)
            _add_all(requests, own, counts.codes)
            _add_all(labels, own, counts.labels)
            _add_all(nulls, own, counts.nulls)
            seconds.add_metric(own, _buckets(SECONDS_BUCKETS, counts.seconds), counts.seconds_sum)
            flying.add_metric(own, counts.in_flight)
            if counts.values:
                values.add_metric(own, _buckets(VALUE_BUCKETS, counts.values), counts.values_sum)
                # With negative bounds the client library leaves out sum and count, as OpenMetrics asks; Prometheus needs them.
                named = dict(zip(names, own, strict=True))
                values.add_sample("mlpipeline_prediction_value_count", named, float(sum(counts.values)))
                values.add_sample("mlpipeline_prediction_value_sum", named, counts.values_sum)
        info = GaugeMetricFamily("mlpipeline_model_info", "Which model this is.", labels=(*self._identity, "digest"))
        info.add_metric((*self._identity.values(), self._digest), 1)
        yield from (requests, seconds, flying, labels, values, nulls, info)


def _add_all(family: CounterMetricFamily, own: tuple[str, ...], numbers: Mapping[str, int]) -> None:
    for name, number in numbers.items():
        family.add_metric((*own, name), number)


def _buckets(bounds: Sequence[float], numbers: Sequence[int]) -> list[tuple[str, float]]:
    from prometheus_client.utils import floatToGoString

    names = [*map(floatToGoString, bounds), "+Inf"]
    return list(zip(names, accumulate(map(float, numbers)), strict=True))
