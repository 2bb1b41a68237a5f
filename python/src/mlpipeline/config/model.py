"""The shape of ``mlpipeline.yaml``. The JSON schema and the reference page are generated from these models.

Every field has a default except ``service`` and ``train.command``, so that the smallest file has three lines. Units are
part of the value (``30s``, ``2h``, ``512MiB``), never of the key.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Duration(float):
    """Seconds; written as ``500ms``, ``30s``, ``5m``, ``2h``, ``40d`` or a bare number of seconds."""


Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="lower-case letters, digits and dashes")]
Percent = Annotated[int, Meta(ge=1, le=99)]
Probability = Annotated[float, Meta(gt=0, lt=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Positive = Annotated[int, Meta(ge=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False, kw_only=True):
    """Base of all sections: immutable, unknown keys refused."""


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


class Train(Section, frozen=True):
    command: str
    """A shell command run at the project's root, in the project's own environment, such as ``dvc repro``."""
    timeout: Duration = Duration(4 * 3600)
    """After this long the training is ended, and the run fails."""
    model: str = "model"
    """Where the command leaves the MLflow model (a folder with an ``MLmodel`` file)."""
    metrics: str = ""
    """Optional JSON file of numbers the command leaves; logged to MLflow."""
    params: str = "params.yaml"
    """Optional YAML file of parameters; logged to MLflow when it exists."""
    sweep: Sweep | None = None
    """Several trainings with different parameters instead of one; the best on validation rows is the candidate."""


class Between(Section, frozen=True):
    """A range of a parameter to draw from."""

    low: float
    high: float
    log: bool = False
    """Draw evenly over the orders of magnitude."""
    whole: bool = False
    """Draw whole numbers."""


class Parameter(Section, frozen=True):
    """What one parameter of ``train.params`` may be: one of ``values``, or anything in ``between`` (random search only)."""

    values: tuple[str | int | float | bool, ...] = ()
    between: Between | None = None


class Sweep(Section, frozen=True):
    """Each trial is ``train.command`` in a copy of the project whose ``train.params`` file holds the trial's values."""

    metric: str
    """Name of a number in ``train.metrics``, measured on validation rows by the training itself, never on the holdout."""
    parameters: dict[str, Parameter] = {}
    """Dotted names in ``train.params``, such as ``fit.depth``, to what each may be."""
    larger_is_better: bool = True
    """Of that metric."""
    search: Literal["grid", "random"] = "grid"
    """``grid``: every combination of the values. ``random``: ``trials`` draws."""
    trials: Positive = 20
    """How many draws; a grid is cut off there only when it is larger, which is refused."""
    seed: int = 0
    """Of the draws."""
    workers: Annotated[int, Meta(ge=0)] = 0
    """Trials at the same time; 0: one per GPU that this call was given, without any one."""


class MetricGate(Section, frozen=True):
    """One metric of the model gate. At least one rule must be set.

    ``metric`` is ``accuracy``, ``balanced_accuracy``, ``roc_auc``, ``average_precision``, ``f1``, ``precision``, ``recall``,
    ``log_loss``, ``brier``, ``ece``, ``mae``, ``mse``, ``rmse``, ``r2`` or ``ndcg``; the name of another scikit-learn scorer; or
    ``module:function`` of the project, given what its parameters name (``y_true``, ``y_pred``, ``y_score``, ``rows``) and
    returns a number, or one number per row, whose mean is the metric.
    """

    metric: str
    at_least: float | None = None
    """The candidate's own value must not be below."""
    at_most: float | None = None
    """The candidate's own value must not be above."""
    no_worse_than_champion: NonInferiority | None = None
    """A loss of ``margin`` against the champion on the same rows must be excluded."""
    better_than_champion: bool = False
    """It must be shown to be better, with the confidence of ``no_worse_than_champion``, else 0.95."""
    slices: tuple[str, ...] = ()
    """Columns of the holdout, of which every value with ``min_rows`` rows must keep the rules too; or expressions over columns,
    such as ``distance > 1000 and origin == 'JFK'``, of which the rows that meet them must."""
    min_rows: Positive = 100
    """Rows that a slice needs to be judged; see ``gate.too_small_slice``."""
    limit_confidence: Probability | None = None
    """With it, ``at_least`` and ``at_most`` must hold with this one-sided confidence; without it, for the value itself."""
    larger_is_better: bool = True
    """Direction of a ``module:function``. Of all other metrics it is known."""
    by: str = ""
    """``ndcg`` only: the column whose equal values are one ranking, such as the query."""
    top: Annotated[int, Meta(ge=0)] = 0
    """``ndcg`` only: places of each ranking that count; 0: all."""


