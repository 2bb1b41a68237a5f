"""The nightly job, as it is configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.values import Duration, Positive, Section


class DataDrift(Section, frozen=True):
    """The new data file against the data the champion was trained on: each column by its population stability index."""

    file: str = ""
    """Parquet or CSV with the newest data; empty: no data drift is looked for."""
    reference: str = ""
    """What the champion was trained on. Empty: the first entry of ``data.files``, as it was in the champion's commit."""
    columns: tuple[str, ...] = ()
    """Columns to look at; empty: all that both files have."""
    limit: Annotated[float, Meta(gt=0)] = 0.25
    """Index from which a column counts as drifted: 0.1 is commonly called a small shift, 0.25 a large one. Where few rows make
    as much by chance alone, it takes more."""
    share: Annotated[float, Meta(gt=0, le=1)] = 0.2
    """Share of the columns that must have drifted for the window to count; one column at least."""
    min_rows: Positive = 500


class LiveDrift(Section, frozen=True):
    """The champion's predictions now against its own before, from Prometheus."""

    enabled: bool = False
    window: Duration = Duration(24 * 3600)
    before: Duration = Duration(7 * 24 * 3600)
    """How long before the window the comparison reaches, if Prometheus remembers; the local target's own keeps two days."""
    limit: Annotated[float, Meta(gt=0)] = 0.25
    min_predictions: Positive = 500


class Decay(Section, frozen=True):
    """How right the champion is now: a PromQL query, or a file with late labels beside what was predicted."""

    query: str = ""
    """One number; ``{{service}}`` and ``{{version}}`` stand for the champion's names."""
    labels: str = ""
    """Parquet or CSV with one row per prediction whose truth has arrived; with ``predictions`` also a file of DuckDB or SQLite or
    ``postgresql://``. ``$NAME`` in an address is replaced from the environment."""
    truth: str = "label"
    prediction: str = "prediction"
    metric: Literal["accuracy", "mae"] = "accuracy"
    at_least: float | None = None
    at_most: float | None = None
    min_rows: Positive = 200
    predictions: str = ""
    """Where the predictions stand when ``labels`` has only the truth: Parquet, CSV, a file of DuckDB or SQLite, or
    ``postgresql://``. Answers and labels are joined by request id, and the champion's are judged."""
    predictions_table: str = ""
    labels_table: str = ""
    request: str = "request_id"
    """Column that joins the two."""
    version: str = "model_version"
    """Column with the version that answered; only the champion's rows count, for ``drop`` and with ``predictions``."""
    time: str = "time"
    """Column with the moment of the answer, for ``drop``."""
    recent: Duration = Duration(7 * 24 * 3600)
    """The newest answers, which are compared with all the champion's earlier ones, for ``drop``."""
    drop: Annotated[float, Meta(gt=0, lt=1)] | None = None
    """Decay: the champion's share of wrong answers has grown by this much since before, and chance does not explain it."""


class Prune(Section, frozen=True):
    """What ``nightly`` removes. Never what is live, previous, being released or quarantined, nor what kept runs rest on."""

    enabled: bool = True
    runs: Positive = 20
    """The newest runs of a checkout that are kept."""
    older_than: Duration = Duration(30 * 24 * 3600)
    """Age from which unreferenced bundles and environments, and runs beyond the kept ones, are removed."""
    audit: Duration = Duration(90 * 24 * 3600)
    """How long the package of a version that users were on is kept after its last user, so that every file of it can be checked.
    Its record, SBOM, provenance and approvals are never removed."""


class Nightly(Section, frozen=True):
    """The nightly look at data, predictions and truth. Retrain: at least ``at_least`` of the last ``of`` looks found the same
    kind of drift, and the newest one did."""

    schedule: str = "H 3 * * *"
    """When Jenkins starts it, in Jenkins' own cron form."""
    zone: str = "UTC"
    """Time zone of the schedule."""
    at_least: Positive = 2
    of: Positive = 3
    apart: Duration = Duration(12 * 3600)
    """Looks closer together than this count as one, the newest: a build that is run again is no second night."""
    if_silent_for: Duration = Duration(0)
    """A release that nobody is at any more is made safe first, as by ``mlpipeline resume --if-silent-for``, after a watch of this
    length; 0: it is left as it is."""
    data: DataDrift = DataDrift()
    live: LiveDrift = LiveDrift()
    accuracy: Decay = Decay()
    prune: Prune = Prune()
