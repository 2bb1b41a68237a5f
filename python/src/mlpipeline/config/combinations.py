"""Configurations whose every value is right, but which make no sense together."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime

from mlpipeline.config.model import Config
from mlpipeline.config.sections.data import Expectation
from mlpipeline.config.sections.model_gate import MetricGate
from mlpipeline.config.sections.verification import Condition, ScoreRule, Verify
from mlpipeline.config.shape import Problem, closest
from mlpipeline.config.text import Way

METRICS = (
    *("accuracy", "balanced_accuracy", "roc_auc", "average_precision", "f1", "precision", "recall", "log_loss", "brier"),
    *("mae", "mse", "rmse", "r2", "ece"),
)
NDCG = "ndcg"
SCORERS = (
    *("adjusted_mutual_info_score", "adjusted_rand_score", "completeness_score", "d2_absolute_error_score", "d2_brier_score"),
    *("d2_log_loss_score", "explained_variance", "f1_macro", "f1_micro", "f1_samples", "f1_weighted", "fowlkes_mallows_score"),
    *("homogeneity_score", "jaccard", "jaccard_macro", "jaccard_micro", "jaccard_samples", "jaccard_weighted"),
    *("matthews_corrcoef", "mutual_info_score", "neg_brier_score", "neg_log_loss", "neg_max_error"),
    *("neg_mean_absolute_error", "neg_mean_absolute_percentage_error", "neg_mean_gamma_deviance", "neg_mean_poisson_deviance"),
    *("neg_mean_squared_error", "neg_mean_squared_log_error", "neg_median_absolute_error", "neg_negative_likelihood_ratio"),
    *("neg_root_mean_squared_error", "neg_root_mean_squared_log_error", "normalized_mutual_info_score"),
    *("positive_likelihood_ratio", "precision_macro", "precision_micro", "precision_samples", "precision_weighted", "rand_score"),
    *("recall_macro", "recall_micro", "recall_samples", "recall_weighted", "roc_auc_ovo", "roc_auc_ovo_weighted", "roc_auc_ovr"),
    *("roc_auc_ovr_weighted", "top_k_accuracy", "v_measure_score"),
)
"""scikit-learn's, besides those that this program computes itself; a test holds the list to the library."""
UNBOUNDED_ABOVE = ("log_loss", "mae", "mse", "rmse")
UNBOUNDED_BELOW = ("r2",)
COLUMN_TYPES = ("integer", "number", "string", "boolean", "timestamp")


def is_function(metric: str) -> bool:
    """Whether it is ``module:function`` of the project."""
    module, _, name = metric.partition(":")
    parts = [*module.split("."), *name.split(".")]
    return bool(name) and all(part.isidentifier() for part in parts)


def known_metric(metric: str) -> bool:
    return metric in METRICS or metric == NDCG or metric in SCORERS or is_function(metric)


def has_rule(config: Config) -> bool:
    """Whether the model gate has anything to judge by."""
    gate = config.gate
    judged = (gate.metrics, gate.latency, gate.conditions, gate.fairness, gate.importance, gate.behaviour.file)
    return any(bool(one) for one in (*judged, gate.max_size, gate.max_memory))


def problems(config: Config) -> Iterator[Problem]:
    """What makes the configuration impossible."""
    yield from _train(config)
    yield from _sweep(config)
    yield from _data(config)
    yield from _gate(config)
    yield from _rollout(config)
    yield from _verify(config)
    yield from _nightly(config)
    yield from _security(config)
    yield from _serving(config)
    yield from _checks(config)
    yield from _signing(config)
    yield from _image(config)
    yield from _docker(config)
    if config.approval.quorum > 1 and not config.approval.required:
        yield Problem(
            ("approval", "quorum"),
            f"approval.quorum is {config.approval.quorum}, but approval.required is false, so nobody is asked",
            example="approval:\n  required: true\n  quorum: 2",
        )