class NonInferiority(Section, frozen=True):
    margin: Annotated[float, Meta(ge=0)]
    """How much worse is still allowed, in the metric's own unit; that much or more must be excluded."""
    confidence: Probability = 0.95
    """One-sided."""


class Latency(Section, frozen=True):
    p99: Duration
    """The 99th percentile of single predictions must not be above."""
    predictions: Positive = 200
    """How many are timed, one after the other."""


class Fairness(Section, frozen=True):
    """Limits for the largest difference between two groups of rows, for two classes. Passing excludes a larger one."""

    by: str
    """The column whose values are the groups."""
    demographic_parity: Share | None = None
    """Of the share of rows that are said to be positive."""
    equal_opportunity: Share | None = None
    """Of the share of truly positive rows that are said to be positive."""
    equalised_odds: Share | None = None
    """Of that share and of the one among truly negative rows, whichever differs more."""
    confidence: Probability = 0.95
    """One-sided, over all pairs of groups together."""
    min_rows: Positive = 100
    """Rows that a group needs; smaller ones are named and left out."""


class Importance(Section, frozen=True):
    """How much worse the candidate gets when the values of one input column are shuffled."""

    metric: str = ""
    """Which of the metrics that this program knows itself; empty: the first of ``gate.metrics`` that it does."""
    max_share: Annotated[float, Meta(gt=0, le=1)] | None = None
    """No single column may hold more than this share of all that is lost."""
    must_matter: tuple[str, ...] = ()
    """Columns without which the candidate must be shown to be worse."""
    must_not_matter: tuple[str, ...] = ()
    """Columns without which it must not be shown to be worse."""
    rows: Positive = 2000
    """Rows of the holdout that are shuffled and predicted, drawn with ``gate.seed``."""
    confidence: Probability = 0.95


class AgreedCondition(Section, frozen=True):
    """A condition in the grammar of ease.ml/ci: ``n - o > 0.02 +/- 0.01 /\\ d < 0.1 +/- 0.01``.

    ``n`` is the candidate's accuracy, ``o`` the champion's, ``d`` the share of rows on which they disagree.
    """

    condition: str
    """Clauses joined by ``/\\``: a linear expression, ``>`` or ``<``, a number, and the tolerance after ``+/-``."""
    reliability: Probability = 0.99
    """Probability that every verdict of all ``steps`` is right, up to the tolerance."""
    mode: Literal["tolerance", "fp-free", "fn-free"] = "tolerance"
    """``tolerance``: either answer may be wrong by what ``+/-`` says, what is closer is inconclusive. ``fp-free``: passes only
    what is shown beyond the number itself, else fails. ``fn-free``: fails only what is shown not to be."""
    adaptivity: Literal["none", "first-change", "full"] = "full"
    """What the next candidate may have learned from earlier verdicts."""
    steps: Positive = 32
    """Verdicts on one holdout that the reliability covers; see ``gate.reuse.used_up``."""


class Reuse(Section, frozen=True):
    """One holdout judges many candidates: each comparison with a champion is counted, in the ledger, by the holdout's digest."""

    budget: Positive = 50
    """Comparisons that one holdout is good for."""
    correct: bool = True
    """Raise the confidence of each comparison so that all of the budget together keep the one that is configured."""
    used_up: Literal["inconclusive", "fail", "warn"] = "inconclusive"
    """What a candidate beyond the budget is."""


class Behaviour(Section, frozen=True):
    """A file of tests of what the candidate says: invariance, direction and minimum functionality."""

    file: str = ""
    """YAML; see the how-to page of the model gate."""


