"""Joins answers with labels that arrived later, by request id: files or tables of databases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from mlpipeline.adapters.duckdb import databases
from mlpipeline.adapters.duckdb.files import Table, find, open_server, open_table, quoted
from mlpipeline.errors import ConfigurationError

_NUMBERS = frozenset({"integer", "number", "float32"})


class LabelFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where answers and labels stand.

    Args:
        predictions: Path, folder, glob or database file with one row per answer, or the address of a PostgreSQL.
        labels: The same with one row per label; empty: it is a column of ``predictions``.
        predictions_table: Of a database, which table or view.
        request: Column that both have.
        group: Column of ``predictions`` that tells whose answer it was: colour or version.
        time: Column of ``predictions`` with the moment of the answer; empty: all rows count.
        tolerance: Relative difference up to which a number is right.
    """

    predictions: str
    labels: str = ""
    predictions_table: str = ""
    labels_table: str = ""
    request: str = "request_id"
    group: str = "colour"
    prediction: str = "prediction"
    truth: str = "label"
    time: str = ""
    tolerance: float = 0.0
    environment: Mapping[str, str] = {}
    """From which ``$NAME`` in the address of a server is replaced."""


def labelled(
    project: Path, wanted: LabelFiles, *, since: float | None = None, until: float | None = None
) -> dict[str, tuple[int, int]]:
    """Of each group: answers whose label is known, and how many of these were wrong. A label that comes twice counts once.

    Args:
        since: Unix seconds; only answers from then on, where ``time`` is named.
        until: Unix seconds; only answers before.

    Raises ConfigurationError when a file, table or column does not exist, Failed when a file cannot be read, EnvironmentFault
    when a server cannot be reached.
    """
    answers = _opened(project, wanted, "predictions")
    try:
        labels = _opened(project, wanted, "labels", answers) if wanted.labels else answers
        needed = [wanted.request, wanted.group, wanted.prediction, *([wanted.time] if wanted.time else [])]
        _require(answers, needed)
        _require(labels, [wanted.request, wanted.truth])
        rows = answers.rows(_query(wanted, answers, labels, since, until))
        return {str(group): (int(number), int(wrong)) for group, number, wrong in rows}
    finally:
        answers.close()


def newest(project: Path, wanted: LabelFiles) -> float | None:
    """Unix seconds of the newest answer, by the column ``time``; absent when there is none."""
    answers = _opened(project, wanted, "predictions")
    try:
        _require(answers, [wanted.time])
        found = answers.newest(wanted.time)
        return None if found is None else found.timestamp()
    finally:
        answers.close()


def _query(wanted: LabelFiles, answers: Table, labels: Table, since: float | None, until: float | None) -> str:
    request, group, prediction, truth = (quoted(name) for name in (wanted.request, wanted.group, wanted.prediction, wanted.truth))
    limits = []
    if wanted.time:
        name = quoted(wanted.time)
        if answers.kinds[wanted.time] in _NUMBERS:
            moment = name
        elif "ZONE" in answers.types[wanted.time].upper():
            # a moment already: as a TIMESTAMP it would be one of this machine's zone
            moment = f"epoch({name})"
        else:
            moment = f"epoch(CAST({name} AS TIMESTAMP))"
        limits = [f"{moment} >= {since!r}"] if since is not None else []
        limits += [f"{moment} < {until!r}"] if until is not None else []
    where = f"WHERE {' AND '.join([f'{prediction} IS NOT NULL', *limits])}"
    if {answers.kinds[wanted.prediction], labels.kinds[wanted.truth]} <= _NUMBERS:
        wrong = f"abs(said - truth) > {wanted.tolerance!r} * abs(truth)"
    else:
        wrong = "CAST(said AS VARCHAR) != CAST(truth AS VARCHAR)"
    return (
        f"SELECT whose, count(*), count(*) FILTER (WHERE {wrong}) FROM "  # noqa: S608 - names are quoted, values our own numbers
        f"(SELECT CAST({request} AS VARCHAR) AS request, {group} AS whose, any_value({prediction}) AS said "
        f"FROM {answers.relation} {where} GROUP BY 1, 2) JOIN "
        f"(SELECT CAST({request} AS VARCHAR) AS request, any_value({truth}) AS truth "
        f"FROM {labels.relation} WHERE {truth} IS NOT NULL GROUP BY 1) USING (request) GROUP BY 1 ORDER BY 1"
    )


def _opened(project: Path, wanted: LabelFiles, what: Literal["predictions", "labels"], beside: Table | None = None) -> Table:
    answers = what == "predictions"
    configured, table = (wanted.predictions, wanted.predictions_table) if answers else (wanted.labels, wanted.labels_table)
    if databases.is_server(configured):
        if not table:
            raise ConfigurationError(
                f"the table of the {what} is not named", facts={"key": f"{what}_table"}, tries=(f"{what}_table: public.{what}",)
            )
        return open_server(databases.filled(configured, wanted.environment), what, table=table, beside=beside)
    files = find(project, configured)
    if not files:
        raise ConfigurationError(
            f"the {what} do not exist", facts={"path": configured, "looked in": project}, tries=(f"ls -l {project / configured}",)
        )
    return open_table(files, what, table=table, beside=beside)


def _require(table: Table, columns: list[str]) -> None:
    missing = [name for name in columns if name not in table.types]
    if missing:
        raise ConfigurationError(f"the {table.label} have no column {missing[0]!r}", facts={"they have": ", ".join(table.types)})
