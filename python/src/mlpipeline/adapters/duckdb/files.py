"""Opening Parquet and CSV, single files, folders and globs, with errors that name the file and the line."""

from __future__ import annotations

import contextlib
import csv
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipeline.adapters.duckdb import databases
from mlpipeline.core.data_schema import MISSING_TEXTS
from mlpipeline.core.expectations import Kind
from mlpipeline.errors import ConfigurationError, Failed

if TYPE_CHECKING:
    import duckdb

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"), "integer"),
    "DOUBLE": "number",
    "FLOAT": "float32",
    "VARCHAR": "string",
    "BOOLEAN": "boolean",
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "timestamp"),
}


@dataclass(frozen=True)
class Table:
    """An opened data file (or several that are one table).

    Args:
        relation: What stands after FROM; NaN is missing there, as in pandas, decimals are doubles, and times are in UTC.
        source: The same as it was read, for what Parquet's own statistics can answer.
        types: DuckDB's type of each column, in the order of the file.
        raw: The type of each column in ``source``.
        label: The path as configured, for messages.
    """

    connection: duckdb.DuckDBPyConnection
    relation: str
    types: Mapping[str, str]
    label: str
    files: tuple[Path, ...]
    source: str = ""
    raw: Mapping[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, Kind]:
        return {name: _KINDS.get(kind, "other") for name, kind in self.types.items()}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Runs a query. Raises Failed when the file turns out to be damaged."""
        import duckdb

        try:
            found: list[tuple[Any, ...]] = self.connection.execute(query).fetchall()
        except duckdb.Error as error:
            raise _unreadable(error, self.label, self.files) from error
        return found

    def batches(self, query: str, size: int) -> Iterator[list[Any]]:
        """The first column of a query's rows, so many at once. Nothing else may be asked meanwhile.

        Raises Failed as :meth:`rows`.
        """
        import duckdb

        try:
            self.connection.execute(query)
            while found := self.connection.fetchmany(size):
                yield [row[0] for row in found]
        except duckdb.Error as error:
            raise _unreadable(error, self.label, self.files) from error

    def insert(self, name: str, values: Sequence[str]) -> None:
        """Adds texts to a temporary table of one column."""
        self.connection.execute(f"INSERT INTO {name} SELECT unnest(?)", [list(values)])

    def with_nan_in(self, columns: Collection[str]) -> Table:
        """The same table, where only these columns are known to hold NaN: looking for it costs more than the checks."""
        return replace(self, relation=_relation(self.source, self.raw, columns))

    def arrow(self, columns: Sequence[str] = ()) -> Any:
        """The table (or some columns of it) as a ``pyarrow.Table``."""
        import duckdb

        chosen = ", ".join(quoted(name) for name in columns or self.types)
        try:
            return self.connection.execute(f"SELECT {chosen} FROM {self.relation}").to_arrow_table()  # noqa: S608
        except duckdb.Error as error:
            raise _unreadable(error, self.label, self.files) from error

    def arrow_of(self, columns: Sequence[str], sample: str) -> Any:
        """Some columns as a ``pyarrow.Table``, of a sample of the rows (``USING SAMPLE ...``), the same one each time."""
        import duckdb

        chosen = ", ".join(quoted(name) for name in columns)
        try:
            self.connection.execute("SET threads = 1")  # samples are only repeated by one thread
            return self.connection.execute(f"SELECT {chosen} FROM {self.source} {sample}").to_arrow_table()  # noqa: S608
        except duckdb.Error as error:
            raise _unreadable(error, self.label, self.files) from error
        finally:
            self.connection.execute("RESET threads")

    def pieces(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Some columns in Arrow batches of so many rows at most; NaN may be in them, besides missing values.

        Texts of Parquet come as they are stored, as numbers of a dictionary, which is what makes them quick to count.
        """
        plain = all(not _widened(self.raw[name]) for name in columns)
        try:
            yield from _parquet_pieces(self.files, columns, rows) if self.parquet and plain else self._read(columns, rows)
        except (OSError, ValueError) as error:  # pyarrow's own errors are both
            raise _unreadable(error, self.label, self.files) from error

    def _read(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        import duckdb

        chosen = ", ".join(quoted(name) for name in columns)
        try:
            yield from self.connection.execute(f"SELECT {chosen} FROM {self.relation}").to_arrow_reader(rows)  # noqa: S608
        except duckdb.Error as error:
            raise _unreadable(error, self.label, self.files) from error

    @property
    def parquet(self) -> bool:
        """Whether the files themselves hold all columns: values of partitions stand in the names of folders."""
        return bool(self.files) and _suffix(self.files[0]) == "parquet" and not _partitioned(self.files)

    def newest(self, column: str) -> datetime | None:
        """The latest moment in a column of times, or of text that reads as times; without a zone it is UTC."""
        latest = self.rows(f"SELECT epoch(max({self.as_time(column)})) FROM {self.relation}")[0][0]  # noqa: S608
        return None if latest is None else datetime.fromtimestamp(latest, UTC)

    def no_times(self, column: str) -> int:
        """How many values :meth:`newest` leaves out because they do not read as times."""
        if self.kinds[column] == "timestamp":
            return 0
        asked = f"SELECT count({quoted(column)}) - count({self.as_time(column)}) FROM {self.relation}"  # noqa: S608
        return int(self.rows(asked)[0][0])

    def as_time(self, column: str) -> str:
        """SQL of a column's moments in UTC, which no zone stands for; missing where a text is no time."""
        name = quoted(column)
        if self.kinds[column] == "timestamp":
            return name
        text, zoned = f"CAST({name} AS VARCHAR)", "[0-9]:[0-9]{2}.*(Z|z|[+-][0-9]{2}(:?[0-9]{2})?)$"
        moment = f"make_timestamp(epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)))"  # as a TIMESTAMP it would lose its zone
        return f"CASE WHEN regexp_matches({text}, '{zoned}') THEN {moment} ELSE TRY_CAST({text} AS TIMESTAMP) END"

    def close(self) -> None:
        self.connection.close()


def find(project: Path, configured: str) -> tuple[Path, ...]:
    """The files that a configured path, folder or glob stands for, sorted; empty when there is none.

    Raises ConfigurationError for a format that is neither Parquet nor CSV, and for a mixture of both.
    """
    path = project / configured
    if path.is_file() and databases.is_file(path):
        return (path,)
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and _suffix(file)]
    elif any(character in configured for character in "*?["):
        start = Path(path.anchor) if Path(configured).is_absolute() else project
        found = [file for file in start.glob(str(path.relative_to(start))) if file.is_file()]
    else:
        found = []
    formats = {_suffix(file) for file in found}
    if len(formats) > 1 or (found and "" in formats):
        strange = next((file.name for file in sorted(found) if not _suffix(file)), "")
        raise ConfigurationError(
            "the data gate reads Parquet, CSV, or a table of a database, one of them per entry",
            facts={"path": configured, "found": strange or "both formats"},
            tries=("make one entry per format under data.files", "use a glob such as data/*.parquet"),
        )
    return tuple(sorted(found))