class ModelGate(Section, frozen=True):
    holdout: str = ""
    """Parquet or CSV with the label; read after ``train``, so the command may write it. Empty: no model gate."""
    label: str = ""
    """The column that holds the truth."""
    positive: str = ""
    """The positive class for two-class metrics; empty: the greater of the two labels."""
    metrics: tuple[MetricGate, ...] = ()
    """The rules; every one must pass."""
    latency: Latency | None = None
    """A limit for the time of a single prediction; without it, none is timed."""
    no_champion: Literal["pass", "fail"] = "pass"
    """What champion rules say while there is no champion."""
    too_small_slice: Literal["ignore", "inconclusive", "fail"] = "ignore"
    """What a slice with fewer than ``min_rows`` rows counts as."""
    resamples: Positive = 2000
    """How often the rows are drawn anew for the interval of a difference."""
    seed: int = 0
    """Of these draws: the same rows give the same verdict."""
    cluster: str = ""
    """Column of the entity (user, device) whose rows belong together: whole entities are drawn, so that intervals stay honest."""
    stratify: str = ""
    """Column whose shares of the rows are fixed by design: rows are drawn within each of its values."""
    slice_verdict: Literal["excluded", "shown"] = "excluded"
    """``excluded``: a loss must be excluded in every slice, each at the given confidence (all must hold, so nothing has to be
    corrected). ``shown``: a slice fails only when its loss is shown after Holm's correction for the number of slices."""
    champion_unusable: Literal["error", "pass", "fail"] = "error"
    """What champion rules say when its package is gone, cannot be loaded or gives no usable predictions."""
    champion_lacks_column: Literal["stop", "error", "pass", "fail"] = "stop"
    """What they say when the holdout has no longer a column the champion needs; ``stop``: an error of the configuration."""
    reuse: Reuse = Reuse()
    """How often one holdout may be used."""
    conditions: tuple[AgreedCondition, ...] = ()
    """Rules in the grammar of ease.ml/ci, which also hold where only some rows have labels."""
    fairness: tuple[Fairness, ...] = ()
    """Limits for differences between groups."""
    importance: Importance | None = None
    """Rules for what the candidate rests on."""
    behaviour: Behaviour = Behaviour()
    """Tests of what it says."""
    max_size: str = ""
    """Limit for the model's files, such as ``200MiB``."""
    max_memory: str = ""
    """Limit for the memory of the process that loads the model and predicts the holdout, such as ``2GiB``."""


class Package(Section, frozen=True):
    requirements: str = ""
    """Extra requirements file for serving; empty: the model's own ``requirements.txt``."""
    wheelhouse: str = ""
    """Folder of wheels to install from without a network."""
    lock: str = ""
    """File of the project that keeps the lock, such as ``serving.lock``; written when it is missing or of other requirements.
    Commit it: with it the same commit has the same environment on every machine and day. Empty: each machine locks once."""
    include: tuple[str, ...] = ()
    """Extra files or folders of the project that the model needs, placed under ``code/`` (on the import path)."""
    card: str = ""
    """Markdown file of the project that the model card begins with: what the model is for, and where it must not be used."""
    pins: Literal["auto", "required", "trained"] = "auto"
    """What becomes of a requirement of the model that names no version: ``required`` refuses it, ``trained`` takes the version
    that the training ran with. ``auto``: refused when an image is made."""
    version_differences: Literal["report", "fail"] = "report"
    """Whether packages that are locked in another version than the training ran with only stand in the result, or stop it."""


class Image(Section, frozen=True):
    """The container image that ``package`` makes besides the bundle; without ``base`` and ``dockerfile``, none is made."""

    base: str = ""
    """What it is built on, by digest: ``host/name@sha256:...`` in a registry, ``oci:FOLDER@sha256:...`` in an OCI layout, or
    ``docker-archive:FILE@sha256:...`` with the id of the image. It has the Python version of the model, such as 3.11."""
    dockerfile: str = ""
    """The project's own Dockerfile, built with a container engine, the bundle being its context; then there is no ``base``."""
    repository: str = ""
    """Where it is pushed to, such as ``registry.example.org/team/churn``; empty: nowhere."""
    layout: str = ""
    """Folder to write it to as an OCI layout; empty: ``.mlpipeline/image``, when it goes nowhere else."""
    archive: str = ""
    """File to write it to, for ``docker load``."""
    platform: Literal["linux/amd64", "linux/arm64"] = "linux/amd64"
    """The machines that it runs on; that of the worker, whose wheels are installed."""
    python: str = ""
    """Path of the interpreter in the base; empty: it is looked for in ``/usr/local/bin``, ``/usr/bin`` and the like."""
    version: str = ""
    """Semantic version of this model service, as label and tag; empty: ``git-`` and the commit."""
    labels: dict[str, str] = {}
    """Labels of your own, besides those of commit, data, model and run."""
    environment: dict[str, str] = {}
    """Environment variables of the serving process. No secrets: whoever has the image reads them."""
    gpus: Annotated[int, Meta(ge=0)] = 0
    """Devices that a container needs; 0: none."""
    warm_up_rows: Annotated[int, Meta(ge=0)] = 0
    """Rows of the largest request: so many are scored before a container is ready; 0: only the model's input example."""
    arguments: tuple[str, ...] = ()
    """More arguments of the serving process, such as ``--threads 8``; each word an entry."""
    plain_http: bool = False
    """Whether the registries are spoken to without TLS. One on this machine always is."""


class ScannerRule(Section, frozen=True):
    """How the findings of one scanner are judged."""

    policy: Literal["fail", "warn", "off"] = "fail"
    """``fail``: findings from ``fail_at`` on stop the release; ``warn``: they are only told; ``off``: it is not run."""
    fail_at: Literal["low", "medium", "high", "critical"] = "high"
    """The level from which findings count; all are told."""
    not_run: Literal["fail", "warn"] = "warn"
    """What it means that the scanner is not installed, breaks off, or takes too long. It is told either way, never as clean."""
    timeout: Duration = Duration(120)
    """How long it may take."""


