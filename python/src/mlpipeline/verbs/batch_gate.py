"""The gate on a batch's answers, before they replace the old ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlpipeline.config.sections.data import DataFile
from mlpipeline.core.drift import drifting, shifts
from mlpipeline.core.sketch import Sketch, decode, encode
from mlpipeline.core.verdict import Verdict, failing_first
from mlpipeline.record.result import Number, Reason
from mlpipeline.verbs.batch import Batch
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.adapters.duckdb.files import Table
    from mlpipeline.adapters.duckdb.scored import Column

_SHOWN = 5


def judged(context: Context, batch: Batch, staged: Path, rows: int, before: dict[str, Sketch]) -> list[Reason]:
    """Every check of the new output, the worst first.

    Args:
        rows: That the input had.
        before: Summaries of the answers that are to be replaced; none the first time.
    """
    from mlpipeline.adapters.duckdb.scored import measured

    table = _opened(staged)
    try:
        columns = answers_in(batch, table)
        written, found = measured(table, columns)
        reasons = [_rows(rows, written)]
        for name, column in found.items():
            reasons += [_missing(batch, name, column, written), *_values(batch, name, column)]
        reasons += _drift(batch, table, columns, before)
        rule = batch.rule
        if rule.expect or rule.suite:
            from mlpipeline.verbs.gate_data import expected

            file = DataFile(path=batch.output.name, expect=rule.expect, suite=rule.suite)
            reasons += expected(context, "score", file, table)
    finally:
        table.close()
    return sorted(reasons, key=lambda reason: failing_first(reason.verdict))


def summaries(context: Context, batch: Batch, staged: Path) -> bytes:
    """Of the new answers, for the next time."""
    from mlpipeline.adapters.duckdb import sketches

    del context
    table = _opened(staged)
    try:
        return encode(sketches.sketch(table, _comparable(table, answers_in(batch, table))))
    finally:
        table.close()


def kept_summaries(folder: Path) -> dict[str, Sketch]:
    """Of the answers that were written last; none when there are none that can be read."""
    try:
        return decode((folder / "summaries").read_bytes())
    except (OSError, ValueError):
        return {}


def answers_in(batch: Batch, table: Table) -> list[str]:
    """The columns of answers."""
    name = batch.rule.prediction
    return [column for column in table.types if column == name or column.startswith(f"{name}_")]


def _opened(staged: Path) -> Table:
    from mlpipeline.adapters.duckdb import files

    return files.open_table(files.find(staged.parent, staged.name), str(staged))


def _rows(rows: int, written: int) -> Reason:
    verdict = Verdict.PASS if rows == written else Verdict.FAIL
    return Reason("score.rows", verdict, f"{rows:,} rows in, {written:,} answers out", {"rows": rows, "answers": written})


def _missing(batch: Batch, name: str, column: Column, rows: int) -> Reason:
    allowed = batch.rule.missing_at_most
    bad = column.infinite > 0 or column.missing > allowed * rows
    told = f"{name}: {column.missing:,} answers are missing and {column.infinite:,} infinite"
    limit = f", at most {allowed:.2%} may be missing" if bad else ""
    numbers: dict[str, Number] = {"missing": column.missing, "infinite": column.infinite}
    return Reason(f"score.{name}.missing", Verdict.FAIL if bad else Verdict.PASS, told + limit, numbers)


def _values(batch: Batch, name: str, column: Column) -> list[Reason]:
    reasons = []
    low, high = batch.rule.between
    if low is not None or high is not None:
        reasons.append(_range(f"score.{name}.between", name, column, low, high))
    if batch.rule.classes:
        if column.classes is None:
            strange = ["more different answers than can be listed"]
        else:
            strange = [value for value in column.classes if value not in batch.rule.classes]
        told = f"{name}: answers that may not occur: {', '.join(strange[:_SHOWN])}" if strange else f"{name}: no other answers"
        reasons.append(Reason(f"score.{name}.classes", Verdict.FAIL if strange else Verdict.PASS, told))
    return reasons


def _range(check: str, name: str, column: Column, low: float | None, high: float | None) -> Reason:
    if column.low is None or column.high is None:
        return Reason(check, Verdict.FAIL, f"{name} holds no numbers, and score.between gives limits")
    bad = (low is not None and column.low < low) or (high is not None and column.high > high)
    limits = f"{'-' if low is None else f'{low:g}'} to {'-' if high is None else f'{high:g}'}"
    told = f"{name}: answers from {column.low:g} to {column.high:g}, allowed {limits}"
    return Reason(check, Verdict.FAIL if bad else Verdict.PASS, told, {"low": column.low, "high": column.high})


def _drift(batch: Batch, table: Table, columns: Sequence[str], before: dict[str, Sketch]) -> list[Reason]:
    from mlpipeline.adapters.duckdb import sketches

    rule = batch.rule.drift
    if not rule.enabled:
        return []
    if not before:
        return [Reason("score.drift", Verdict.PASS, "there are no earlier answers to compare with")]
    both = [name for name in _comparable(table, columns) if name in before]
    now = sketches.sketch(table, both, before)
    other = [name for name in now if now[name].kind != before[name].kind] + [name for name in before if name not in now]
    found = shifts(before, now)
    moved = [*other, *(one.column for one in drifting(found, false_alarms=rule.false_alarms, effect=rule.effect))]
    furthest = max((one.effect for one in found), default=0.0)
    told = f"the answers are {furthest:.3f} away from the earlier ones, {rule.effect:g} allowed"
    if other:
        told = f"the answers are of another kind than the earlier ones: {', '.join(other[:_SHOWN])}"
    verdict = Verdict(rule.verdict) if moved else Verdict.PASS
    return [Reason("score.drift", verdict, told, {"effect": round(furthest, 4)})]


def _comparable(table: Table, columns: Sequence[str]) -> list[str]:
    from mlpipeline.adapters.duckdb import sketches

    return [name for name in sketches.comparable(table) if name in columns]
