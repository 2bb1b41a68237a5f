"""Drift of one data file against the champion's training data, earlier runs, or another file, inside the data gate."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlpipeline.config.durations import parse_duration
from mlpipeline.config.sections.data import DataFile, FileDrift
from mlpipeline.core.drift import Shift, drifting, shifts
from mlpipeline.core.expectations import nearest
from mlpipeline.core.sketch import Sketch
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError
from mlpipeline.record.result import Number, Reason
from mlpipeline.record.run import Run
from mlpipeline.verbs import data_reference
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.adapters.duckdb.files import Table

_SHOWN = 5
_DRAWN = 8
_CHAMPION, _LAST = "champion", "last"


class _Reference(msgspec.Struct, frozen=True):
    """What a name of a reference came to: its summaries, or why there are none."""

    named: str
    told: str
    sketches: dict[str, Sketch] | None = None


def drift(context: Context, run: Run, name: str, file: DataFile, table: Table) -> tuple[list[Reason], dict[str, object]]:
    """Reasons, and for the report what every reference came to. Keeps the summaries of this run for later ones.

    Raises ConfigurationError for columns or references that cannot be, Failed when the data cannot be read.
    """
    from mlpipeline.adapters.duckdb import sketches

    rule = file.drift
    if rule is None:
        return [], {}
    columns = _columns(rule, table, sketches.comparable(table), name)
    reasons: list[Reason] = []
    found: dict[str, object] = {}
    kept: dict[str, Sketch] | None = None
    for named in (rule.reference,) if isinstance(rule.reference, str) else rule.reference:
        check = f"data.{name}.drift.{named}"
        reference = _reference(context, run, (name, file), named, columns)
        if reference.sketches is None:
            reasons.append(Reason(check, Verdict(rule.no_reference), f"{name}: {reference.told}"))
            continue
        now = sketches.sketch(table, columns, reference.sketches)
        kept = kept or now
        reason, facts = _judged(name, rule, reference, now, table)
        reasons.append(reason)
        found[named] = facts
    if rule.evidently:
        reasons.append(_page(context, run, (name, file), table, columns))
    data_reference.keep(data_reference.summaries_file(context, run.id, name), kept or sketches.sketch(table, columns))
    return reasons, found


def _columns(rule: FileDrift, table: Table, comparable: Sequence[str], name: str) -> list[str]:
    for column in (*rule.columns, *rule.ignore):
        if column not in table.types:
            near = nearest(column, table.types)
            raise ConfigurationError(
                f"data.files.{name}.drift names the column {column!r}, which {table.label} does not have",
                facts={"columns": ", ".join(table.types)},
                tries=(f"write {near}",) if near else (),
            )
    return [column for column in rule.columns or comparable if column not in rule.ignore]


def _reference(context: Context, run: Run, entry: tuple[str, DataFile], named: str, columns: Sequence[str]) -> _Reference:
    name, file = entry
    if named == _CHAMPION:
        return _of_champion(context, name, file, columns)
    if named == _LAST or _AGE.fullmatch(named):
        age = 0.0 if named == _LAST else float(parse_duration(named))
        known = data_reference.earlier_run(context, run, name, older_than=age)
        if known is None:
            old = f" at least {named} old" if age else ""
            return _Reference(named, f"no earlier run{old} that passed kept summaries, so nothing can be compared")
        return _Reference(
            named, f"run {known.id}", data_reference.summaries(data_reference.summaries_file(context, known.id, name))
        )
    return _Reference(named, named, _sketched(Path(context.project / named), file, columns))


def _of_champion(context: Context, name: str, file: DataFile, columns: Sequence[str]) -> _Reference:
    version = data_reference.champion(context)
    if version is None:
        return _Reference(_CHAMPION, "nothing was released yet, so there is no champion's data to compare with")
    own = data_reference.summaries(data_reference.summaries_file(context, version.run, name), columns) if version.run else None
    told = f"the champion's data (version {version.model_version or version.digest[:19]})"
    if own:
        return _Reference(_CHAMPION, told, own)
    try:
        commit = data_reference.commit_of(context, version, tries=(f"data.files.{name}.drift.reference: <a path>",))
        place = data_reference.cached(context, commit, file.path, *columns)
        known = data_reference.summaries(place)
        if known:
            return _Reference(_CHAMPION, told, known)
        with tempfile.TemporaryDirectory(prefix="mlpipeline-drift-") as folder:
            found = _sketched(data_reference.at_commit(context, file.path, commit, Path(folder)), file, columns)
    except EnvironmentFault as error:
        return _Reference(_CHAMPION, f"the champion's data cannot be had: {error.what}")
    data_reference.keep(place, found)
    return _Reference(_CHAMPION, told, found)


def _sketched(place: Path, file: DataFile, columns: Sequence[str]) -> dict[str, Sketch]:
    from mlpipeline.adapters.duckdb import sketches

    table = _opened(place, file)
    every = file.drift is None or not file.drift.columns
    gone = [name for name in sketches.comparable(table) if name not in columns] if every else []
    try:
        return sketches.sketch(table, [*(name for name in columns if name in table.types), *gone])
    finally:
        table.close()


def _opened(place: Path, file: DataFile) -> Table:
    from mlpipeline.adapters.duckdb.files import find, open_table

    files = find(place.parent, place.name)
    if not files:
        raise ConfigurationError(
            "the data to compare with does not exist", facts={"file": place}, tries=(f"ls {place.parent}", "reference: champion")
        )
    return open_table(files, str(place), table=file.table)


_SAMPLE = 50_000
"""Rows of each side that evidently is given: its time grows with them, and its tests call everything drifted."""


def _page(context: Context, run: Run, entry: tuple[str, DataFile], table: Table, columns: Sequence[str]) -> Reason:
    """evidently's page beside the result. Whatever becomes of it, it judges nothing."""
    from mlpipeline.adapters import evidently

    name, file = entry
    check = f"data.{name}.drift.evidently"
    place = context.runs.folder(run.id) / "drift" / f"{name}.html"
    try:
        with tempfile.TemporaryDirectory(prefix="mlpipeline-drift-") as folder:
            before = _opened(_rows(context, name, file, Path(folder)), file)
            try:
                both = [column for column in columns if column in before.types]
                sample = f"USING SAMPLE reservoir({_SAMPLE} ROWS) REPEATABLE (7)"
                evidently.write(before.arrow_of(both, sample), table.arrow_of(both, sample), place)
            finally:
                before.close()
    except MlpipelineError as error:
        return Reason(check, Verdict.PASS, f"{name}: evidently's page was not written: {error.what}")
    return Reason(check, Verdict.PASS, f"{name}: evidently's page is drift/{name}.html in the run's folder")


