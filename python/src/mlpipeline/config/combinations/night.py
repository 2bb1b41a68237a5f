"""Nightly jobs that make no sense as they stand."""

from __future__ import annotations

from collections.abc import Iterator

from mlpipeline.config.model import Config
from mlpipeline.config.shape import Problem


def problems(config: Config) -> Iterator[Problem]:
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
    if decay.metric == "mae" and (decay.predictions or "://" in decay.labels):
        yield Problem(
            ("nightly", "accuracy", "metric"),
            "nightly.accuracy.metric mae needs one file with both columns; answers joined with their labels are right or wrong",
            example="nightly:\n  accuracy:\n    metric: accuracy",
        )
    limits = (decay.at_least, decay.at_most, decay.drop)
    if (decay.query or decay.labels) and all(limit is None for limit in limits):
        yield Problem(
            ("nightly", "accuracy"),
            "nightly.accuracy measures something, but has no limit",
            example="nightly:\n  accuracy:\n    at_least: 0.8",
        )
