"""What is strange about answers and their labels although both can be read: it makes them silent, or all wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from mlpipeline.adapters.duckdb.files import Table, quoted
from mlpipeline.adapters.duckdb.labels import LabelFiles, both, joined, moment_of, request_of

_SHOWN = 3
_AHEAD_SECONDS = 300.0
"""So far clocks may differ."""
_OLD_SECONDS = 1800.0
"""Where users' answers are written so late, labels hardly come during a release."""
_ENOUGH_TO_BE_STRANGE = 20
"""So many labelled answers without a right one are no chance."""


def doubts(project: Path, wanted: LabelFiles, *, groups: Collection[str], now: float) -> tuple[str, ...]:
    """In one line each, with the numbers and examples; empty when nothing is strange.

    Args:
        groups: Whose answers are looked for.
        now: Unix seconds.

    Raises as :func:`mlpipeline.adapters.duckdb.labels.labelled`.
    """
    answers, labels = both(project, wanted)
    try:
        return tuple(_found(wanted, answers, labels, groups, now))
    finally:
        answers.close()


def _found(wanted: LabelFiles, answers: Table, labels: Table, groups: Collection[str], now: float) -> Iterator[str]:
    if not answers.rows(f"SELECT 1 FROM {answers.relation} LIMIT 1"):  # noqa: S608 - names are quoted, here and below
        return
    seen = _texts(answers, f"SELECT DISTINCT CAST({quoted(wanted.group)} AS VARCHAR) FROM {answers.relation}")  # noqa: S608
    if not set(seen) & set(groups):
        yield (
            f"no answer counts: column {wanted.group!r} of the predictions has {_listed(seen)}, "
            f"never {' or '.join(map(repr, sorted(groups)))}"
        )
    yield from _of_times(wanted, answers, now)
    yield from _of_ids(wanted, answers, labels)
    yield from _contradictions(wanted, answers, wanted.prediction, f", {quoted(wanted.group)}", "answers")
    yield from _contradictions(wanted, labels, wanted.truth, "", "labels")


def _of_times(wanted: LabelFiles, answers: Table, now: float) -> Iterator[str]:
    if not wanted.time:
        return
    strange = answers.no_times(wanted.time) if answers.kinds[wanted.time] in ("string", "other") else 0
    if strange:
        name = quoted(wanted.time)
        bad = f"SELECT DISTINCT CAST({name} AS VARCHAR) FROM {answers.relation} WHERE {name} IS NOT NULL AND "  # noqa: S608
        examples = _texts(answers, f"{bad}{moment_of(wanted, answers)} IS NULL")
        yield f"{strange} answers do not count: {_listed(examples)} in column {wanted.time!r} is no time"
    newest = answers.rows(f"SELECT max({moment_of(wanted, answers)}) FROM {answers.relation}")[0][0]  # noqa: S608
    if newest is None or now - _OLD_SECONDS <= newest <= now + _AHEAD_SECONDS:
        return
    if newest > 100 * now:
        yield f"column {wanted.time!r} has {newest:.0f}, which is no time in seconds: is it milliseconds?"
        return
    at = datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")
    zone = "a time without a zone is read as UTC: is it another zone's?"
    if newest > now:
        yield f"the newest answer is from the future, {at}, so that answers from before the release count too: {zone}"
    else:
        yield f"the newest answer is {(now - newest) / 3600:.1f} h old, {at}: only later ones count ({zone})"


def _of_ids(wanted: LabelFiles, answers: Table, labels: Table) -> Iterator[str]:
    pairs = joined(wanted, answers, labels)
    number, right = answers.rows(f"SELECT count(*), count(*) FILTER (NOT wrong) FROM ({pairs})")[0]  # noqa: S608
    if not number:
        of_labels = f"SELECT {request_of(wanted, labels)} FROM {labels.relation} WHERE {quoted(wanted.truth)} IS NOT NULL"  # noqa: S608
        known = _texts(answers, of_labels)
        asked = _texts(answers, f"SELECT {request_of(wanted, answers)} FROM {answers.relation}")  # noqa: S608
        if known and wanted.labels:
            yield (
                f"no label has the request id of an answer: labels have {_listed(known)}, answers {_listed(asked)} "
                f"in column {wanted.request!r}"
            )
    elif number >= _ENOUGH_TO_BE_STRANGE and not right:
        said, truth = (_texts(answers, f"SELECT DISTINCT CAST({each} AS VARCHAR) FROM ({pairs})") for each in ("said", "truth"))  # noqa: S608
        yield (
            f"none of the {number} labelled answers is right: predictions are {_listed(said)}, labels {_listed(truth)}; "
            "are both written alike?"
        )


def _contradictions(wanted: LabelFiles, table: Table, value: str, whose: str, what: str) -> Iterator[str]:
    """Of one request with two values nobody knows which one holds."""
    name, request = quoted(value), request_of(wanted, table)
    asked = (
        f"SELECT {request} FROM {table.relation} WHERE {name} IS NOT NULL "  # noqa: S608
        f"GROUP BY {request}{whose} HAVING min({name}) != max({name})"
    )
    number = int(table.rows(f"SELECT count(*) FROM ({asked})")[0][0])  # noqa: S608
    if number:
        yield (
            f"{number} requests have {what} that differ and do not count, such as {_listed(_texts(table, asked))}; "
            "name a view with the one that holds"
        )


def _texts(table: Table, query: str) -> list[str]:
    return [str(row[0]) for row in table.rows(f"SELECT * FROM ({query}) AS found (one) ORDER BY 1 LIMIT {_SHOWN}")]  # noqa: S608


def _listed(values: Collection[str]) -> str:
    return ", ".join(map(repr, values))