class ModelFilesRule(ScannerRule, frozen=True):
    """As every scanner's, but what it could not look at stops the release."""

    not_run: Literal["fail", "warn"] = "fail"
    """As above."""


class Ignore(Section, frozen=True):
    """One finding that a person accepts until a day. Once that day is over it stops the release, needed or not."""

    id: str
    """The finding's id, as the gate told it."""
    reason: str
    """Why it is accepted."""
    person: str
    """Who accepted it."""
    expires: str
    """The last day on which it holds, such as ``2027-01-31``."""
    where: str = ""
    """A pattern of places such as ``tests/*``; empty: wherever it is found."""


class Security(Section, frozen=True):
    """What ``gate security`` looks at before a model is loaded or packaged."""

    model_files: ModelFilesRule = ModelFilesRule()
    """Our own look into every model file, never loading one: what it would import and run, and what cannot be read."""
    skops: ScannerRule = ScannerRule()
    """skops' allow-list of types, for ``.skops`` files."""
    picklescan: ScannerRule = ScannerRule()
    """A second opinion on pickles."""
    modelscan: ScannerRule = ScannerRule()
    """A third, on Keras and TensorFlow files too."""
    secrets: ScannerRule = ScannerRule()
    """detect-secrets, on what git tracks and what is packaged."""
    code: ScannerRule = ScannerRule(policy="off")
    """bandit, on the project's own Python code."""
    dependencies: ScannerRule = ScannerRule(policy="off")
    """pip-audit, or ``database``, on the locked requirements."""
    image: ScannerRule = ScannerRule(policy="off")
    """trivy or grype, on the image that ``package`` made."""
    allow: tuple[str, ...] = ()
    """Names, or prefixes of them, that model files may import besides those of the model's requirements: ``mylib.layers``."""
    allow_code_by_value: bool = False
    """Whether a model file may carry Python code of its own, as cloudpickle stores classes of the training script. Nobody can
    say what such code does; put it into a module and into the package instead."""
    data: tuple[str, ...] = ()
    """Patterns of files in the model's folder that are plain data, whatever their format: ``*.vocab``."""
    database: str = ""
    """Advisories in OSV's format (its zip, a folder, or one JSON file) for ``dependencies``; empty: pip-audit asks."""
    ignore: tuple[Ignore, ...] = ()
    """Findings that are accepted, each by name, for a reason, by a person, until a day."""


class CheckRule(Section, frozen=True):
    """One of the project's own checks."""

    command: str = ""
    """A shell command, run at the project's root. ``{junit}`` and ``{sarif}`` stand for files that are collected when it writes
    them. Empty: the tool's own, when the project has it configured."""
    timeout: Duration = Duration(1800)
    """After this long it is ended, and has failed."""
    not_run: Literal["fail", "warn"] = "warn"
    """What it means that its tool is not installed."""
    enabled: bool = True


class Tracking(Section, frozen=True):
    uri: str = ""
    """MLflow tracking and registry server; empty: a SQLite file of this service in the state folder."""
    experiment: str = ""
    """Empty: the service's name."""


class PublicKey(Section, frozen=True):
    """A key whose signatures count. When a key is changed, the old one stays here with ``valid_until``: what it signed in its
    time stays signed."""

    file: str
    """PEM file of the public key (ed25519 or ECDSA P-256), from the project's folder; commit it."""
    name: str = ""
    """Your name for it, in messages; empty: the file's name."""
    valid_from: str = ""
    """ISO time; empty: always was."""
    valid_until: str = ""
    """ISO time; empty: no end."""


class Signing(Section, frozen=True):
    """Who signs what is said of a package: its provenance, and people's approvals. At most one of ``key``, ``key_env`` and
    ``command``; with ``keys`` alone, this machine checks and does not sign."""

    key: str = ""
    """File of a PEM private key (ed25519 or ECDSA P-256), or a key of a key management service as cosign names it
    (``awskms://``, ``gcpkms://``, ``azurekms://``, ``hashivault://``, ``k8s://``, ``pkcs11:``), which cosign then asks."""
    key_env: str = ""
    """Name of an environment variable that holds the PEM private key, as it is or in Base64."""
    password_env: str = ""
    """Name of an environment variable that holds the password of an encrypted key."""
    command: str = ""
    """A shell command that gets what is to be signed on standard input and prints the signature, raw or in Base64: ed25519
    over the input, or ECDSA P-256 over its SHA-256 (DER)."""
    keys: tuple[PublicKey, ...] = ()
    """The public keys that count, old ones included."""