def open_table(files: Sequence[Path], label: str, *, table: str = "", beside: Table | None = None) -> Table:
    """Opens the files as one table. Raises Failed, naming file and line where known, when they cannot be read.

    Args:
        table: Of a database, which table or view.
        beside: An open table that queries name together with this one: both are of one connection.
    """
    import duckdb

    empty = next((file for file in files if file.stat().st_size == 0), None)
    if empty is not None:
        raise Failed("the data file is empty (zero bytes)", facts={"file": empty}, tries=("write or pull the file again",))
    connection = beside.connection if beside else _connected()
    try:
        if databases.is_file(files[0]):
            source = databases.attached(connection, str(files[0]), table, _free(connection))
        else:
            source = _parquet(connection, files) if _suffix(files[0]) == "parquet" else _load_csv(connection, files)
        return _described(connection, source, label, files)
    except duckdb.Error as error:
        if beside is None:
            connection.close()
        raise _unreadable(error, label, files) from error


def open_server(address: str, label: str, *, table: str, beside: Table | None = None) -> Table:
    """Opens a table of a database server. Raises EnvironmentFault when it cannot be reached.

    Args:
        label: What messages call it, without a password.
    """
    connection = beside.connection if beside else _connected()
    return _described(connection, databases.attached(connection, address, table, _free(connection)), label, ())