def _rows(context: Context, name: str, file: DataFile, folder: Path) -> Path:
    """The rows of the first reference that has any: a file, or the champion's data."""
    rule = file.drift
    named = () if rule is None else (rule.reference,) if isinstance(rule.reference, str) else rule.reference
    for one in named:
        if one == _CHAMPION and (version := data_reference.champion(context)) is not None:
            return data_reference.at_commit(context, file.path, data_reference.commit_of(context, version, tries=()), folder)
        if one not in {_CHAMPION, _LAST} and not _AGE.fullmatch(one):
            return context.project / one
    raise EnvironmentFault(f"no reference of {name} has rows, only summaries")


_AGE = re.compile(r"\d+(\.\d+)?[smhd]")


def _judged(
    name: str, rule: FileDrift, reference: _Reference, now: Mapping[str, Sketch], table: Table
) -> tuple[Reason, dict[str, object]]:
    check = f"data.{name}.drift.{reference.named}"
    before = reference.sketches or {}
    lost = [] if rule.columns else [column for column in before if column not in now and column not in rule.ignore]
    nested = [column for column in lost if table.kinds.get(column) == "other"]
    gone = [column for column in lost if column not in table.types]
    other = [*nested, *(column for column in now if column in before and before[column].kind != now[column].kind)]
    lacking = [column for column in now if column not in before]
    found = shifts(before, now)
    rows = (max((one.rows for one in before.values()), default=0), max((one.rows for one in now.values()), default=0))
    numbers: dict[str, Number] = {"columns": len(found), "rows_before": rows[0], "rows_now": rows[1]}
    facts: dict[str, object] = {
        "reference": reference.told,
        "rows": list(rows),
        "compared": len(found),
        "columns": [_told(one) for one in found[:_DRAWN]],
        "drifted": [],
        "effect": rule.effect,
        "false_alarms": rule.false_alarms,
    }
    if not found and not other:
        return Reason(check, Verdict.INCONCLUSIVE, f"{name}: no column that could be compared is in {reference.told}"), facts
    if min(rows) < rule.min_rows:
        few = f"{rows[1]:,} rows now and {rows[0]:,} before, {rule.min_rows} needed to tell (drift.min_rows)"
        return Reason(check, Verdict.INCONCLUSIVE, f"{name}: {few}", numbers), facts
    moved = drifting(found, false_alarms=rule.false_alarms, effect=rule.effect)
    names = [*other, *(one.column for one in moved)]
    facts["drifted"] = names
    numbers["drifted"] = len(names)
    numbers |= {f"effect {one.column}": round(one.effect, 4) for one in found[:_SHOWN]}
    shown = ", ".join([*(f"{column} changed its kind" for column in other), *(_line(one) for one in moved[:_SHOWN])])
    against = f"against {reference.told}"
    text = (
        f"{len(names)} of {len(found) + len(other)} columns drifted {against}: {shown}"
        if names
        else f"none of {len(found)} columns drifted by {rule.effect:g} {against}"
        + (f"; furthest: {_line(found[0])}" if found else "")
    )
    if lacking:
        text += f"; not in the reference: {', '.join(lacking[:_SHOWN])}"
    if gone:
        text += f"; no longer there: {', '.join(gone[:_SHOWN])}"
    verdict = Verdict(rule.verdict) if len(names) > rule.columns_at_most else Verdict.PASS
    return Reason(check, verdict, f"{name}: {text}", numbers, tuple(_detail(one) for one in moved[:20])), facts


def _line(one: Shift) -> str:
    return f"{one.column} by {one.effect:.3f}"


def _detail(one: Shift) -> str:
    numbers = ", ".join(f"{name} {value:.3g}" for name, value in one.distances.items())
    fresh = f"; new: {', '.join(one.new)}" if one.new else ""
    gone = f"; vanished: {', '.join(one.vanished)}" if one.vanished else ""
    return f"{one.column}: effect {one.effect:.3f}, p {one.adjusted:.2g} ({numbers}){fresh}{gone}"


def _told(one: Shift) -> dict[str, object]:
    """For the report: JSON without numbers that JSON does not have."""
    plain = msgspec.to_builtins(one)
    plain["distances"] = {name: value for name, value in one.distances.items() if abs(value) < float("inf")}
    return dict(plain)