class Ledger(Section, frozen=True):
    """Where decisions are kept."""

    uri: str = ""
    """Empty: a SQLite file in the state folder of the service. ``postgresql://USER@HOST/DATABASE``: one ledger for many agents;
    ``$NAME`` is replaced from the environment, so that no password stands in the file."""


class Serving(Section, frozen=True):
    """Limits of one serving process, and what it keeps of requests."""

    queue: Annotated[int, Meta(ge=0)] = 128
    """Requests that may wait for the model; one more is refused at once, with ``Retry-After``."""
    when_full: Literal["unavailable", "too-many-requests"] = "unavailable"
    """How: 503, which verification counts as a failure of the candidate, or 429, which it counts as the client's own."""
    body_limit: str = "64MiB"
    """Largest body of a request; a larger one is answered with 413."""
    time_limit: Duration = Duration(60)
    """How long one request may take, waiting included; then it is answered with 504, or 408 when it never arrived whole."""
    log_requests: bool = False
    """Whether every request is a line of the log (JSON, with its ``x-request-id``), not only those that fail."""
    sample: Share = 0.0
    """Share of the answered requests that is kept with its answers, for replays and for labels that arrive late. The file holds
    what clients sent: think of whose data that is."""
    sample_size: str = "64MiB"
    """What the sample may take on the disk; the oldest is left behind."""


class Local(Section, frozen=True):
    port: Port = 8080
    """Where users reach the service."""
    host: str = "127.0.0.1"
    """The address the router listens on."""
    ready_timeout: Duration = Duration(120)
    """How long a started model may take until it answers."""
    drain_timeout: Duration = Duration(30)
    """How long requests in flight may take when a model's process is ended."""
    threads: Positive = 2
    """Worker threads of each serving process."""
    serving: Serving = Serving()
    """Limits of each serving process. A sample is kept in the service's state folder, as ``local/<colour>/requests.jsonl``."""
    keep_answers: Annotated[int, Meta(ge=0)] = 0
    """How many of its newest answers each colour keeps in memory, for ``verify.disagreement``, which sets 2000 when this is 0."""


class Docker(Section, frozen=True):
    """Containers of one Docker host, on which the worker runs too; engine 20.10 or newer."""

    router_image: str = ""
    """Image of Envoy, pinned: ``host/name@sha256:...``, or ``sha256:...`` for one that the engine has."""
    port: Port = 8080
    """Where users reach the service."""
    host: str = "127.0.0.1"
    """The address of this machine on which users reach the service; ``0.0.0.0``: on all."""
    engine: str = ""
    """Address of the engine; empty: ``$DOCKER_HOST``, else the socket of this machine."""
    network: Literal["bridge", "host"] = "bridge"
    """``bridge``: a network of the service's own, its ports published on loopback. ``host``: the machine's network, everything
    but the users' address on loopback; for engines without bridges."""
    ready_timeout: Duration = Duration(120)
    """How long a started model may take until it answers."""
    drain_timeout: Duration = Duration(30)
    """How long requests in flight may take when a model's container is ended."""
    threads: Positive = 2
    """Worker threads of each serving process."""
    serving: Serving = Serving()
    """Limits of each serving process. A sample is kept in its ``/tmp``, as ``requests.jsonl``, and ends with the container."""
    memory: str = ""
    """Memory of each model's container, such as ``4GiB``, swap included; empty: as much as the machine has."""
    cpus: Annotated[float, Meta(ge=0)] = 0
    """Processors of each model's container, such as ``1.5``; 0: all."""
    processes: Positive = 1024
    """Processes and threads in each container."""
    scratch: str = "256MiB"
    """Size of ``/tmp``, the only place where a container may write; it counts as its memory."""
    gpus: str = ""
    """``all``, devices such as ``0,1``, or ``leased``: those of ``$MLPIPELINE_GPUS`` or ``$CUDA_VISIBLE_DEVICES``. Empty: as many
    as ``image.gpus`` says."""
    environment: dict[str, str] = {}
    """More environment variables of the serving process. No secrets: whoever may ask the engine reads them."""
    restart: Literal["unless-stopped", "on-failure", "no"] = "unless-stopped"
    """What the engine does with a container that ends by itself once it had been ready."""
    log_size: str = "10MiB"
    """Size of one log file of a container; three are kept."""
    keep_images: Positive = 3
    """How many images of the service the engine keeps besides those that containers use."""


class Target(Section, frozen=True):
    kind: Literal["local", "docker"] = "local"
    local: Local = Local()
    docker: Docker = Docker()