def _described(connection: duckdb.DuckDBPyConnection, source: str, label: str, files: Sequence[Path]) -> Table:
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
    raw = {str(row[0]): str(row[1]) for row in described}
    types = {name: _cleaned(kind) for name, kind in raw.items()}
    return Table(connection, _relation(source, raw, raw), types, label, tuple(files), source, raw)


def _free(connection: duckdb.DuckDBPyConnection) -> str:
    """A name that nothing on this connection has."""
    taken = connection.execute(
        "SELECT (SELECT count(*) FROM duckdb_tables()) + (SELECT count(*) FROM duckdb_databases())"
    ).fetchall()
    return f"loaded_{taken[0][0]}"


def _connected() -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "temp_directory": str(Path(tempfile.gettempdir()) / "mlpipeline-duckdb"),
        }
    )


def _parquet(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> str:
    _refuse_twice(_parquet_columns(connection, files[0]), files[0])
    return f"read_parquet({_texts(files)}, hive_partitioning = {'true' if _partitioned(files) else 'false'})"


def _parquet_columns(connection: duckdb.DuckDBPyConnection, file: Path) -> list[str]:
    """The names at the top of the file's schema, which are listed depth first with the number of their children."""
    listed = connection.execute(f"SELECT name, num_children FROM parquet_schema({_texts([file])})").fetchall()  # noqa: S608
    names: list[str] = []
    below = 0
    for name, children in listed[1:]:
        if below == 0:
            names.append(str(name))
        below += (children or 0) - (1 if below else 0)
    return names


def _refuse_twice(names: Sequence[str], file: Path | str) -> None:
    """Every reader renames the second of two columns of one name in a way of its own; to SQL, case makes no difference."""
    first: dict[str, str] = {}
    for name in names:
        if name and name.lower() in first:
            raise Failed(
                f"two columns of the data file have the same name: {name}"
                + ("" if first[name.lower()] == name else f" and {first[name.lower()]}"),
                facts={"file": file, "columns": ", ".join(names)},
                tries=("give each column a name of its own",),
            )
        first[name.lower()] = name


def _partitioned(files: Sequence[Path]) -> bool:
    """Whether folders are named ``key=value``, in one order of keys for all files."""
    keys = {tuple(part.split("=")[0] for part in file.parent.parts if "=" in part) for file in files}
    return len(keys) == 1 and bool(next(iter(keys)))


def _relation(source: str, raw: Mapping[str, str], with_nan: Collection[str]) -> str:
    clean = ", ".join(
        f"{_clean(name, kind) if name in with_nan or kind not in _NAN else quoted(name)} AS {quoted(name)}"
        for name, kind in raw.items()
    )
    return f"(SELECT {clean} FROM {source})"  # noqa: S608


def quoted(name: str) -> str:
    """An identifier, safe inside a query."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text literal, safe inside a query."""
    return "'" + value.replace("'", "''") + "'"


def _parquet_pieces(files: Sequence[Path], columns: Sequence[str], rows: int) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path, memory_map=True) as probe:
            schema = probe.schema_arrow
        texts = [name for name in columns if pa.types.is_string(schema.field(name).type)]
        with pq.ParquetFile(path, memory_map=True, read_dictionary=texts) as file:
            yield from file.iter_batches(batch_size=rows, columns=list(columns))


_READINGS = ("", ", sample_size = -1", ", sample_size = -1, dateformat = '%Y-%m-%d'", ", sample_size = -1, all_varchar = true")
"""How a CSV is read, one after the other until one fits every line: types by the first rows; by all; dates of mixed forms, for
which the reader may settle on one that does not fit them all, as text; at last everything as text."""


