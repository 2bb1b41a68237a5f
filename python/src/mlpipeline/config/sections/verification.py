"""Verification, as it is configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.values import Duration, Positive, Probability, Section, Share


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
    interval: Duration | None = None
    """Between two measurements, rounded up to a multiple of ``verify.interval``, as they are taken at looks; 10 s where only
    ``count`` is given. Without ``count``: measured so until the watch ends."""
    count: Positive | None = None
    """How many measurements are needed; fewer are inconclusive. Not given: with ``interval`` at least one that passes, without it
    one."""
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
    """Harm, a refused query, or data missing at more than half of the looks make the whole score 0."""
    mute: bool = False
    """Shown, never counted."""
    must_have_data: bool = False
    """No data at all counts as harm; otherwise the metric is left out, and with the last one of a group the group's points."""
    effect: Annotated[float, Meta(ge=0)] = 0.0
    """Relative change of the mean (``0.1``: by a tenth) up to which a significant difference is no harm."""
    critical_effect: Annotated[float, Meta(ge=0)] = 0.0
    """Relative change of the mean from which harm is critical; 0: never."""
    missing: Literal["remove", "zero"] = "remove"
    """What an empty, NaN, infinite or ambiguous answer is: no sample, or the sample 0; a metric that is ``critical`` or
    ``must_have_data`` and never answered a number has no data either way."""


class ScoreRule(Section, frozen=True):
    """A Kayenta-like score, taken at the end of each stage over all looks; no metrics: no score.

    A metric is harmed when the difference is significant (Mann-Whitney) and larger than its ``effect``. What one scrape answers
    at several looks is one sample; 98 % need five of each colour.
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
    """How often each class is predicted, or a number above certain bounds, by candidate and champion over the same seconds; of
    our own server only."""

    enabled: bool = False
    effect: Annotated[float, Meta(gt=1)] = 1.25
    """What is predicted up to so many times as often, or as seldom, is no harm: a new model may differ somewhat."""
    margin: Annotated[float, Meta(gt=1)] = 2.0
    """A difference that has to be excluded before the release may pass early; more than ``effect``."""


class DisagreementRule(Section, frozen=True):
    """While users' requests are copied: the candidate's answer against the champion's, request by request."""

    enabled: bool = False
    """Compare them. The colours of the target then keep their newest answers in memory, joined by ``x-request-id``."""
    allowed: Probability = 0.05
    """Share of requests that may be answered differently; a new model is meant to differ somewhat. More is harm."""
    tolerance: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    """Relative difference up to which two numbers are the same answer."""


class AccuracyRule(Section, frozen=True):
    """Who was wrong more often, by labels that arrive while the release is watched: files or tables joined by request id, or
    counters of Prometheus. Without a label nothing is said for or against the candidate."""

    enabled: bool = False
    predictions: str = ""
    """Parquet, CSV, a file of DuckDB or SQLite, or ``postgresql://`` with one row per answer: what was predicted, by which
    colour. ``$NAME`` in an address is replaced from the environment."""
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
    early_pass: bool = False
    """End a stage as soon as harm of every metric's ``margin`` is excluded in it, a quarter of it and a minute at the earliest.
    Harm below the margin is then found less often. With a score stages last as planned; late labels are not waited for."""
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
