"""A real PostgreSQL for tests: its own folder, a socket in it, no port; ended by its process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_NOBODY = 65534
_PATIENCE_SECONDS = 120.0


def find_programs() -> Path:
    """The folder of ``initdb`` and ``postgres``. Without one: a failure under CI, a named skip elsewhere."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((folder for folder in folders if (folder / "postgres").is_file() and (folder / "initdb").is_file()), None)
    if found is None:
        message = "PostgreSQL is missing: run tools/setup_postgresql.sh"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return found


@contextlib.contextmanager
def running_postgresql() -> Iterator[str]:
    """Yields the address of an empty database."""
    import psycopg

    programs = find_programs()
    folder = Path(tempfile.mkdtemp(prefix="mlpipeline-pg-"))
    # PostgreSQL refuses to run as root.
    other = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    if other:
        os.chown(folder, _NOBODY, _NOBODY)
    data = folder / "data"
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
    try:
        subprocess.run(
            [programs / "initdb", "--pgdata", data, "--username", "ledger", "--auth", "trust", "--no-sync", "--encoding", "UTF8"],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            **other,  # type: ignore[call-overload]
        )
        settings = ("listen_addresses=", f"unix_socket_directories={folder}", "max_connections=30", "fsync=off")
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *(part for setting in settings for part in ("-c", setting))],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                **other,  # type: ignore[call-overload]
            )
        try:
            uri = f"postgresql://ledger@/postgres?host={folder}"
            _wait(uri, server, folder / "log", psycopg)
            yield uri
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=_PATIENCE_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(uri: str, server: subprocess.Popen[bytes], log: Path, psycopg: object) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(uri, connect_timeout=5):  # type: ignore[attr-defined]
            return
        time.sleep(0.05)
    raise AssertionError(f"PostgreSQL did not come up: {log.read_text(errors='replace')[-2000:]}")