def warnings(config: Config) -> Iterator[str]:
    """What is allowed but probably not meant."""
    rollout, verify = config.rollout, config.verify
    if rollout.bake and not rollout.control:
        yield "rollout.control is 0: the bake has no concurrent control, so its comparisons add nothing to the verdict"
    for name, seconds in (("rollout.mirror", rollout.mirror), ("rollout.step", rollout.step if rollout.steps else 0)):
        if 0 < seconds < verify.interval:
            yield f"{name} is shorter than verify.interval ({verify.interval:g} s): at most one look fits into it"
    if config.security.model_files.policy != "fail":
        yield f"security.model_files.policy is {config.security.model_files.policy}: a model that runs code would be released"
    if config.gate.holdout == "":
        yield "gate.holdout is not set: no model gate stands between a worse candidate and the users"


def _security(config: Config) -> Iterator[Problem]:
    example = "ignore:\n  - {id: CVE-2026-1234, reason: not reachable, person: mara, expires: 2027-01-31}"
    for index, ignore in enumerate(config.security.ignore):
        way: Way = ("security", "ignore", index)
        for key in ("id", "reason", "person"):
            if not getattr(ignore, key).strip():
                yield Problem((*way, key), f"an ignore without its {key} accepts nothing", example=example)
        if not _is_day(ignore.expires):
            yield Problem((*way, "expires"), f"expires is no day: {ignore.expires!r}", example=example)
    for index, name in enumerate(config.security.allow):
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
            yield Problem(
                ("security", "allow", index), f"{name!r} is no name of a Python module", example="allow: [mylib.layers]"
            )


def _checks(config: Config) -> Iterator[Problem]:
    for name, check in config.checks.items():
        way: Way = ("checks", name)
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", name):
            yield Problem(
                way, f"a check's name is lower-case letters, digits, - and _, not {name!r}", example="checks:\n  docs: {}"
            )
        if name not in {"lint", "types", "tests"} and check.enabled and not check.command.strip():
            yield Problem(
                (*way, "command"),
                f"the check {name} has no command, and only lint, types and tests have one of their own",
                example=f"checks:\n  {name}:\n    command: make {name}",
            )
        if not check.timeout:
            yield Problem((*way, "timeout"), f"checks.{name}.timeout is 0, so it can never end in time", example="timeout: 10m")


def _serving(config: Config) -> Iterator[Problem]:
    for kind in ("local", "docker"):
        serving = getattr(config.target, kind).serving
        for key in ("body_limit", "sample_size"):
            size = getattr(serving, key)
            if not re.fullmatch(r"[1-9][0-9]{0,5}(KiB|MiB|GiB)", size):
                way: Way = ("target", kind, "serving", key)
                yield Problem(way, f"{'.'.join(map(str, way))} must be a size such as 64MiB", found=repr(size))
        if not serving.time_limit:
            way = ("target", kind, "serving", "time_limit")
            yield Problem(way, "a time limit of 0 refuses every request", example="time_limit: 60s")


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text))


def _nightly(config: Config) -> Iterator[Problem]:
    nightly = config.nightly
    if nightly.at_least > nightly.of:
        yield Problem(
            ("nightly", "at_least"),
            f"nightly.at_least is {nightly.at_least}, but only the last {nightly.of} looks count (nightly.of)",
            example="nightly:\n  at_least: 2\n  of: 3",
        )
    decay = nightly.accuracy
    if decay.query and decay.labels:
        yield Problem(("nightly", "accuracy", "labels"), "nightly.accuracy has a query and a file of labels; choose one")
    if decay.drop is not None and not decay.labels:
        yield Problem(
            ("nightly", "accuracy", "drop"),
            "nightly.accuracy.drop compares answers with their labels, and labels is not set",
            example="nightly:\n  accuracy:\n    labels: labels.parquet",
        )
    limits = (decay.at_least, decay.at_most, decay.drop)
    if (decay.query or decay.labels) and all(limit is None for limit in limits):
        yield Problem(
            ("nightly", "accuracy"),
            "nightly.accuracy measures something, but has no limit",
            example="nightly:\n  accuracy:\n    at_least: 0.8",
        )


_SEMANTIC_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)


