"""The ledger in a PostgreSQL that many agents share. One writer at a time per service; the chain stays one chain."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from mlpipeline.errors import ConfigurationError
from mlpipeline.record.ledger import Unreachable

if TYPE_CHECKING:
    from psycopg import Connection

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_CONNECT_SECONDS = 10
_LOCK_SECONDS = 60
TABLE = "mlpipeline_ledger"
_CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    service text NOT NULL,
    chain integer NOT NULL,
    number bigint NOT NULL,
    line bytea NOT NULL,
    PRIMARY KEY (service, chain, number)
)
"""
_NEWEST = f"coalesce((SELECT max(chain) FROM {TABLE} WHERE service = %(service)s), 1)"  # noqa: S608 - our own name


class PostgresqlStore:
    """Implements :class:`mlpipeline.record.ledger.Store`. Needs the right to INSERT and SELECT, and to create its table once.

    A broken chain stays as it is: a new one gets the next ``chain`` number.

    Args:
        uri: ``postgresql://...``; ``$NAME`` is replaced from the environment.

    Raises ConfigurationError when a variable is not set or the extra ``postgresql`` is not installed.
    """

    shared = True

    def __init__(self, uri: str, service: str, environment: Mapping[str, str]) -> None:
        self._uri = _filled(uri, environment)
        self._secrets = [value for value in (self._uri, urlsplit(self._uri).password or "") if value]
        self._service = service
        self._next_chain = False
        self.place = f"{_public(self._uri)} {TABLE} of {service}"

    @property
    def name(self) -> str:
        """Of this database and service, one word."""
        return hashlib.sha256(_public(self._uri).encode()).hexdigest()[:8]

    def lines(self) -> list[bytes]:
        with self._connected() as connection:
            return _Rows(connection, self._service, begins=self._next_chain).lines()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[_Rows]:
        with self._connected() as connection, connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
            # Whoever else appends to this service's chain waits here, so that numbers and hashes follow each other.
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{TABLE}:{self._service}",))
            if not _exists(connection):
                connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (TABLE,))
                connection.execute(_CREATE)
            yield _Rows(connection, self._service, begins=self._next_chain)
        self._next_chain = False

    def set_aside(self) -> Path | None:
        self._next_chain = True
        return None

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection[Any]]:
        try:
            import psycopg
        except ImportError as error:
            raise ConfigurationError(
                "ledger.uri names a PostgreSQL, and its client is not installed",
                facts={"missing": "psycopg"},
                tries=("install mlpipeline[postgresql]",),
            ) from error
        try:
            with psycopg.connect(self._uri, connect_timeout=_CONNECT_SECONDS, application_name="mlpipeline") as connection:
                connection.autocommit = True
                yield connection
        except psycopg.Error as error:
            raise self._fault(error) from None

    def _fault(self, error: Exception) -> Unreachable:
        said = " ".join(str(error).split())
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return Unreachable(
            "the shared ledger could not be read or written, nothing was recorded",
            facts={"ledger": self.place, "said": said},
            likely="the database is down, refuses this user, or cannot be reached from this agent",
            tries=("psql URI -c 'select 1'    # from this agent", "run it again; what was done is found"),
        )


class _Rows:
    def __init__(self, connection: Connection[Any], service: str, *, begins: bool = False) -> None:
        self._connection = connection
        self._service = service
        self._begins = begins

    def lines(self) -> list[bytes]:
        if self._begins or not _exists(self._connection):
            return []
        found = self._connection.execute(
            f"SELECT line FROM {TABLE} WHERE service = %(service)s AND chain = {_NEWEST} ORDER BY number",  # noqa: S608
            {"service": self._service},
        )
        return [bytes(line) for (line,) in found.fetchall()]

    def add(self, number: int, line: bytes) -> None:
        chain = f"{_NEWEST} + 1" if self._begins else _NEWEST
        self._connection.execute(
            f"INSERT INTO {TABLE} (service, chain, number, line) SELECT %(service)s, {chain}, %(number)s, %(line)s",
            {"service": self._service, "number": number, "line": line},
        )
        self._begins = False


def _exists(connection: Connection[Any]) -> bool:
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (TABLE,)).fetchone()
    return bool(found and found[0])


def _filled(uri: str, environment: Mapping[str, str]) -> str:
    """With the variables replaced: a whole address as it is, a part of one (a password) as addresses write it."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in environment:
            raise ConfigurationError(
                f"the address of the ledger needs ${name}, which is not set",
                facts={"ledger.uri": uri},
                tries=("in Jenkins: withCredentials([string(credentialsId: ..., variable: ...)])",),
            )
        return environment[name] if match.group(0) == uri else quote(environment[name], safe="")

    filled = _VARIABLE.sub(value, uri)
    if not filled.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            "the address of the ledger is no postgresql:// address",
            facts={"ledger.uri": uri},
            tries=("postgresql://mlpipeline:$LEDGER_PASSWORD@database/ledger",),
        )
    return filled


def _public(uri: str) -> str:
    """Server and database without user, password and other options."""
    parts = urlsplit(uri)
    server = parts.netloc.rpartition("@")[2] or "".join(parse_qs(parts.query).get("host", [])[:1])
    return f"postgresql://{server}{parts.path}"
