"""Trainings and sweeps that cannot be run as they stand."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from mlpipeline.config.model import Config
from mlpipeline.config.shape import Problem
from mlpipeline.config.text import Way


def problems(config: Config) -> Iterator[Problem]:
    yield from _train(config)
    yield from _sweep(config)


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