def _image(config: Config) -> Iterator[Problem]:
    image = config.image
    if image.base and image.dockerfile:
        yield Problem(("image", "dockerfile"), "image.base and image.dockerfile are both set; an image is built in one way")
    if not image.base and not image.dockerfile:
        for key in ("repository", "layout", "archive"):
            if getattr(image, key):
                yield Problem(
                    ("image", key),
                    f"image.{key} is set, but there is no image.base, so no image is made",
                    example="image:\n  base: registry.example.org/debian/python@sha256:...",
                )
    if image.repository:
        from mlpipeline.core.image import repository

        try:
            repository(image.repository)
        except ValueError as error:
            yield Problem(("image", "repository"), str(error), example="image:\n  repository: registry.example.org/team/churn")
    if image.version and (not _SEMANTIC_VERSION.fullmatch(image.version) or len(image.version) > 100):
        yield Problem(
            ("image", "version"),
            f"image.version is not a semantic version: {image.version!r}",
            example="image:\n  version: 1.4.0",
        )
    for name in image.environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield Problem(("image", "environment"), f"{name!r} is not the name of an environment variable")


def _docker(config: Config) -> Iterator[Problem]:
    if config.target.kind != "docker":
        return
    from mlpipeline.core.gpu import bytes_of
    from mlpipeline.core.image import is_digest

    docker, pinned = config.target.docker, "registry.example.org/envoyproxy/envoy@sha256:..."
    if not (config.image.base or config.image.dockerfile):
        yield Problem(
            ("target", "kind"),
            "target.kind is docker, but there is no image.base, so no image is made that could run there",
            example="image:\n  base: registry.example.org/debian/python@sha256:...",
        )
    if not is_digest(docker.router_image.rpartition("@")[2]):
        yield Problem(
            ("target", "docker", "router_image"),
            "target.docker.router_image must name an image of Envoy by its digest",
            found=repr(docker.router_image) if docker.router_image else "",
            example=f"target:\n  docker:\n    router_image: {pinned}",
        )
    for key in ("memory", "scratch", "log_size"):
        size = getattr(docker, key)
        try:
            fits = (not size and key == "memory") or bytes_of(size) > 0
        except ValueError:
            fits = False
        if not fits:
            yield Problem(
                ("target", "docker", key), f"target.docker.{key} must be a size such as 4GiB or 512MiB", found=repr(size)
            )
    for name in docker.environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield Problem(("target", "docker", "environment"), f"{name!r} is not the name of an environment variable")


def _signing(config: Config) -> Iterator[Problem]:
    signing = config.signing
    for key in ("key", "key_env", "command", "password_env"):
        if "PRIVATE KEY" in getattr(signing, key):
            # The value is told nowhere: this file is committed, and errors are archived.
            yield Problem(
                ("signing", key),
                f"signing.{key} holds a private key itself, which belongs into no file that is committed; change the key",
                example="signing:\n  key_env: RELEASE_KEY",
                found="a private key",
            )
            return
    ways = [key for key in ("key", "key_env", "command") if getattr(signing, key)]
    if len(ways) > 1:
        yield Problem(
            ("signing", ways[1]),
            f"signing.{ways[0]} and signing.{ways[1]} are both set; one of them signs",
            example="signing:\n  key_env: RELEASE_KEY",
        )
    if ways and not signing.keys:
        yield Problem(
            ("signing", "keys"),
            f"signing.{ways[0]} signs, but signing.keys names no public key to check it with",
            example="signing:\n  keys:\n    - file: keys/release.pub",
        )
    for index, known in enumerate(signing.keys):
        for field in ("valid_from", "valid_until"):
            value = getattr(known, field)
            if value and not _is_time(value):
                yield Problem(
                    ("signing", "keys", index, field),
                    f"signing.keys[{index}].{field} is not an ISO time: {value!r}",
                    example=f"{field}: 2026-12-31T23:59:59Z",
                )
        if known.valid_from and known.valid_until and not _in_order(known.valid_from, known.valid_until):
            yield Problem(
                ("signing", "keys", index, "valid_until"),
                f"signing.keys[{index}].valid_until is not after valid_from, so the key would never count",
                example="valid_until: 2026-12-31T23:59:59Z",
            )
    if config.ledger.uri and not config.ledger.uri.startswith(("postgresql://", "postgres://", "$")):
        yield Problem(
            ("ledger", "uri"),
            "ledger.uri is no address of a PostgreSQL database",
            example="ledger:\n  uri: postgresql://mlpipeline:$LEDGER_PASSWORD@database/ledger",
        )