class Approval(Section, frozen=True):
    required: bool = False
    """Whether people must approve before users are moved."""
    quorum: Positive = 1
    """How many different people."""
    requester_may_approve: bool = True
    """Whether the one who started the run counts."""
    valid_for: Duration = Duration(24 * 3600)
    """An older approval does not count."""
    unattended: Literal["hold", "proceed", "reject"] = "hold"
    """What an unattended (nightly) run does when approval is required."""


class Rollout(Section, frozen=True):
    mirror: Duration = Duration(30)
    """How long the candidate answers copies of user requests before it answers users; 0: no mirroring."""
    steps: tuple[Percent, ...] = (10, 50)
    """Percent of user traffic at each step before all of it."""
    step: Duration = Duration(30)
    """How long each of these steps is watched."""
    bake: Duration = Duration(60)
    """How long the old colour stays warm, and a control slice on it, after the last step."""
    control: Annotated[int, Meta(ge=0, le=50)] = 10
    """Percent of users who stay on the old colour during the bake, so that the verdict has a concurrent control."""
    settle_switch: Duration = Duration(30)
    """How long the proof that traffic moved may take."""
    hold: Duration = Duration(120)
    """How long a monitoring outage is waited out before traffic goes back."""
    smoke: str = ""
    """JSON file with a scoring request for the first probe; empty: the model's own input example when it has one."""


class ErrorRule(Section, frozen=True):
    """Server errors per request, candidate against champion."""

    enabled: bool = True
    """Whether errors are compared."""
    margin: Annotated[float, Meta(gt=1)] = 2.0
    """Harm: the candidate's rate is at least this many times the champion's. Passing excludes it."""
    tolerate: Share = 0.001
    """Absolute rate below which a difference never fails a release."""


class LatencyRule(Section, frozen=True):
    """Requests slower than the objective per request, candidate against champion."""

    enabled: bool = True
    """Whether latency is compared."""
    objective: Duration = Duration(0.25)
    """A request that takes longer counts as slow; the nearest boundary of the server's histogram is used."""
    margin: Annotated[float, Meta(gt=1)] = 2.0
    """Harm: the candidate's share of slow requests is at least this many times the champion's."""
    tolerate: Share = 0.01
    """Share of slow requests below which a difference never fails a release."""


class Condition(Section, frozen=True):
    """A PromQL condition with ``success`` and ``failure`` expressions over ``result``, such as ``result < 0.01``.

    ``{{service}}``, ``{{candidate}}`` and ``{{champion}}`` in the query stand for the names of this release.
    """

    name: str
    """Your name for it, in reports."""
    query: str
    """PromQL that answers with one number."""
    success: str = ""
    """When it holds, the measurement passes; without ``failure``, it fails when this does not hold."""
    failure: str = ""
    """When it holds, the measurement fails, whatever ``success`` says."""
    interval: Duration = Duration(10)
    """Between two measurements."""
    count: Positive = 1
    """How many measurements are needed; fewer are inconclusive."""
    initial_delay: Duration = Duration(0)
    """Before the first one."""
    failure_limit: Annotated[int, Meta(ge=0)] = 0
    """Failed measurements that are still forgiven."""
    inconclusive_limit: Annotated[int, Meta(ge=0)] = 0
    """Inconclusive measurements that are still forgiven."""
    consecutive_error_limit: Annotated[int, Meta(ge=0)] = 4
    """Queries that may break one after the other."""
    dry_run: bool = False
    """Measured and shown, but no part of the verdict."""
    nan: Literal["inconclusive", "fail", "pass"] = "inconclusive"
    """What an answer with ``NaN`` is."""
    infinity: Literal["inconclusive", "fail", "pass", "number"] = "inconclusive"
    """What an infinite answer is; ``number``: compared like any other."""
    empty: Literal["inconclusive", "fail", "pass", "zero"] = "inconclusive"
    """What no answer is; ``zero``: as if the query had answered 0."""
    stale: Literal["inconclusive", "fail", "pass", "ignore"] = "inconclusive"
    """What an answer is whose series were not scraped for ``stale_after``; ``ignore``: their age is not asked for."""
    stale_after: Duration = Duration(120)
    """Age of the newest scrape from which an answer is stale; several of Prometheus' scrape intervals."""
    several: Literal["inconclusive", "fail", "pass", "every", "any"] = "inconclusive"
    """What several series are where the expression wants one number; ``every``: each has to pass, ``any``: one is enough."""