def _load_csv(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> str:
    """Parses the files once into memory; types are guessed from the first rows, and from all rows when these mislead."""
    import duckdb

    for file in files:
        if file.suffix == ".gz":
            _refuse_cut(file)
        _refuse_ambiguous(file)
    options = (
        f"header = true, delim = {text(_delimiter(files[0]))}, quote = '\"', escape = '\"', comment = '', skip = 0, "
        f"null_padding = false, nullstr = [{', '.join(text(value) for value in MISSING_TEXTS)}]"
    )
    name = f"loaded_{len(connection.execute('SELECT table_name FROM duckdb_tables()').fetchall())}"  # noqa: S608
    hive = f", hive_partitioning = {'true' if _partitioned(files) else 'false'}"
    statement = f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM read_csv({_texts(files)}, {options}{hive}"  # noqa: S608
    for more in _READINGS[:-1]:
        with contextlib.suppress(duckdb.ConversionException):
            connection.execute(f"{statement}{more})")
            _refuse_rounded(connection, name, f"read_csv({_texts(files)}, {options}{hive}, all_varchar = true)", files)
            return name
    connection.execute(f"{statement}{_READINGS[-1]})")
    return name


def _refuse_rounded(connection: duckdb.DuckDBPyConnection, name: str, as_text: str, files: Sequence[Path]) -> None:
    """Integers that 64 bits do not hold are read as doubles, where many of them are one number."""
    described = connection.execute(f"DESCRIBE {name}").fetchall()
    doubles = [quoted(str(row[0])) for row in described if row[1] == "DOUBLE"]
    if not doubles:
        return
    largest = connection.execute(f"SELECT {', '.join(f'max(abs({cell}))' for cell in doubles)} FROM {name}").fetchall()[0]  # noqa: S608
    for cell in (cell for cell, value in zip(doubles, largest, strict=True) if value is not None and value >= 2.0**63):
        query = f"SELECT {cell} FROM {as_text} WHERE regexp_full_match({cell}, '[+-]?[0-9]{{19,}}') LIMIT 1"  # noqa: S608
        found = connection.execute(query).fetchall()
        if found:
            raise Failed(
                f"column {cell} of the data file holds integers beyond 64 bits, which no reader tells apart",
                facts={"file": ", ".join(map(str, files[:3])), "such as": found[0][0]},
                tries=("write them as text, such as id-123", "write Parquet with a column of text"),
            )


def _refuse_cut(file: Path) -> None:
    """DuckDB takes a compressed file that ends too early for one that ends there."""
    import gzip
    import zlib

    try:
        with gzip.open(file, "rb") as content:
            while content.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise Failed(
            f"the compressed data file is cut off or damaged: {error}",
            facts={"file": file},
            tries=("write or pull the file again",),
        ) from error


def _refuse_ambiguous(file: Path) -> None:
    with _opened(file) as lines:
        try:
            names = next(csv.reader(lines, delimiter=_delimiter(file)), [])
        except csv.Error:
            names = []  # DuckDB has better words for it
    _refuse_twice(names, f"{file}:1")


def _delimiter(file: Path) -> str:
    with _opened(file) as lines:
        header = lines.readline()
    bare = re.sub(r'"[^"]*"', "", header)
    best = max(",;\t|", key=bare.count)
    return best if best in bare else ","


def _opened(file: Path) -> Any:
    import gzip

    opener: Any = gzip.open if file.suffix == ".gz" else open
    return opener(file, "rt", encoding="utf-8-sig", errors="replace", newline="")


def _suffix(file: Path) -> str:
    name = file.name.lower()
    return "parquet" if name.endswith(PARQUET) else "csv" if name.endswith(CSV) else ""


def _texts(files: Sequence[Path]) -> str:
    """The paths as a list literal; glob characters in a file's own name are taken literally."""
    return "[" + ", ".join(text(re.sub(r"([*?\[])", r"[\1]", str(file))) for file in files) + "]"


_NAN = frozenset({"DOUBLE", "FLOAT"})
_ZONED = "TIMESTAMP WITH TIME ZONE"


def _cleaned(kind: str) -> str:
    """The type of a column after :func:`_clean`."""
    return "DOUBLE" if _widened(kind) else "TIMESTAMP" if kind == _ZONED else kind


def _widened(kind: str) -> bool:
    return kind.startswith("DECIMAL") or kind in {"HUGEINT", "UHUGEINT"}


def _clean(name: str, kind: str) -> str:
    if _widened(kind):
        return f"CAST({quoted(name)} AS DOUBLE)"
    if kind == _ZONED:  # as the moment in UTC: the arithmetic of zones is no part of DuckDB itself
        return f"make_timestamp(epoch_us({quoted(name)}))"
    # not nullif: DuckDB folds a comparison with NaN by Parquet's statistics, which leave NaN out
    return f"CASE WHEN isnan({quoted(name)}) THEN NULL ELSE {quoted(name)} END" if kind in _NAN else quoted(name)


def _unreadable(error: Exception, label: str, files: Sequence[Path]) -> Failed:
    message = str(error)
    named = re.search(r"file = (.+)", message) or re.search(r"file ['\"](.+?)['\"]", message, re.IGNORECASE)
    file = named.group(1).strip() if named else label
    line = re.search(r"Line: (\d+)", message)
    where = f"{file}:{line.group(1)}" if line else file
    if "not utf-8 encoded" in message:
        return _not_text(where, Path(file).name)
    known = next((path for path in files if str(path) == file), files[0] if files else Path(file))
    if known.suffix.lower() == ".csv" and _holds_zero_bytes(known):
        return _not_text(str(known), known.name)
    if "Maximum line size" in message:
        return Failed(
            "a line of the data file is longer than 2 MB",
            facts={"file": known},
            likely="a quote that never ends, a file without line breaks, or no CSV at all",
            tries=(f"awk 'length > 2000000 {{print FNR; exit}}' {known.name}", "write it as Parquet"),
        )
    ragged = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if ragged:
        return _ragged(where, int(ragged.group(1)), int(ragged.group(2)))
    if "sniffing file" in message and (told := _of_no_dialect(known)):
        return told
    return Failed(
        "the data file cannot be read",
        facts={"file": where, "found": message.splitlines()[0]},
        likely="it is damaged, cut off, or not what its name says",
        tries=("write or pull the file again",),
    )


def _of_no_dialect(file: Path) -> Failed | None:
    """Why a CSV file fits no dialect, where that can be found out."""
    if bad := _first_ragged_line(file):
        return _ragged(f"{file}:{bad[0]}", bad[1], bad[2])
    if file.suffix.lower() in {".csv", ".tsv"} and (opening := _open_quote(file)):
        return Failed(
            "a quoted value of the data file never ends",
            facts={"file": f"{file}:{opening}"},
            likely="a quote that belongs to the value and is not doubled, or a file that was cut off",
        )
    return None


def _not_text(where: str, name: str) -> Failed:
    return Failed(
        "the data file is not UTF-8 text",
        facts={"file": where},
        likely="it was written in another encoding, such as Latin-1 or UTF-16, or it is no CSV at all",
        tries=(f"iconv -f latin1 -t utf-8 {name}", f"file {name}"),
    )


def _holds_zero_bytes(path: Path) -> bool:
    """No text in UTF-8 has them near its beginning; UTF-16, a sparse file after a crash, and binaries do."""
    with path.open("rb") as file:
        return b"\0" in file.read(1 << 16)


def _ragged(where: str, expected: int, found: int) -> Failed:
    return Failed(
        f"a line of the data file has {found} fields, but the header has {expected}",
        facts={"file": where},
        likely="a value with an unquoted delimiter or line break, or a file that was cut off",
    )


def _open_quote(file: Path) -> int:
    """The line of a quote that is never closed; 0 when all are."""
    last, odd = 0, False
    with _opened(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.count('"') % 2:
                last, odd = number, not odd
    return last if odd else 0


def _first_ragged_line(file: Path) -> tuple[int, int, int] | None:
    """Line number, fields expected and found, of the first record that does not fit the header."""
    with _opened(file) as lines:
        reader = csv.reader(lines, delimiter=_delimiter(file))
        try:
            width = len(next(reader, []))
            for record in reader:
                if record and len(record) != width:
                    return reader.line_num, width, len(record)
        except csv.Error:
            return None
    return None
