"""What a metric pack is made of. Data only; the reader of ``verify`` counts by it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

Traffic = Literal["mirror", "live"]


class Series(msgspec.Struct, frozen=True):
    """Counter series by name and labels; label values are regular expressions that match the whole value.

    ``mirror_name`` and ``mirror_labels`` are used for copies of requests, where a runtime counts these apart. ``of_users`` counts
    no copies.
    """

    name: str
    labels: Mapping[str, str] = {}
    mirror_name: str = ""
    mirror_labels: Mapping[str, str] = {}
    of_users: bool = False

    def matches(self, labels: Mapping[str, str], traffic: Traffic) -> bool:
        """Whether the series with these labels (``__name__`` among them) is meant."""
        if self.of_users and traffic == "mirror":
            return False
        return labels.get("__name__") == self.named(traffic) and all(
            re.fullmatch(pattern, labels.get(label, "")) for label, pattern in self.wanted(traffic).items()
        )

    def named(self, traffic: Traffic) -> str:
        return self.mirror_name if self.mirror_name and traffic == "mirror" else self.name

    def wanted(self, traffic: Traffic) -> Mapping[str, str]:
        return {**self.labels, **self.mirror_labels} if traffic == "mirror" else self.labels

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, self.mirror_name) if self.mirror_name else (self.name,)


class Counted(msgspec.Struct, frozen=True):
    """Requests, and which of them are errors: the increments of all series of each, added up."""

    total: tuple[Series, ...]
    errors: tuple[Series, ...]


class Buckets(msgspec.Struct, frozen=True):
    """A classic histogram: its ``_bucket`` series, how many seconds (of a latency) one unit of ``le`` is, and what has to be done
    so that the runtime exports it."""

    series: Series
    seconds: float = 1.0
    needs: str = ""


class PackCondition(msgspec.Struct, frozen=True):
    """A condition that comes with the pack; ``{{service}}`` and ``{{candidate}}`` stand for the names of the release.

    Measured until the watch ends, unless ``count`` is given: hardware may break late. A few measurements may tell nothing, as an
    exporter is away while it restarts.
    """

    name: str
    query: str
    success: str = ""
    failure: str = ""
    interval: float = 10.0
    count: int | None = None
    inconclusive_limit: int = 3


class Pack(msgspec.Struct, frozen=True):
    """One runtime.

    Args:
        about: The runtime and where the names come from.
        errors: Absent where the runtime counts none.
        latency: Absent where the runtime has no histogram.
        colour_label: Label whose value is the colour; set by the scrape configuration unless the runtime sets it.
        present: Further series that show the runtime is scraped, before it answered any request.
        requests_from: The packs that count requests, for one that only watches the hardware.
        predictions: Predictions by class, in the label ``label``; absent where the runtime counts none.
        values: Predicted numbers as a histogram; absent where the runtime counts none.
        settings: ``verify`` settings that suit this runtime, below the library's and the project's own.
    """

    name: str
    about: str
    errors: Counted | None = None
    latency: Buckets | None = None
    colour_label: str = "colour"
    present: tuple[str, ...] = ()
    conditions: tuple[PackCondition, ...] = ()
    requests_from: str = ""
    predictions: Series | None = None
    values: Buckets | None = None
    settings: Mapping[str, Mapping[str, float | str | bool]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of every metric that is read. A native histogram has the name of its buckets without ``_bucket``."""
        counted = (*self.errors.total, *self.errors.errors) if self.errors else ()
        buckets = self.latency.series.names if self.latency else ()
        native = (name.removesuffix("_bucket") for name in buckets)
        return (*dict.fromkeys((*(name for series in counted for name in series.names), *buckets, *native)), *self.present)

    def selector(self, service: str) -> str:
        """PromQL of every series that is read."""
        return f'{{__name__=~"{"|".join(self.names)}",service="{service}",{self.colour_label}=~"blue|green"}}'
