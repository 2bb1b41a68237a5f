"""What the data gate asks beyond columns: history, contract, duplicates, labels, keys of other files, and leakage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlpipeline.config.sections.data import DataFile, LabelBalance, Leakage
from mlpipeline.core import leakage, volume
from mlpipeline.core.expectations import nearest
from mlpipeline.core.verdict import Verdict
from mlpipeline.core.volume import Earlier, Finding
from mlpipeline.record.result import Reason
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.adapters.duckdb.files import Table

GATE = "gate-data"


def earlier(context: Context, name: str, run: str, most: int) -> list[Earlier]:
    """One file in the newest runs that passed, oldest first, this run left out."""
    found: list[Earlier] = []
    for known in reversed(context.runs.all()):
        if known.id == run or len(found) == most:
            continue
        result = context.runs.result(known.id, GATE)
        if result is None or result.verdict is not Verdict.PASS:
            continue
        files, versions = result.evidence.get("files"), result.evidence.get("data_version")
        facts = files.get(name) if isinstance(files, Mapping) else None
        if isinstance(facts, Mapping):
            version = versions.get(facts.get("path")) if isinstance(versions, Mapping) else ""
            schema = facts.get("schema")
            found.append(
                Earlier(
                    int(facts.get("rows", 0)),
                    str(facts.get("newest", "")),
                    str(version or ""),
                    {str(column): str(kind) for column, kind in schema.items()} if isinstance(schema, Mapping) else {},
                )
            )
    return found[::-1]


def against_history(
    context: Context, name: str, table: Table, *, rows: int, version: str, run: str
) -> tuple[list[Reason], dict[str, object]]:
    """Volume, newest time and columns beside earlier runs; and what later runs will want to know of this one."""
    file = context.config.data.files[name]
    reasons: list[Reason] = []
    facts: dict[str, object] = {}
    most = file.history.runs if file.history else 10
    known = earlier(context, name, run, most) if file.history or file.evolution != "any" else []
    if file.history:
        rule = file.history
        found = volume.volume(rows, known, at_least=rule.at_least, at_most=rule.at_most)
        reasons.append(_reason(f"data.{name}.volume", name, found))
        if rule.newer and file.freshness and file.freshness.column in table.types:
            newest = table.newest(file.freshness.column)
            facts["newest"] = newest.isoformat() if newest else ""
            reasons.append(_reason(f"data.{name}.newer", name, volume.newer(str(facts["newest"]), version, known)))
    if file.evolution != "any":
        schema = dict(table.types)
        facts["schema"] = schema
        reasons.append(_reason(f"data.{name}.evolution", name, volume.evolved(schema, known, allowed=file.evolution)))
    return reasons, facts


def of_rows(name: str, file: DataFile, table: Table, rows: int) -> list[Reason]:
    """Duplicates and the label's classes."""
    from mlpipeline.adapters.duckdb import relations

    reasons: list[Reason] = []
    if file.duplicates_at_most is not None:
        found, allowed = relations.duplicates(table), file.duplicates_at_most
        share = found / rows if rows else 0.0
        shown = f"{found:,} of {rows:,} rows repeat an earlier one ({share:.2%}, allowed {allowed:.2%})"
        reasons.append(
            _reason(f"data.{name}.duplicates", name, Finding(share <= allowed, shown, {"found": found, "share": share}))
        )
    if file.label:
        reasons.append(_label(name, file.label, table))
    return reasons


def _label(name: str, rule: LabelBalance, table: Table) -> Reason:
    from mlpipeline.adapters.duckdb import relations

    check = f"data.{name}.label"
    if absent := _absent(table, (rule.column,)):
        return _reason(check, name, absent)
    counts = relations.classes(table, rule.column)
    found = leakage.balance(counts, at_least=rule.at_least, classes=rule.classes)
    return _reason(check, name, found, tuple(f"{value} ({times}x)" for value, times in list(counts.items())[:20]))


def of_keys(name: str, file: DataFile, table: Table, opened: Callable[[str, Table], Table]) -> list[Reason]:
    """Keys that other files lack.

    Args:
        opened: The table of another file by its name, on the connection of this one.
    """
    from mlpipeline.adapters.duckdb import relations

    reasons = []
    for rule in file.references:
        their = rule.their or rule.columns
        check = f"data.{name}.references.{rule.file}.{'+'.join(rule.columns)}"
        other = opened(rule.file, table)
        absent = _absent(table, rule.columns) or _absent(other, their)
        if absent:
            reasons.append(_reason(check, name, absent))
            continue
        count, keys = relations.orphans(table, rule.columns, other, their)
        shown = f"{count:,} rows name {' + '.join(rule.columns)} that {rule.file} does not have"
        sample = tuple(f"{key} ({times}x)" for key, times in keys)
        reasons.append(_reason(check, name, Finding(not count, shown, {"found": count}), sample))
    return reasons


def leaks(rule: Leakage, train: Table, test: Table) -> list[Reason]:
    """What of one file is known from another; both tables are of one connection."""
    from mlpipeline.adapters.duckdb import relations

    base, where = f"data.leakage.{rule.train}.{rule.test}", f"{rule.test} after {rule.train}"
    reasons: list[Reason] = []
    if rule.rows:
        found = leakage.overlap(*relations.shared_rows(train, test), rule.at_most, what="are also training rows")
        reasons.append(_reason(f"{base}.rows", where, found))
    if rule.entity:
        found = (
            _absent(train, rule.entity)
            or _absent(test, rule.entity)
            or leakage.overlap(
                *relations.shared_entities(train, test, rule.entity),
                rule.at_most,
                what=f"are of a known {' + '.join(rule.entity)}",
            )
        )
        reasons.append(_reason(f"{base}.entity", where, found))
    if rule.time:
        found = (
            _absent(train, (rule.time,))
            or _absent(test, (rule.time,))
            or leakage.order(relations.span(train, rule.time)[1], relations.span(test, rule.time)[0], rule.time)
        )
        reasons.append(_reason(f"{base}.time", where, found))
    return reasons


def _absent(table: Table, columns: Sequence[str]) -> Finding | None:
    missing = [name for name in columns if name not in table.types]
    if not missing:
        return None
    near = nearest(missing[0], table.types)
    return Finding(False, f"column {missing[0]} is missing in {table.label}" + (f"; did you mean {near}?" if near else ""))


def _reason(check: str, name: str, found: Finding, sample: tuple[str, ...] = ()) -> Reason:
    verdict = Verdict.PASS if found.holds else Verdict.FAIL
    return Reason(check, verdict, f"{name}: {found.summary}", dict(found.numbers), sample if not found.holds else ())