class ScoredMetric(Section, frozen=True):
    """One metric of a score; ``{{colour}}`` in the query stands for the candidate in one query and the champion in the other."""

    name: str
    query: str
    group: str = ""
    """Whose weight it shares; needed when ``groups`` are given."""
    direction: Literal["increase", "decrease", "either"] = "increase"
    """Which change harms."""
    critical: bool = False
    """Harm, missing data or a refused query makes the whole score 0."""
    mute: bool = False
    """Shown, never counted."""
    must_have_data: bool = False
    """No data counts as harm; otherwise the metric is left out."""
    effect: Annotated[float, Meta(ge=0)] = 0.0
    """Relative change of the mean (``0.1``: by a tenth) up to which a significant difference is no harm."""
    critical_effect: Annotated[float, Meta(ge=0)] = 0.0
    """Relative change of the mean from which harm is critical; 0: never."""
    missing: Literal["remove", "zero"] = "remove"
    """What an empty, NaN, infinite or ambiguous answer is: no sample, or the sample 0."""


class ScoreRule(Section, frozen=True):
    """A Kayenta-like score, taken at the end of each stage over all looks; no metrics: no score.

    A metric is harmed when the difference is significant (Mann-Whitney) and larger than its ``effect``.
    """

    metrics: tuple[ScoredMetric, ...] = ()
    groups: dict[str, Annotated[float, Meta(ge=0)]] = {}
    """Name to weight; the weights total 100. Empty: all metrics weigh the same."""
    pass_at: Annotated[float, Meta(ge=0, le=100)] = 95.0
    """Points from which the score passes."""
    marginal_at: Annotated[float, Meta(ge=0, le=100)] = 75.0
    """Points below which it fails; between the two it is inconclusive."""
    confidence: Probability = 0.98
    """Of the interval that says which differences are significant."""


class PredictionsRule(Section, frozen=True):
    """How often each class is predicted, by candidate and champion over the same seconds; of our own server only."""

    enabled: bool = False
    effect: Annotated[float, Meta(gt=1)] = 1.25
    """A class that is predicted up to so many times as often, or as seldom, is no harm: a new model may differ somewhat."""
    margin: Annotated[float, Meta(gt=1)] = 2.0
    """A difference that has to be excluded before the release may pass early; more than ``effect``."""


class DisagreementRule(Section, frozen=True):
    """While users' requests are copied: the candidate's answer against the champion's, request by request."""

    enabled: bool = False
    """Compare them. The colours of the local target then keep their newest answers in memory, joined by ``x-request-id``."""
    allowed: Probability = 0.05
    """Share of requests that may be answered differently; a new model is meant to differ somewhat. More is harm."""
    tolerance: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    """Relative difference up to which two numbers are the same answer."""


class AccuracyRule(Section, frozen=True):
    """Who was wrong more often, by labels that arrive while the release is watched: files or tables joined by request id, or
    counters of Prometheus. Without a label nothing is said for or against the candidate."""

    enabled: bool = False
    predictions: str = ""
    """Parquet, CSV, or a file of DuckDB or SQLite with one row per answer: what was predicted, by which colour."""
    labels: str = ""
    """The same with one row per label; empty: it stands beside the prediction."""
    predictions_table: str = ""
    """Of a database, which table or view."""
    labels_table: str = ""
    """Of a database, which table or view."""
    request: str = "request_id"
    """Column that joins them."""
    colour: str = "colour"
    """Column of ``predictions`` with ``blue`` or ``green``."""
    prediction: str = "prediction"
    truth: str = "label"
    time: str = ""
    """Column with the moment of the answer, so that answers of an earlier release are left out."""
    tolerance: Annotated[float, Meta(ge=0)] = 0.0
    """Relative difference up to which a number is right."""
    labelled_query: str = ""
    """PromQL of how many answers of ``{{colour}}`` have their label so far: a counter, in place of files."""
    wrong_query: str = ""
    """PromQL of how many of these were wrong."""
    interval: Duration = Duration(30)
    """Between two looks for labels."""
    margin: Annotated[float, Meta(gt=1)] = 1.5
    """Harm: the candidate is wrong at least this many times as often as the champion."""
    tolerate: Share = 0.0
    """Share of wrong answers below which a difference never fails a release."""


class PrometheusTls(Section, frozen=True):
    """For a Prometheus behind ``https``. The certificate is always verified. Paths start at the project."""

    ca: str = ""
    """PEM file with the authorities to trust; empty: the usual public ones, or ``REQUESTS_CA_BUNDLE``."""
    certificate: str = ""
    """PEM file with the worker's own certificate, where the server asks for one."""
    key: str = ""
    """PEM file with its key; empty: it stands in the same file."""


class PrometheusLogin(Section, frozen=True):
    """Basic authentication; a bearer token goes into ``headers``."""

    user: str = ""
    password: str = ""
    """``$NAME`` is replaced from the environment, so that no secret stands in the file."""