def _train(config: Config) -> Iterator[Problem]:
    train = config.train
    if not train.command.strip():
        yield Problem(
            ("train", "command"), "train.command is empty, so nothing would make a model", example="train:\n  command: dvc repro"
        )
    if not train.timeout:
        yield Problem(
            ("train", "timeout"), "train.timeout is 0, so no training can ever end in time", example="train:\n  timeout: 4h"
        )
    parts = posixpath.normpath(train.model or ".").split("/")
    if parts[0] in {"", ".", ".."}:
        yield Problem(
            ("train", "model"),
            f"train.model must be a folder of its own inside the project, not {train.model!r}",
            example="train:\n  model: model",
        )


def _sweep(config: Config) -> Iterator[Problem]:
    train, sweep = config.train, config.train.sweep
    if sweep is None:
        return
    way: Way = ("train", "sweep")
    example = "sweep:\n  metric: auc\n  parameters:\n    fit.depth: {values: [3, 5, 8]}"
    if not sweep.parameters:
        yield Problem((*way, "parameters"), "the sweep has no parameters, so all its trials would be the same", example=example)
    if not train.metrics or not train.params:
        key = "metrics" if not train.metrics else "params"
        yield Problem(
            ("train", key), f"a sweep needs train.{key}", example="train:\n  metrics: metrics.json\n  params: params.yaml"
        )
    size = 1
    for name, parameter in sweep.parameters.items():
        place, between = (*way, "parameters", name), parameter.between
        if bool(parameter.values) == (between is not None):
            yield Problem(place, f"the parameter {name} needs either values or between", example=f"{name}: {{values: [1, 2]}}")
        if between is not None and sweep.search == "grid":
            yield Problem(place, f"a grid has no values for {name} between two numbers", example="search: random")
        if between is not None and between.low >= between.high:
            yield Problem((*place, "between"), "low is not below high", example="between: {low: 0.001, high: 0.1}")
        if between is not None and between.log and between.low <= 0:
            yield Problem(
                (*place, "between", "log"), "low must be above 0 with log", example="between: {low: 0.001, high: 0.1, log: true}"
            )
        size *= max(1, len(parameter.values))
    if sweep.search == "grid" and size > sweep.trials:
        yield Problem(
            (*way, "trials"),
            f"the grid has {size} combinations, and train.sweep.trials allows {sweep.trials}",
            example=f"trials: {size}",
        )


def _data(config: Config) -> Iterator[Problem]:
    for name, file in config.data.files.items():
        way: Way = ("data", "files", name)
        if not file.path.strip():
            yield Problem((*way, "path"), f"data.files.{name}.path names no file", example="path: data/trips.parquet")
        for column, kind in file.columns.items():
            if kind not in COLUMN_TYPES:
                yield Problem(
                    (*way, "columns", column),
                    f"data.files.{name}.columns.{column} has the unknown type {kind!r}",
                    nearest=closest(kind.lower(), COLUMN_TYPES),
                    allowed=", ".join(COLUMN_TYPES),
                    example=f"columns:\n  {column}: number",
                )
        if file.extra_columns == "fail" and not file.columns:
            yield Problem(
                (*way, "extra_columns"),
                f"data.files.{name}.extra_columns is fail, but no columns are listed",
                example="columns:\n  id: integer",
            )
        for index, expectation in enumerate(file.expect):
            yield from _expectation((*way, "expect", index), expectation)
        if file.freshness and file.freshness.now and not _is_time(file.freshness.now):
            yield Problem(
                (*way, "freshness", "now"),
                f"freshness.now is not an ISO time: {file.freshness.now!r}",
                example="freshness:\n  now: 2013-12-31T23:59:59Z\n  within: 2d",
            )
        yield from _data_links(config, name)
    for place, pair in enumerate(config.data.leakage):
        for side in ("train", "test"):
            known = getattr(pair, side)
            if known not in config.data.files:
                yield Problem(
                    ("data", "leakage", place, side),
                    f"data.leakage[{place}].{side} names {known!r}, which is not under data.files",
                    example=f"{side}: {next(iter(config.data.files), 'train')}",
                )
        if not (pair.rows or pair.entity or pair.time):
            yield Problem(("data", "leakage", place), f"data.leakage[{place}] looks for nothing", example="rows: true")


