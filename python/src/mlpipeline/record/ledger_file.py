"""The ledger's entries in a SQLite file: safe under many processes of one machine, and under a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mlpipeline.errors import EnvironmentFault

_LIMIT_SECONDS = 60.0
_TABLE = "CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY, line BLOB NOT NULL)"
_NO_EDITS = (
    "CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END",
    "CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are never removed'); END",
)


class SqliteStore:
    """Implements :class:`mlpipeline.record.ledger.Store`."""

    shared = False

    def __init__(self, file: Path) -> None:
        self._file = file
        self.place = str(file)

    def lines(self) -> list[bytes]:
        if not self._file.is_file():
            return []
        with self._errors(), contextlib.closing(self._opened("rw")) as connection:
            return _Rows(connection).lines()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[_Rows]:
        with self._errors(), contextlib.closing(self._opened("rwc")) as connection:
            # The file is synchronised before its name of the undo file goes, and the folder after: a power cut loses nothing.
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in (_TABLE, *_NO_EDITS):
                    connection.execute(statement)
                yield _Rows(connection)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def set_aside(self) -> Path | None:
        number = 1
        while (aside := self._file.with_name(f"{self._file.name}.broken-{number}")).exists():
            number += 1
        try:
            return self._file.rename(aside)
        except FileNotFoundError:
            return None

    def _opened(self, mode: str) -> sqlite3.Connection:
        address = f"{self._file.absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(address, uri=True, timeout=_LIMIT_SECONDS, isolation_level=None)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's words for what the system said, as the system's own errors, and the rest as one that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            known = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS, sqlite3.SQLITE_PERM: errno.EACCES}
            if code in known:
                raise OSError(known[code], os.strerror(known[code]), str(self._file)) from error
            if self._file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._file)) from error
            if code == sqlite3.SQLITE_BUSY:
                raise EnvironmentFault(
                    f"the ledger was held by another process for {_LIMIT_SECONDS:.0f} s",
                    facts={"ledger": self._file},
                    tries=(f"fuser {self._file}", "run it again"),
                ) from error
            raise EnvironmentFault(
                "the ledger was changed after it was written"
                if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}
                else "the ledger cannot be read or written",
                facts={"ledger": self._file, "found": error},
                likely="someone edited the file, or a disk lost data",
                tries=("restore it from a backup; keep the broken one as evidence", "mlpipeline rollback    # works without it"),
            ) from error


class _Rows:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def lines(self) -> list[bytes]:
        """By number; one that is missing in between shows in the chain."""
        exists = self._connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'entries'").fetchone()
        found = self._connection.execute("SELECT line FROM entries ORDER BY number").fetchall() if exists else []
        return [bytes(line) if isinstance(line, bytes) else str(line).encode() for (line,) in found]

    def add(self, number: int, line: bytes) -> None:
        self._connection.execute("INSERT INTO entries (number, line) VALUES (?, ?)", (number, line))
