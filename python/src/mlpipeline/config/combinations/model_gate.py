"""Model gates that make no sense as they stand."""

from __future__ import annotations

from collections.abc import Iterator

from mlpipeline.config.metrics import METRICS, NDCG, SCORERS, is_function, known_metric
from mlpipeline.config.model import Config
from mlpipeline.config.sections.model_gate import MetricGate
from mlpipeline.config.shape import Problem, closest
from mlpipeline.config.text import Way

UNBOUNDED_ABOVE = ("log_loss", "mae", "mse", "rmse")
UNBOUNDED_BELOW = ("r2",)


def has_rule(config: Config) -> bool:
    """Whether the model gate has anything to judge by."""
    gate = config.gate
    judged = (gate.metrics, gate.latency, gate.conditions, gate.fairness, gate.importance, gate.behaviour.file)
    return any(bool(one) for one in (*judged, gate.max_size, gate.max_memory))


def problems(config: Config) -> Iterator[Problem]:
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
