"""Joins answers with labels that arrived later, by request id: files or tables of databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import msgspec

from mlpipeline.adapters.duckdb import databases
from mlpipeline.adapters.duckdb.files import Table, find, open_server, open_table, quoted, text
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.ports import LabelledAnswers

_NUMBERS = frozenset({"integer", "number", "float32"})
_DAY = 86_400.0
_LEAST_SECONDS = 60.0
_SHOWN = 3


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

    Raises ConfigurationError when a file, table or column does not exist, EnvironmentFault when a file cannot be read or a server
    cannot be reached.
    """
    answers, labels = both(project, wanted)
    limits = [f"{{moment}} >= {since!r}"] if since is not None and wanted.time else []
    limits += [f"{{moment}} < {until!r}"] if until is not None and wanted.time else []
    try:
        pairs = joined(wanted, answers, labels, where=limits)
        rows = answers.rows(f"SELECT whose, count(*), count(*) FILTER (wrong) FROM ({pairs}) GROUP BY 1 ORDER BY 1")  # noqa: S608
        return {str(group): (int(number), int(wrong)) for group, number, wrong in rows}
    finally:
        answers.close()


def newest(project: Path, wanted: LabelFiles) -> float | None:
    """Unix seconds of the newest answer, by the column ``time``; absent when there is none."""
    answers = _opened(project, wanted, "predictions")
    try:
        _require(answers, {"time": wanted.time})
        found = answers.rows(f"SELECT max({moment_of(wanted, answers)}) FROM {answers.relation}")[0][0]  # noqa: S608
        return None if found is None else float(found)
    finally:
        answers.close()


def known(project: Path, wanted: LabelFiles, group: str) -> LabelledAnswers:
    """A group's answers with a label: of the newest day that has any, where the moment of an answer is known, else all.

    Raises as :func:`labelled`.
    """
    answers, labels = both(project, wanted)
    try:
        pairs = f"FROM ({joined(wanted, answers, labels, how='LEFT JOIN')}) WHERE whose = {text(group)}"
        asked = "SELECT count(truth), count(*) FILTER (wrong), max(moment), min(m), max(m)"
        asked = f"{asked} FROM (SELECT *, CASE WHEN truth IS NOT NULL THEN moment END AS m {pairs})"
        number, wrong, newest_answer, first, last = answers.rows(asked)[0]
        if last is None:
            return LabelledAnswers(int(number), int(wrong))
        first = max(first, last - _DAY)
        number, wrong = answers.rows(f"SELECT count(truth), count(*) FILTER (wrong) {pairs} AND moment >= {first!r}")[0]
        return LabelledAnswers(int(number), int(wrong), max(last - first, _LEAST_SECONDS), newest_answer - last)
    finally:
        answers.close()


def both(project: Path, wanted: LabelFiles) -> tuple[Table, Table]:
    """Both tables on one connection, with the columns that are needed. The first is to be closed."""
    answers = _opened(project, wanted, "predictions")
    try:
        labels = _opened(project, wanted, "labels", answers) if wanted.labels else answers
        needed = {
            "request": wanted.request,
            "colour or version": wanted.group,
            "prediction": wanted.prediction,
            "time": wanted.time,
        }
        _require(answers, needed)
        _require(labels, {"request": wanted.request, "truth": wanted.truth})
    except BaseException:
        answers.close()
        raise
    return answers, labels


