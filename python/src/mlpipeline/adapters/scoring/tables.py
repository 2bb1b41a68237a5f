"""Reading a batch in pieces and writing its answers, with columns as the model's signature wants them. Memory does not grow."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlpipeline.core.batch import Wanted, format_of
from mlpipeline.core.data_schema import MISSING_TEXTS
from mlpipeline.errors import Failed

_BLOCK = 2 << 20
"""Bytes of CSV that are read at once, and what a line may have at most. The reader runs up to 32 of them ahead of the model."""


def columns_of(file: Path, wanted: Sequence[Wanted]) -> dict[str, str]:
    """Kind of each column. A column of CSV that the signature names is of the kind that it is to be read as.

    Raises Failed when the file cannot be read, is empty, or names a column twice.
    """
    import pyarrow.parquet as pq

    if not file.stat().st_size:
        raise Failed("the input is empty (zero bytes)", facts={"file": file}, tries=("write or pull the file again",))
    if format_of(file.name) == "csv":
        kinds = {one.name: _AS_READ.get(one.type, "string") for one in wanted}
        return {name: kinds.get(name, "string") for name in _once(_header(file), file)}
    with reading(file), pq.ParquetFile(file) as opened:
        schema = opened.schema_arrow
        _once(schema.names, file)
        return {field.name: _kind(field.type) for field in schema}


def pieces(file: Path, wanted: Sequence[Wanted], rows: int) -> Iterator[Any]:
    """The file in ``pyarrow.RecordBatch``es of so many rows at most, in its order, all columns. Raises Failed."""
    import pyarrow.parquet as pq

    with reading(file):
        if format_of(file.name) == "parquet":
            with pq.ParquetFile(file) as opened:
                for groups in _together(opened, rows):
                    yield from opened.iter_batches(batch_size=rows, row_groups=groups)
        else:
            for batch in _csv(file, wanted):
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)


def _together(opened: Any, rows: int) -> Iterator[list[int]]:
    """Numbers of row groups, as many together as make a piece: asked for all at once, the reader keeps all that it has read."""
    groups: list[int] = []
    found = 0
    for number in range(opened.num_row_groups):
        groups.append(number)
        found += opened.metadata.row_group(number).num_rows
        if found >= rows:
            yield groups
            groups, found = [], 0
    if groups:
        yield groups


def for_model(piece: Any, wanted: Sequence[Wanted], file: Path) -> Any:
    """The columns that the model gets, of the types of its signature; all of them where it names none. Raises Failed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not wanted:
        return piece
    named = [one for one in wanted if one.name in piece.schema.names]
    arrays = []
    for one in named:
        column = piece.column(piece.schema.get_field_index(one.name))
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        try:
            with_type = pc.cast(column, _arrow(one.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise Failed(
                f"column {one.name} of the input holds a value that is no {one.type}",
                facts={"file": file, "found": str(error).splitlines()[0]},
            ) from error
        arrays.append(with_type)
    return pa.RecordBatch.from_arrays(arrays, [one.name for one in named])


def rows_of(file: Path) -> int:
    """How many rows the file says itself that it has, for Parquet; -1 for CSV, which has to be read."""
    import pyarrow.parquet as pq

    if format_of(file.name) != "parquet":
        return -1
    with reading(file), pq.ParquetFile(file) as opened:
        return int(opened.metadata.num_rows)


class Writer:
    """Writes one file of answers; the same pieces give the same bytes. A context manager."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writer: Any = None
        self._raw: Any = None
        self._packed: Any = None
        self._schema: Any = None

    def __enter__(self) -> Writer:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._raw = self._file.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._writer, self._packed):
            if opened is not None:
                opened.close()
        if self._raw is not None and not self._raw.closed:
            self._raw.flush()
            os.fsync(self._raw.fileno())
            self._raw.close()

    def write(self, table: Any) -> None:
        """A ``pyarrow.Table``. Raises Failed when its columns are of other types than the first one's."""
        import pyarrow as pa

        if self._writer is None:
            self._schema = table.schema
            self._writer = self._made(table.schema)
        try:
            self._writer.write_table(table.cast(self._schema))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
            raise Failed(
                "the model answers other types for some rows than for the first ones",
                facts={"first": self._schema, "found": str(error).splitlines()[0]},
            ) from error

    @property
    def schema(self) -> Any:
        """Of the first piece; None before it."""
        return self._schema

    def _made(self, schema: Any) -> Any:
        import pyarrow.csv as pc
        import pyarrow.parquet as pq

        if format_of(self._file.name) == "parquet":
            return pq.ParquetWriter(self._raw, schema)
        if self._file.name.lower().endswith(".gz"):
            self._packed = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0)
        tabs = ".tsv" in self._file.name.lower()
        return pc.CSVWriter(self._packed or self._raw, schema, write_options=pc.WriteOptions(delimiter="\t" if tabs else ","))


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """The reader's errors in our words."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowKeyError, UnicodeDecodeError, EOFError) as error:
        raise _unreadable(file, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> Failed:
    return Failed(
        "the input cannot be read",
        facts={"file": file, "found": (str(error).splitlines() or [type(error).__name__])[0]},
        likely="it is damaged, cut off, or holds other values than the model's signature wants",
        tries=("write or pull the file again",),
    )


def _csv(file: Path, wanted: Sequence[Wanted]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.csv as pc

    header = _header(file)
    types = {one.name: _arrow(one.type) for one in wanted}
    convert = pc.ConvertOptions(
        column_types={name: types.get(name, pa.string()) for name in header},
        null_values=[*MISSING_TEXTS],
        strings_can_be_null=False,
        true_values=["true", "True", "TRUE", "1"],
        false_values=["false", "False", "FALSE", "0"],
    )
    parse = pc.ParseOptions(delimiter=_delimiter(file), newlines_in_values=True)
    texts = {one.name for one in wanted if one.type == "string"}
    opened = pc.open_csv(file, read_options=pc.ReadOptions(block_size=_BLOCK), parse_options=parse, convert_options=convert)
    with opened as batches:
        for batch in batches:
            yield _blanked(batch, texts, MISSING_TEXTS)


def _blanked(batch: Any, texts: set[str], missing: Sequence[str]) -> Any:
    """Texts that stand for a missing value, missing, in the columns that the model gets."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in texts & {*batch.schema.names}:
        place = batch.schema.get_field_index(name)
        column = batch.column(place)
        known = pc.if_else(pc.is_in(column, value_set=pa.array([*missing])), pa.scalar(None, pa.string()), column)
        batch = batch.set_column(place, name, known)
    return batch


def _header(file: Path) -> list[str]:
    with _opened(file) as lines:
        return next(csv.reader(lines, delimiter=_delimiter(file)), [])


def _delimiter(file: Path) -> str:
    with _opened(file) as lines:
        first = lines.readline()
    best = max(",;\t|", key=first.count)
    return best if best in first else ","


def _opened(file: Path) -> Any:
    opener: Any = gzip.open if file.suffix == ".gz" else open
    return opener(file, "rt", encoding="utf-8-sig", errors="replace", newline="")


def _once(names: Sequence[str], file: Path) -> list[str]:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise Failed(f"two columns of the input have the same name: {twice[0]}", facts={"file": file})
    return [*names]


_AS_READ: Mapping[str, str] = {
    **{"boolean": "boolean", "integer": "integer", "long": "integer", "float": "float", "double": "float"},
    **{"string": "string", "datetime": "datetime"},
}


def _arrow(kind: str) -> Any:
    import pyarrow as pa

    known = {
        **{"boolean": pa.bool_(), "integer": pa.int32(), "long": pa.int64(), "float": pa.float32(), "double": pa.float64()},
        **{"string": pa.string(), "datetime": pa.timestamp("ns"), "binary": pa.binary()},
    }
    return known[kind]


def _kind(kind: Any) -> str:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    tests = {
        "boolean": pa.types.is_boolean,
        "integer": pa.types.is_integer,
        "float": lambda one: pa.types.is_floating(one) or pa.types.is_decimal(one),
        "string": lambda one: pa.types.is_string(one) or pa.types.is_large_string(one),
        "datetime": lambda one: pa.types.is_timestamp(one) or pa.types.is_date(one),
        "binary": lambda one: pa.types.is_binary(one) or pa.types.is_large_binary(one),
    }
    return next((name for name, fits in tests.items() if fits(kind)), str(kind))