def _data_links(config: Config, name: str) -> Iterator[Problem]:
    """What one file says of others, and of its own history."""
    file = config.data.files[name]
    way: Way = ("data", "files", name)
    for place, reference in enumerate(file.references):
        at = f"data.files.{name}.references[{place}]"
        if reference.file not in config.data.files:
            yield Problem(
                (*way, "references", place, "file"), f"{at}.file names {reference.file!r}, which is not under data.files"
            )
        if not reference.columns or len(reference.their or reference.columns) != len(reference.columns):
            yield Problem(
                (*way, "references", place),
                f"{at} needs as many columns on both sides",
                example="{columns: [carrier], file: carriers, their: [code]}",
            )
    if file.history and file.history.at_least > file.history.at_most:
        yield Problem((*way, "history"), f"data.files.{name}.history can never hold: at_least is more than at_most")
    if file.history and file.history.newer and not (file.freshness and file.freshness.column):
        yield Problem(
            (*way, "history", "newer"),
            f"data.files.{name}.history.newer needs freshness.column",
            example="freshness: {within: 7d, column: time}",
        )


def _expectation(way: Way, check: Expectation) -> Iterator[Problem]:
    ranges = {"between": check.between, "mean_between": check.mean_between, "rows_between": check.rows_between}
    on_column = (check.not_null, check.unique, check.type, check.between, check.in_set, check.matches, check.mean_between)
    if any(rule for rule in on_column) and not check.column:
        yield Problem(way, "this expectation names no column", example="- column: distance\n  between: [0, 5000]")
    if not any(rule for rule in on_column) and check.rows_between is None:
        yield Problem(way, "this expectation has no rule", example="- column: distance\n  not_null: true")
    if check.matches and (wrong := _pattern_fault(check.matches)):
        yield Problem((*way, "matches"), f"matches is not a regular expression: {wrong}", example='matches: "^[A-Z]{2}[0-9]+$"')
    for name, limits in ranges.items():
        if limits is None:
            continue
        low, high = limits
        if low is None and high is None:
            yield Problem((*way, name), f"{name} has neither a lower nor an upper limit", example=f"{name}: [0, null]")
        elif low is not None and high is not None and low > high:
            yield Problem((*way, name), f"{name} has its limits the wrong way round", example=f"{name}: [{high:g}, {low:g}]")


