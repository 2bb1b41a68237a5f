"""Data gates that make no sense as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlpipeline.config.durations import is_time
from mlpipeline.config.model import Config
from mlpipeline.config.sections.data import Expectation
from mlpipeline.config.shape import Problem, closest
from mlpipeline.config.text import Way

COLUMN_TYPES = ("integer", "number", "string", "boolean", "timestamp")


def problems(config: Config) -> Iterator[Problem]:
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
        if file.freshness and file.freshness.now and not is_time(file.freshness.now):
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
