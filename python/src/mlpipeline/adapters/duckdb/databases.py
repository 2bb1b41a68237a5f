"""Tables of databases: DuckDB's own files are attached, SQLite and PostgreSQL are read through their own clients."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed

if TYPE_CHECKING:
    import duckdb

DUCKDB = (".duckdb", ".ddb")
SQLITE = (".sqlite", ".sqlite3", ".db")
SERVERS = ("postgres://", "postgresql://")
_AT_ONCE = 50_000
_PLAIN = frozenset({bool, int, float, str, bytes, date, datetime, time, timedelta})
"""What a column keeps its type for; anything else a client answers, such as UUIDs, addresses and documents, becomes text."""


def is_server(configured: str) -> bool:
    """Whether a configured path is the address of a database server."""
    return configured.startswith(SERVERS)


def is_file(configured: str | Path) -> bool:
    return str(configured).lower().endswith((*DUCKDB, *SQLITE))


def filled(address: str, environment: Mapping[str, str]) -> str:
    """The address with ``$NAME`` replaced from the environment; a name that is not set is a ConfigurationError."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in environment:
            raise ConfigurationError(
                f"the variable {name} of a database's address is not set",
                facts={"address": named(address)},
                tries=(f"export {name}=...",),
            )
        return environment[name]

    known = address.rpartition("@")[0]
    pattern = r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?"
    login = re.sub(pattern, lambda found: _escaped(value(found)), known)
    return login + re.sub(pattern, value, address[len(known) :])


def _escaped(part: str) -> str:
    """As it may stand before the ``@`` of an address; what is escaped already stays."""
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(part, safe="%:"))


def named(address: str) -> str:
    """An address without user, password and settings, for messages; whatever characters the password has."""
    scheme, _, rest = address.partition("://")
    if "password=" in rest:
        rest = rest.partition("?")[0]
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _checked(address: str) -> None:
    """Raises ConfigurationError for a password that cuts the address in two: libpq would tell half of it as the host."""
    login = re.sub(r"\?[^?@]*=.*", "", address.partition("://")[2]).rpartition("@")[0]
    if re.search(r"[/@?#]|%(?![0-9A-Fa-f]{2})", login):
        raise ConfigurationError(
            "the user or password in the address of a database has a character that may not stand there",
            facts={"database": named(address)},
            likely="one of / @ ? # %",
            tries=("name it by a variable, $LABELS_PASSWORD, which is escaped", "write %40 for @, %2F for /, %25 for %"),
        )


def attached(connection: duckdb.DuckDBPyConnection, address: str, table: str, name: str) -> str:
    """What stands after FROM for a table of a database.

    Args:
        name: A free name for what is loaded or attached.

    Raises:
        ConfigurationError: There is no such table; the message lists those there are.
        Failed: The file is no database, or damaged.
        EnvironmentFault: The server cannot be reached, or its client is not installed.
    """
    if is_server(address):
        return _loaded(connection, _postgresql(address, table), name)
    if _is_sqlite(Path(address)):
        return _loaded(connection, _sqlite(Path(address), table), name)
    return _duckdb(connection, Path(address), table, name)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _duckdb(connection: duckdb.DuckDBPyConnection, path: Path, table: str, name: str) -> str:
    import duckdb

    place = str(path).replace("'", "''")
    try:
        connection.execute(f"ATTACH '{place}' AS {name} (READ_ONLY)")
    except duckdb.Error as error:
        raise _no_database(path, error) from error
    listed = connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = ?", [name]
    ).fetchall()
    known = {f"{schema}.{found}": (schema, found) for schema, found in listed} | {
        found: (schema, found) for schema, found in listed
    }
    if table not in known:
        raise _no_table(str(path), table, [found for _, found in listed])
    return ".".join(f'"{part.replace(chr(34), chr(34) * 2)}"' for part in (name, *known[table]))