def _pattern_fault(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


def _gate(config: Config) -> Iterator[Problem]:
    gate = config.gate
    if gate.holdout and not gate.label:
        yield Problem(
            ("gate", "holdout"),
            "gate.holdout is set, but gate.label does not say which column holds the truth",
            example="gate:\n  holdout: data/holdout.parquet\n  label: late",
        )
    if (gate.metrics or gate.latency or gate.label) and not gate.holdout:
        key = "metrics" if gate.metrics else "latency" if gate.latency else "label"
        yield Problem(
            ("gate", key),
            f"gate.{key} is set, but gate.holdout names no rows to judge on",
            example="gate:\n  holdout: data/holdout.parquet\n  label: late",
        )
    if gate.holdout and gate.label and not has_rule(config):
        yield Problem(
            ("gate", "holdout"),
            "gate.holdout is set, but there is no metric to judge by",
            example="gate:\n  metrics:\n    - metric: roc_auc\n      at_least: 0.7",
        )
    for index, metric in enumerate(gate.metrics):
        yield from _metric(("gate", "metrics", index), metric)
    yield from _further(config)


def _further(config: Config) -> Iterator[Problem]:
    """What the model gate judges besides metrics."""
    gate = config.gate
    for key in ("max_size", "max_memory"):
        if fault := _fault_of("mlpipeline.core.gpu", "bytes_of", getattr(gate, key)):
            yield Problem(("gate", key), f"gate.{key}: {fault}", example=f"{key}: 2GiB")
    for index, rule in enumerate(gate.conditions):
        if fault := _fault_of("mlpipeline.core.grammar", "parse", rule.condition or " "):
            yield Problem(
                ("gate", "conditions", index, "condition"),
                fault,
                example='condition: "n - o > 0.02 +/- 0.01 /\\\\ d < 0.1 +/- 0.01"',
            )
    for index, group in enumerate(gate.fairness):
        if all(limit is None for limit in (group.demographic_parity, group.equal_opportunity, group.equalised_odds)):
            yield Problem(
                ("gate", "fairness", index),
                f"the fairness rule by {group.by} has no limit",
                allowed="demographic_parity, equal_opportunity, equalised_odds",
                example=f"- by: {group.by}\n  demographic_parity: 0.1",
            )
    importance = gate.importance
    if importance is not None and importance.metric not in ("", *METRICS):
        yield Problem(
            ("gate", "importance", "metric"),
            f"importance is measured by a metric that this program knows itself, not by {importance.metric!r}",
            nearest=closest(importance.metric.lower(), METRICS),
            allowed=", ".join(METRICS),
        )
    if importance is not None and not importance.metric and not any(metric.metric in METRICS for metric in gate.metrics):
        yield Problem(
            ("gate", "importance"),
            "importance needs a metric, and gate.metrics has none that this program knows itself",
            example="importance:\n  metric: roc_auc",
        )


def _fault_of(module: str, name: str, text: str) -> str:
    """What a parser of the core finds wrong with a text; nothing wrong with none."""
    if not text:
        return ""
    import importlib

    try:
        getattr(importlib.import_module(module), name)(text)
    except ValueError as error:
        return str(error)
    return ""


def _metric(way: Way, gate: MetricGate) -> Iterator[Problem]:
    if not known_metric(gate.metric):
        yield Problem(
            (*way, "metric"),
            f"unknown metric {gate.metric!r}",
            nearest=closest(gate.metric.lower(), (*METRICS, NDCG, *SCORERS)),
            allowed=f"{', '.join(METRICS)}, {NDCG}, any scikit-learn scorer, or module:function of the project",
            example="- metric: roc_auc\n  at_least: 0.7",
        )
    limits = (gate.at_least, gate.at_most)
    if all(limit is None for limit in limits) and gate.no_worse_than_champion is None and not gate.better_than_champion:
        yield Problem(
            way,
            f"the gate on {gate.metric} has no rule, so it could never stop anything",
            allowed="at_least, at_most, no_worse_than_champion, better_than_champion",
            example=f"- metric: {gate.metric}\n  at_least: 0.7\n  no_worse_than_champion: {{margin: 0.01}}",
        )
    if gate.at_least is not None and gate.at_most is not None and gate.at_least > gate.at_most:
        yield Problem(
            (*way, "at_least"), f"at_least ({gate.at_least:g}) is above at_most ({gate.at_most:g})", example="at_least: 0.7"
        )
    if gate.metric == NDCG and not gate.by:
        yield Problem((*way, "by"), "ndcg needs the column whose equal values are one ranking", example="by: query")
    if gate.metric != NDCG and (gate.by or gate.top):
        yield Problem(
            (*way, "by" if gate.by else "top"), f"by and top are for ndcg, not for {gate.metric}", example="metric: ndcg"
        )
    if not gate.larger_is_better and not is_function(gate.metric):
        yield Problem(
            (*way, "larger_is_better"),
            f"the direction of {gate.metric} is known; larger_is_better is for functions of the project",
            example="metric: measures:my_loss",
        )
    if gate.metric in METRICS:
        yield from _out_of_reach(way, gate)


def _out_of_reach(way: Way, gate: MetricGate) -> Iterator[Problem]:
    """Every metric lies between 0 and 1, unless it is listed as unbounded."""
    if gate.metric not in UNBOUNDED_ABOVE and gate.at_least is not None and gate.at_least > 1:
        yield Problem(
            (*way, "at_least"),
            f"no model can pass: {gate.metric} is at most 1, and at_least is {gate.at_least:g}",
            example="at_least: 0.7",
        )
    if gate.metric not in UNBOUNDED_BELOW and gate.at_most is not None and gate.at_most < 0:
        yield Problem(
            (*way, "at_most"),
            f"no model can pass: {gate.metric} is at least 0, and at_most is {gate.at_most:g}",
            example="at_most: 0.5",
        )


def _rollout(config: Config) -> Iterator[Problem]:
    rollout = config.rollout
    if list(rollout.steps) != sorted(set(rollout.steps)):
        yield Problem(
            ("rollout", "steps"),
            f"rollout.steps must grow from step to step, not {list(rollout.steps)}",
            example=f"rollout:\n  steps: {sorted(set(rollout.steps))}",
        )
    if rollout.steps and not rollout.step:
        yield Problem(("rollout", "step"), "rollout.step is 0, so a step could not be judged", example="rollout:\n  step: 30s")
    if not rollout.mirror and not rollout.steps and not (rollout.bake and rollout.control):
        yield Problem(
            ("rollout",),
            "this rollout never has candidate and champion at work at the same time, so verification could not compare them",
            allowed="mirror above 0, or steps, or bake and control above 0",
            example="rollout:\n  mirror: 30s\n  steps: [10, 50]",
        )


def _verify(config: Config) -> Iterator[Problem]:
    verify = config.verify
    for name in ("interval", "timeout"):
        if not getattr(verify, name):
            yield Problem(("verify", name), f"verify.{name} must be more than 0", example=f"verify:\n  {name}: 2s")
    if verify.prometheus and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", verify.prometheus):
        yield Problem(
            ("verify", "prometheus"),
            f"verify.prometheus is not an address of http or https: {verify.prometheus!r}",
            example='verify:\n  prometheus: "http://prometheus:9090"',
        )
    yield from _answers(config)
    yield from _prometheus(verify)
    yield from _score(verify.score)
    if not (verify.errors.enabled or verify.latency.enabled or verify.conditions or verify.score.metrics):
        yield Problem(
            ("verify",),
            "errors and latency are off and there are no conditions and no score: verification would have nothing to look at",
            example="verify:\n  errors:\n    enabled: true",
        )
    seen: set[str] = set()
    for index, condition in enumerate(verify.conditions):
        way: Way = ("verify", "conditions", index)
        yield from _condition(way, condition)
        if condition.name in seen:
            yield Problem((*way, "name"), f"two conditions have the name {condition.name!r}", example="name: another-one")
        seen.add(condition.name)


def _answers(config: Config) -> Iterator[Problem]:
    """What is compared of the answers themselves."""
    verify = config.verify
    if verify.predictions.enabled and verify.pack != "serving":
        yield Problem(
            ("verify", "predictions", "enabled"),
            f"the pack {verify.pack} does not know what its runtime predicts",
            example="verify:\n  pack: serving",
        )
    if verify.predictions.margin <= verify.predictions.effect:
        yield Problem(
            ("verify", "predictions", "margin"),
            "margin must be more than effect",
            example="predictions: {effect: 1.25, margin: 2}",
        )
    if verify.disagreement.enabled and config.target.kind != "local":
        yield Problem(
            ("verify", "disagreement", "enabled"),
            "only the local target's colours keep their answers, so they can be compared nowhere else",
            example="verify:\n  disagreement:\n    enabled: false",
        )
    elif verify.disagreement.enabled and not config.rollout.mirror:
        yield Problem(
            ("verify", "disagreement", "enabled"),
            "answers are compared while requests are copied, and rollout.mirror is 0",
            example="rollout:\n  mirror: 60s",
        )
    accuracy = verify.accuracy
    if accuracy.enabled and bool(accuracy.wrong_query) != bool(accuracy.labelled_query):
        yield Problem(
            ("verify", "accuracy"),
            "verify.accuracy needs both labelled_query and wrong_query",
            example='labelled_query: sum(labelled_total{colour="{{colour}}"})',
        )
    elif accuracy.enabled and bool(accuracy.wrong_query) == bool(accuracy.predictions):
        yield Problem(
            ("verify", "accuracy"),
            "verify.accuracy needs either predictions, with labels, or labelled_query and wrong_query",
            example="accuracy:\n  predictions: answers/*.parquet\n  labels: labels.parquet",
        )


def _prometheus(verify: Verify) -> Iterator[Problem]:
    """The ways to it and from us."""
    export = verify.export
    if export.textfile and not export.textfile.endswith(".prom"):
        yield Problem(
            ("verify", "export", "textfile"),
            f"node_exporter reads only files that end in .prom, not {export.textfile!r}",
            example="export: {textfile: /var/lib/node_exporter/mlpipeline.prom}",
        )
    if export.pushgateway and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", export.pushgateway):
        yield Problem(
            ("verify", "export", "pushgateway"),
            f"verify.export.pushgateway is not an address of http or https: {export.pushgateway!r}",
            example='export: {pushgateway: "http://pushgateway:9091"}',
        )
    if verify.login.password and not verify.login.user:
        yield Problem(
            ("verify", "login"), "verify.login has a password but no user", example="login: {user: me, password: $WORD}"
        )
    if verify.tls.key and not verify.tls.certificate:
        yield Problem(
            ("verify", "tls"), "verify.tls has a key but no certificate", example="tls: {certificate: me.pem, key: me.key}"
        )


def _condition(way: Way, condition: Condition) -> Iterator[Problem]:
    if not condition.success and not condition.failure:
        yield Problem(
            way,
            f"the condition {condition.name!r} has neither success nor failure, so its answer would mean nothing",
            example=f"- name: {condition.name}\n  query: ...\n  success: result < 0.01",
        )
    for key in ("success", "failure"):
        if fault := _expression_fault(getattr(condition, key)):
            yield Problem((*way, key), f"the condition {condition.name!r}: {fault}", example=f"{key}: result < 0.01")
    if condition.count > 1 and condition.failure_limit >= condition.count:
        yield Problem(
            (*way, "failure_limit"),
            f"failure_limit {condition.failure_limit} is never exceeded by {condition.count} measurements",
            example=f"failure_limit: {condition.count - 1}",
        )
    if condition.count > 1 and not condition.interval:
        yield Problem((*way, "interval"), "interval must be more than 0 when count is above 1", example="interval: 10s")


def _expression_fault(expression: str) -> str:
    if not expression:
        return ""
    from mlpipeline.core.conditions import parse

    try:
        parse(expression)
    except ValueError as error:
        return str(error)
    return ""


def _score(rule: ScoreRule) -> Iterator[Problem]:
    if not rule.metrics:
        if rule.groups:
            yield Problem(
                ("verify", "score", "groups"), "the score has groups but no metrics", example="metrics:\n- name: errors"
            )
        return
    from mlpipeline.config.score_plan import score_plan
    from mlpipeline.core.weighted_score import check

    try:
        check(score_plan(rule, "service", "candidate", "champion"))
    except ValueError as error:
        yield Problem(("verify", "score"), str(error), example="groups: {errors: 60, latency: 40}")
    for index, metric in enumerate(rule.metrics):
        if "{{colour}}" not in metric.query:
            yield Problem(
                ("verify", "score", "metrics", index, "query"),
                f"the query of {metric.name!r} does not name {{{{colour}}}}, so candidate and champion would get the same answer",
                example='query: sum(rate(failures_total{colour="{{colour}}"}[1m]))',
            )


def _in_order(first: str, second: str) -> bool:
    """Whether the second time is later; times that are none are told elsewhere."""
    if not (_is_time(first) and _is_time(second)):
        return True
    moments = [datetime.fromisoformat(text) for text in (first, second)]
    start, end = (moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in moments)
    return start < end


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
