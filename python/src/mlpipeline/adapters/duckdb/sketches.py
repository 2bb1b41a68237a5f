"""Summaries of the columns of data files, read in pieces: what is kept does not grow with the number of rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlpipeline.adapters.duckdb.files import Table
from mlpipeline.core.sketch import CategoryTally, NumberTally, Sketch, grid

_CHUNK = 131_072
_KEPT = 64_000_000
"""Values of a reference that are kept (8 bytes each) to lay its grid exactly; a longer one is read twice."""
_SAMPLE = 200_000
_NUMBERS = frozenset({"integer", "number", "float32"})


def comparable(table: Table) -> list[str]:
    """The columns that can be summarised; times only move on, and are left out unless they are asked for by name."""
    return [name for name, kind in table.kinds.items() if kind in _NUMBERS or kind in {"string", "boolean"}]


def sketch(table: Table, columns: Sequence[str], reference: Mapping[str, Sketch] | None = None) -> dict[str, Sketch]:
    """One summary for each column.

    Args:
        reference: Summaries to be compared with, over whose grids numbers are counted. Without them the data lays its own.

    Raises:
        Failed: The data cannot be read.
    """
    if not columns:
        return {}
    if reference is not None:
        return _counted(table, {name: _grid_of(table, name, reference.get(name)) for name in columns})
    numbers = [name for name in columns if table.kinds[name] in {*_NUMBERS, "timestamp"}]
    rows = int(table.rows(f"SELECT count(*) FROM {table.source}")[0][0])  # noqa: S608
    if rows * len(numbers) <= _KEPT:
        return _kept(table, columns, frozenset(numbers))
    share = min(100.0, 100 * _SAMPLE / rows)
    sample = table.arrow_of(numbers, f"USING SAMPLE {share}% (system, 7)")
    if not sample.num_rows:
        sample = table.arrow_of(numbers, f"LIMIT {_SAMPLE}")
    return _counted(table, {name: grid(_floats(sample[name])) if name in numbers else None for name in columns})


def _grid_of(table: Table, name: str, reference: Sketch | None) -> Sequence[float] | None:
    number = table.kinds[name] in {*_NUMBERS, "timestamp"}
    return (reference.grid or ()) if number and reference is not None and reference.kind == "number" else () if number else None


def _counted(table: Table, grids: Mapping[str, Sequence[float] | None]) -> dict[str, Sketch]:
    tallies = {name: CategoryTally() if edges is None else NumberTally(edges) for name, edges in grids.items()}

    def add(name: str, column: Any) -> None:
        tally = tallies[name]
        if isinstance(tally, CategoryTally):
            tally.add(_counts(column), column.null_count)
        else:
            tally.add(_floats(column))

    _each(table, list(grids), add)
    return {name: tally.sketch() for name, tally in tallies.items()}


def _kept(table: Table, columns: Sequence[str], numbers: frozenset[str]) -> dict[str, Sketch]:
    """Keeps the numbers, sorted piece by piece, until the grid can be laid."""
    import numpy as np

    pieces: dict[str, list[Any]] = {name: [] for name in numbers}
    tallies = {name: CategoryTally() for name in columns if name not in numbers}

    def add(name: str, column: Any) -> None:
        if name in numbers:
            pieces[name].append(np.sort(_floats(column)))
        else:
            tallies[name].add(_counts(column), column.null_count)

    _each(table, columns, add)
    found = {name: tally.sketch() for name, tally in tallies.items()}
    for name, chunks in pieces.items():
        step = max(1, sum(chunk.size for chunk in chunks) // _SAMPLE)
        tally = NumberTally(grid(np.concatenate([chunk[::step] for chunk in chunks])) if chunks else ())
        for chunk in chunks:
            tally.add_sorted(chunk)
        found[name] = tally.sketch()
    return {name: found[name] for name in columns}


def _each(table: Table, columns: Sequence[str], add: Callable[[str, Any], None]) -> None:
    """Hands every column of every piece over, the columns side by side; each column's pieces come one after the other."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for batch in table.pieces(columns, _CHUNK):
            list(pool.map(add, columns, [batch.column(name) for name in columns]))


def _floats(column: Any) -> Any:
    """The values as doubles, missing ones as NaN; times as seconds."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        scale = 1e-6
    else:
        scale = 1.0
    if column.null_count:
        column = pc.cast(column, pa.float64(), safe=False)
    values = np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())
    values = values.astype(np.float64, copy=False)
    return values * scale if scale != 1.0 else values


def _counts(column: Any) -> dict[str, int]:
    """Rows by category, missing ones left out."""
    if hasattr(column, "indices"):
        return _by_index(column)
    counted = column.value_counts()
    values, times = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return {_text(value): int(number) for value, number in zip(values, times, strict=True) if value is not None}


def _by_index(column: Any) -> dict[str, int]:
    import numpy as np

    indices = column.indices.drop_null().to_numpy(zero_copy_only=False)
    times = np.bincount(indices, minlength=len(column.dictionary))
    found: dict[str, int] = {}
    for value, number in zip(column.dictionary.to_pylist(), times.tolist(), strict=True):
        if number and value is not None:
            found[_text(value)] = found.get(_text(value), 0) + number
    return found


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