class VerdictExport(Section, frozen=True):
    """The verdict as metrics, for dashboards: ``mlpipeline_verify_verdict``, ``..._distance`` and others.

    They always stand in ``verify.prom`` in the service's state folder too.
    """

    textfile: str = ""
    """A file ending in ``.prom`` in a folder of node_exporter's textfile collector; written after each look."""
    pushgateway: str = ""
    """URL of a Pushgateway that is told after each look."""


class Verify(Section, frozen=True):
    prometheus: str = ""
    """URL of a Prometheus; empty: the local target starts one of its own."""
    pack: Literal["serving", "envoy", "kserve", "triton", "vllm", "mlserver", "tf-serving", "dcgm"] = "serving"
    """Whose metrics are read: our own server's and router's, or another runtime's with labels ``service`` and ``colour``."""
    interval: Duration = Duration(2)
    """Between two looks."""
    timeout: Duration = Duration(10)
    """How long one query may take."""
    headers: dict[str, str] = {}
    """Sent with each query, such as the tenant of Mimir; ``$NAME`` is replaced from the environment, so that no secret
    stands in the file."""
    login: PrometheusLogin = PrometheusLogin()
    """Who asks, where Prometheus wants a user and a password."""
    tls: PrometheusTls = PrometheusTls()
    """Whom to trust, where Prometheus speaks ``https``."""
    false_alarm: Probability = 0.01
    """Probability that a healthy release is taken back, over all metrics and all looks of the release together."""
    min_requests: Positive = 50
    """Requests that each colour must have answered before a pass is possible."""
    futility: bool = True
    """End a stage as inconclusive as soon as the evidence that a pass needs cannot come in the time that is left."""
    errors: ErrorRule = ErrorRule()
    """How errors are compared."""
    latency: LatencyRule = LatencyRule()
    """How slow requests are compared."""
    predictions: PredictionsRule = PredictionsRule()
    """How the distribution of predicted classes is compared."""
    disagreement: DisagreementRule = DisagreementRule()
    """How answers to mirrored requests are compared."""
    accuracy: AccuracyRule = AccuracyRule()
    """How answers are compared with labels that arrive later."""
    conditions: tuple[Condition, ...] = ()
    """PromQL conditions, besides the comparisons."""
    score: ScoreRule = ScoreRule()
    """A score over several metrics, besides the comparisons."""
    export: VerdictExport = VerdictExport()
    """Where verdict and distance to the threshold are exported to."""


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
    """Parquet or CSV with one row per prediction whose truth has arrived."""
    truth: str = "label"
    prediction: str = "prediction"
    metric: Literal["accuracy", "mae"] = "accuracy"
    at_least: float | None = None
    at_most: float | None = None
    min_rows: Positive = 200
    predictions: str = ""
    """Where the predictions stand when ``labels`` has only the truth: Parquet, CSV, or a file of DuckDB or SQLite."""
    predictions_table: str = ""
    labels_table: str = ""
    request: str = "request_id"
    """Column that joins the two."""
    version: str = "model_version"
    """Column with the version that answered; only the champion's rows count, for ``drop``."""
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
    data: DataDrift = DataDrift()
    live: LiveDrift = LiveDrift()
    accuracy: Decay = Decay()
    prune: Prune = Prune()


class Config(Section, frozen=True):
    """The whole file."""

    service: Name
    """Its name: in the registry, the metrics, the ledger and the state folder."""
    train: Train
    """How a model is made."""
    data: Data = Data()
    """What the data must keep before anything is trained."""
    gate: ModelGate = ModelGate()
    """What a model must keep before it is packaged."""
    security: Security = Security()
    """What is looked for in model files, secrets, code and dependencies."""
    checks: dict[str, CheckRule] = {}
    """The project's own lint, types and tests, by name. ``lint``, ``types`` and ``tests`` are ruff, mypy and pytest where the
    project has them configured; other names are commands of yours."""
    package: Package = Package()
    """What goes into the package besides the model."""
    image: Image = Image()
    """The container image of the package."""
    tracking: Tracking = Tracking()
    """Where MLflow keeps trainings and versions."""
    target: Target = Target()
    """Where the service runs."""
    signing: Signing = Signing()
    """Who signs what is said of a package, and whose signatures count."""
    ledger: Ledger = Ledger()
    """Where decisions are kept."""
    approval: Approval = Approval()
    """Who must agree."""
    rollout: Rollout = Rollout()
    """How users are moved."""
    verify: Verify = Verify()
    """How candidate and champion are compared while that happens."""
    nightly: Nightly = Nightly()
    """What is looked at every night."""