def joined(
    wanted: LabelFiles, answers: Table, labels: Table, *, how: Literal["JOIN", "LEFT JOIN"] = "JOIN", where: Sequence[str] = ()
) -> str:
    """Each answer with its label: ``whose``, ``said``, ``moment``, ``truth``, ``wrong``.

    Of a request whose labels differ, and of one that a group answered in different ways, nothing is known: it is left out.
    """
    group, prediction, truth = (quoted(name) for name in (wanted.group, wanted.prediction, wanted.truth))
    moment = moment_of(wanted, answers) if wanted.time else "NULL::DOUBLE"
    limits = " AND ".join([f"{prediction} IS NOT NULL", *(limit.format(moment=moment) for limit in where)])
    return (
        f"SELECT whose, said, moment, truth, {_wrong(wanted, answers, labels)} AS wrong FROM "  # noqa: S608 - names are quoted
        f"(SELECT {request_of(wanted, answers)} AS request, CAST({group} AS VARCHAR) AS whose, min({prediction}) AS said, "
        f"max({moment}) AS moment FROM {answers.relation} WHERE {limits} GROUP BY 1, 2 "
        f"HAVING min({prediction}) = max({prediction})) {how} "
        f"(SELECT {request_of(wanted, labels)} AS request, min({truth}) AS truth FROM {labels.relation} "
        f"WHERE {truth} IS NOT NULL GROUP BY 1 HAVING min({truth}) = max({truth})) USING (request)"
    )


def request_of(wanted: LabelFiles, table: Table) -> str:
    """The id as text. Whole numbers are written alike, also where missing ones made the column one of floating-point numbers."""
    name = quoted(wanted.request)
    plain = f"CAST({name} AS VARCHAR)"
    if table.kinds[wanted.request] not in ("number", "float32"):
        return plain
    return (
        f"CASE WHEN {name} = trunc({name}) THEN coalesce(CAST(TRY_CAST({name} AS BIGINT) AS VARCHAR), {plain}) ELSE {plain} END"
    )


def moment_of(wanted: LabelFiles, answers: Table) -> str:
    if answers.kinds[wanted.time] in _NUMBERS:
        return quoted(wanted.time)
    return f"epoch({answers.as_time(wanted.time)})"


def _wrong(wanted: LabelFiles, answers: Table, labels: Table) -> str:
    """Numbers, and yes or no, are compared as what they are, also where one side writes them as text; all else by its text."""
    kinds = {answers.kinds[wanted.prediction], labels.kinds[wanted.truth]}
    as_text = "CAST(said AS VARCHAR) != CAST(truth AS VARCHAR)"
    if kinds == {"boolean", "string"}:
        return f"coalesce(TRY_CAST(said AS BOOLEAN) != TRY_CAST(truth AS BOOLEAN), {as_text})"
    if kinds == {"string"} or not kinds & {*_NUMBERS, "boolean"}:
        return as_text
    said, truth = (f"TRY_CAST({name} AS DOUBLE)" for name in ("said", "truth"))
    return (
        f"CASE WHEN {said} IS NULL OR {truth} IS NULL THEN {as_text} "
        f"ELSE abs({said} - {truth}) > {wanted.tolerance!r} * abs({truth}) END"
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
    if "://" in configured:
        raise ConfigurationError(
            f"the {what} have an address that cannot be read",
            facts={what: databases.named(configured)},
            likely="of the servers only PostgreSQL is read, by postgresql://",
            tries=(f"{what}: postgresql://reader:$LABELS_PASSWORD@host/database", "export them as Parquet"),
        )
    files = find(project, configured)
    if not files:
        raise ConfigurationError(
            f"the {what} do not exist",
            facts={"path": configured, "looked in": project},
            likely="none was written yet, or the path is another one",
            tries=(f"ls -l {project / configured}",),
        )
    try:
        return open_table(files, what, table=table, beside=beside)
    except Failed as fault:  # no candidate's fault, that would take a release back
        raise EnvironmentFault(
            f"the {what} cannot be read: {fault.what}", facts=fault.facts, likely=fault.likely, tries=fault.tries
        ) from fault


def _require(table: Table, columns: Mapping[str, str]) -> None:
    """Raises ConfigurationError for the first that is not there.

    Args:
        columns: Their names by the key that names them; an empty one is not needed.
    """
    for key, name in columns.items():
        if name and name not in table.types:
            close = get_close_matches(name, table.types, 1)
            raise ConfigurationError(
                f"the {table.label} have no column {name!r}",
                facts={
                    "they have": ", ".join(table.types),
                    **({"file": ", ".join(map(str, table.files[:_SHOWN]))} if table.files else {}),
                },
                likely=f"it has another name, which {key} does not say",
                tries=(f"{key}: {(close or list(table.types) or [name])[0]}",),
            )
