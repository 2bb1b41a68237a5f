"""The data gate, as it is configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.values import Duration, Positive, Probability, Section, Share


class Expectation(Section, frozen=True):
    """One inline check of the short form. ``column`` and one or more rules; each rule becomes one GX expectation.

    ``mostly`` is the share of rows that must satisfy the row-wise rules.
    """

    column: str = ""
    """The column that the rules below are about; ``rows_between`` needs none."""
    not_null: bool = False
    """No value is missing. All other rules look only at the values that are there."""
    unique: bool = False
    """No value stands in two rows."""
    type: str = ""
    """A rule of the schema, as in ``columns``: ``integer``, ``number``, ``string``, ``boolean`` or ``timestamp``."""
    between: tuple[float | None, float | None] | None = None
    """Least and greatest value, both allowed; ``null``: no limit on that side."""
    in_set: tuple[str | int | float | bool, ...] = ()
    """The values that may stand there."""
    matches: str = ""
    """A regular expression that is found somewhere in the text; ``^`` and ``$`` bind it to the ends."""
    mean_between: tuple[float | None, float | None] | None = None
    """Limits of the column's mean."""
    rows_between: tuple[int | None, int | None] | None = None
    """Limits of the number of rows of the whole file."""
    mostly: Share = 1.0
    """Share of the values that must keep ``unique``, ``between``, ``in_set``, ``matches``; for ``not_null``, of the rows."""


class Freshness(Section, frozen=True):
    """The newest value of ``column`` (or the file's own age without a column) must be younger than ``within``."""

    within: Duration
    """The greatest age that passes."""
    column: str = ""
    """A column of times; empty: the file's own time of change."""
    now: str = ""
    """ISO time that counts as now, for data that is a fixed history; empty means the clock."""


class History(Section, frozen=True):
    """The file against itself in earlier runs of this checkout that passed; without any, it passes with a note."""

    runs: Positive = 10
    """How many of the newest are looked at."""
    at_least: Annotated[float, Meta(ge=0)] = 0.5
    """Rows now, as a share of the median of these runs."""
    at_most: Annotated[float, Meta(gt=0)] = 2.0
    """Rows now, as a multiple of the median of these runs."""
    newer: bool = False
    """The newest time of ``freshness.column`` must be later than in the last run of other data."""


class Reference(Section, frozen=True):
    """Every value of ``columns`` stands in the other file too. Rows with a missing value are left out."""

    columns: tuple[str, ...]
    """Columns of this file, together one key."""
    file: str
    """The other file, by its name under ``data.files``."""
    their: tuple[str, ...] = ()
    """Its columns, in the same order; empty: of the same names."""


class LabelBalance(Section, frozen=True):
    """The label has the classes it should have, none of them rare or missing."""

    column: str
    """The column of the label."""
    at_least: Share = 0.01
    """Share of the labelled rows that the rarest class must have."""
    classes: Annotated[int, Meta(ge=2)] = 2
    """Different classes there must be at least."""


class FileDrift(Section, frozen=True):
    """Features, predictions and labels of this file against earlier ones, column by column, with one budget of false alarms."""

    reference: str | tuple[str, ...] = "champion"
    """``champion``: the same file in the commit of the version that users are on; ``last``: the last run of this checkout that
    passed; a duration such as ``7d``: the newest such run that is at least so old; else a path. Several may be listed."""
    columns: tuple[str, ...] = ()
    """Columns to compare; empty: all but times."""
    ignore: tuple[str, ...] = ()
    """Columns that are expected to move, such as identifiers."""
    false_alarms: Probability = 0.01
    """Probability, at most, that any column is called drifted although nothing changed (Holm over all columns)."""
    effect: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """How far a column must have moved to count: the greatest difference in probability of any event, which does not grow with
    the number of rows (Kolmogorov and Smirnov's distance; total variation for categories; the shares of missing values)."""
    columns_at_most: Annotated[int, Meta(ge=0)] = 0
    """Columns that may drift before the gate fails."""
    verdict: Literal["fail", "inconclusive", "pass"] = "fail"
    """What drift of more columns makes of the gate; ``pass`` only reports it."""
    no_reference: Literal["pass", "inconclusive", "fail"] = "pass"
    """What a reference that is not there yet makes of it, such as a first release."""
    min_rows: Positive = 100
    """Rows that each side needs to be compared."""
    evidently: bool = False
    """Also write evidently's own page, where it is installed, for the first reference that has rows. It judges nothing."""


class Leakage(Section, frozen=True):
    """What a model is tested on must not be known from what it is trained on."""

    train: str
    """A file, by its name under ``data.files``."""
    test: str
    """Another one."""
    rows: bool = True
    """No row of the test is also a row of the training, in the columns both have."""
    entity: tuple[str, ...] = ()
    """Columns that name who or what a row is about; nobody may be in both."""
    time: str = ""
    """A column of times; the training must end before the test begins."""
    at_most: Share = 0.0
    """Share of the test's rows that may be found in the training, or whose entity may."""


class DataFile(Section, frozen=True):
    """One table the data gate reads: Parquet or CSV, a folder or glob of them, or a table of a database."""

    path: str
    """From the project's folder: a file, a folder (also one of partitions, ``year=2026/...``), a pattern such as
    ``data/*.parquet``, a DuckDB or SQLite file, or ``postgres://...`` (``$NAME`` stands for a variable of the environment)."""
    table: str = ""
    """The table or view of a database that is read; only with one."""
    columns: dict[str, str] = {}
    """Schema: column name to ``integer``, ``number``, ``string``, ``boolean`` or ``timestamp``."""
    extra_columns: Literal["allow", "fail"] = "allow"
    """Whether there may be columns that ``columns`` does not name."""
    suite: str = ""
    """Path of a Great Expectations 1.x suite in its own JSON."""
    expect: tuple[Expectation, ...] = ()
    """Checks in the short form."""
    freshness: Freshness | None = None
    """How old the data may be; without it, any age passes."""
    history: History | None = None
    """How many rows there may be, by those of earlier runs."""
    evolution: Literal["any", "add", "none"] = "any"
    """What may have changed in the columns since the last run that passed: ``add``: columns may be new; ``none``: nothing."""
    duplicates_at_most: Share | None = None
    """Share of the rows that may repeat an earlier row, all columns alike."""
    references: tuple[Reference, ...] = ()
    """Keys that must be found in other files."""
    label: LabelBalance | None = None
    """How the classes of the label must be spread."""
    drift: FileDrift | None = None
    """How far columns may have moved."""


class Data(Section, frozen=True):
    files: dict[str, DataFile] = {}
    """The files that the data gate reads, each under a name of your choice."""
    pull: Literal["auto", "always", "never"] = "auto"
    """``auto`` pulls with DVC when the repository has a default remote."""
    engine: Literal["auto", "gx", "spark"] = "auto"
    """``gx`` forces Great Expectations for every expectation; ``auto`` uses it only for what one query cannot answer; ``spark``
    runs its Spark engine, on the cluster that ``spark.master`` names."""
    spark: dict[str, str] = {}
    """Spark's own settings, such as ``spark.master`` (``local[*]`` without it)."""
    leakage: tuple[Leakage, ...] = ()
    """Pairs of files that must have nothing in common."""
    sample_rows: Positive = 20
    """How many failing values a result carries per expectation."""
