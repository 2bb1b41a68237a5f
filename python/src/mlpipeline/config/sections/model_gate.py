"""The model gate, as it is configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.values import Duration, Positive, Probability, Section, Share


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
    """Limits for the largest difference between two groups of rows. Passing excludes a larger one. With more than two classes
    each is the positive one in turn, and the limits hold for all of them."""

    by: str
    """The column whose values are the groups."""
    demographic_parity: Share | None = None
    """Of the share of rows that are said to be positive."""
    equal_opportunity: Share | None = None
    """Of the share of truly positive rows that are said to be positive."""
    equalised_odds: Share | None = None
    """Of that share and of the one among truly negative rows, whichever differs more."""
    confidence: Probability = 0.95
    """One-sided, over all pairs of groups and all classes together."""
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