def _sqlite(path: Path, table: str) -> Iterator[tuple[list[str], list[Sequence[Any]]]]:
    quoted = '"' + table.replace('"', '""') + '"'
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            names = [str(row[0]) for row in database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
            if table not in names:
                raise _no_table(str(path), table, names)
            yield from _batches(database.execute(f"SELECT * FROM {quoted}"))  # noqa: S608
        finally:
            database.close()
    except sqlite3.Error as error:
        raise _no_database(path, error) from error


def _postgresql(address: str, table: str) -> Iterator[tuple[list[str], list[Sequence[Any]]]]:
    try:
        import psycopg
        from psycopg import sql
    except ImportError as error:
        raise EnvironmentFault(
            "PostgreSQL cannot be read, because its client is not installed",
            facts={"table": table},
            tries=("pip install 'mlpipeline[postgresql]'",),
        ) from error
    _checked(address)
    where = named(address)
    try:
        with psycopg.connect(address, connect_timeout=10) as database, database.cursor("mlpipeline") as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table.split("."))))
            yield from _batches(cursor)
    except psycopg.errors.UndefinedTable as error:
        raise _no_table(where, table, _postgresql_tables(address)) from error
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            "the database cannot be read",
            facts={"database": where, "table": table, "found": str(error).splitlines()[0]},
            likely="the user may not read the table, or the name of the table or the address is none",
            tries=(f"psql -c 'GRANT SELECT ON {table} TO ...'", f"psql -c 'TABLE {table} LIMIT 1'"),
        ) from error
    except psycopg.Error as error:
        raise EnvironmentFault(
            "the database cannot be read",
            facts={"database": where, "found": str(error).splitlines()[0]},
            likely="the server is down, cannot be reached from this machine, or refuses the user or password",
            tries=("run it again", "psql with the same address"),
        ) from error


def _postgresql_tables(address: str) -> list[str]:
    """What there is to be read, for a message."""
    import psycopg

    asked = (
        "SELECT table_schema || '.' || table_name FROM information_schema.tables "
        "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 20"
    )
    with psycopg.connect(address, connect_timeout=10) as database:
        return [str(row[0]) for row in database.execute(asked)]


def _batches(cursor: Any) -> Iterator[tuple[list[str], list[Sequence[Any]]]]:
    """Names and rows; at least one batch, so that an empty table has its columns."""
    rows = cursor.fetchmany(_AT_ONCE)
    names = [str(column[0]) for column in cursor.description]
    yield names, rows
    while rows := cursor.fetchmany(_AT_ONCE):
        yield names, rows


def _loaded(connection: duckdb.DuckDBPyConnection, batches: Iterator[tuple[list[str], list[Sequence[Any]]]], name: str) -> str:
    """Copies the rows into a temporary table; columns of mixed types, which SQLite allows, become text."""
    import pyarrow as pa

    pieces = []
    for names, rows in batches:
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        pieces.append(pa.table([_array(values) for values in columns], names=names))
    table = pa.concat_tables(_unified(pieces))
    connection.register("mlpipeline_read", table)
    connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM mlpipeline_read")  # noqa: S608
    connection.unregister("mlpipeline_read")
    return name


def _array(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if Decimal in kinds and kinds <= {Decimal, int, float}:
        whole = all(value is None or (isfinite(value) and value == int(value) and abs(value) < 2**63) for value in values)
        return pa.array([None if value is None else int(value) if whole else float(value) for value in values])
    if (len(kinds) > 1 and not kinds <= {int, float}) or not kinds <= _PLAIN:
        values = [None if value is None else str(value) for value in values]
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    return pa.array(values)


def _unified(pieces: Sequence[Any]) -> list[Any]:
    """Pieces of one schema: whole numbers widen to floating-point ones, anything else that differs becomes text."""
    import pyarrow as pa

    fields = []
    for place, name in enumerate(pieces[0].column_names):
        kinds = {piece.schema.field(place).type for piece in pieces} - {pa.null()}
        kind = next(iter(kinds), pa.string())
        if len(kinds) > 1:
            kind = pa.float64() if kinds <= {pa.int64(), pa.float64()} else pa.string()
        fields.append(pa.field(name, kind))
    return [piece.cast(pa.schema(fields)) for piece in pieces]


def _no_table(where: str, table: str, names: Sequence[str]) -> ConfigurationError:
    return ConfigurationError(
        f"the database has no table {table!r}" if table else "the table of a database is not named",
        facts={"database": where, "tables": ", ".join(sorted(names)[:20]) or "none"},
        tries=(f"table: {sorted(names)[0]}",) if names else (),
    )


def _no_database(path: Path, error: Exception) -> Failed | EnvironmentFault:
    found = str(error).splitlines()[0]
    if "lock" in found.lower():
        return EnvironmentFault(
            "the database is being written, and cannot be read meanwhile",
            facts={"file": path, "found": found},
            likely="another program has it open for writing",
            tries=("close it there after each write", "let it write Parquet, or a copy under another name", f"fuser {path}"),
        )
    return Failed(
        "the database cannot be read",
        facts={"file": path, "found": found},
        likely="it is damaged, cut off, or not what its name says",
    )
