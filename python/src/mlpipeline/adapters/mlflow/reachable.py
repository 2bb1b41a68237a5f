"""Whether a tracking server answers, asked in a moment and without importing mlflow."""

from __future__ import annotations

import urllib.error
import urllib.request
from urllib.parse import urlsplit, urlunsplit

from mlpipeline.errors import ConfigurationError, EnvironmentFault

_SCHEMES = frozenset({"http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc"})
_SERVER_ERROR = 500


def check_reachable(uri: str, *, limit_seconds: float = 5.0) -> None:
    """Asks an http(s) server for ``/health``; databases are checked when they are opened.

    Raises EnvironmentFault without an answer, or with a server error, ConfigurationError for what is no tracking URI.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.split("+")[0]
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            "this is not the address of an MLflow server or database",
            facts={"tracking.uri": redacted(uri)},
            likely="a folder was given; MLflow's registry needs a database or a server",
            tries=("tracking: {uri: http://mlflow.example.org:5000}", "leave tracking.uri out: a SQLite file is used"),
        )
    if scheme not in {"http", "https"}:
        return
    host = parts.netloc.rpartition("@")[2]
    address = urlunsplit((parts.scheme, host, parts.path.rstrip("/") + "/health", "", ""))
    try:
        with urllib.request.urlopen(address, timeout=limit_seconds):  # noqa: S310 - the scheme was checked
            return
    except urllib.error.HTTPError as error:
        error.close()
        # Servers behind a login or another product's gateway have no open /health, but they are there.
        if error.code < _SERVER_ERROR:
            return
        said = f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        said = str(getattr(error, "reason", error))
    raise EnvironmentFault(
        "the MLflow server does not answer",
        facts={"server": redacted(uri), "asked": "/health", "answer": said, "within": f"{limit_seconds:g} s"},
        likely="the server is down, or this machine cannot reach it",
        tries=(f"curl {address}", "mlpipeline config (who set tracking.uri?)"),
    )


def redacted(uri: str) -> str:
    """The address without user and password."""
    parts = urlsplit(uri)
    place = parts.netloc.rpartition("@")[2]
    return uri if place == parts.netloc else urlunsplit(parts._replace(netloc=f"***@{place}"))
