"""A second word on a statement, by a program of the project's choice: an entry in a public log, a keyless signature."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlpipeline.errors import EnvironmentFault

_LIMIT_SECONDS = 180.0


def witnessed(command: str, statement: Path, project: Path, environment: Mapping[str, str]) -> bytes:
    """What the command wrote to ``$WITNESS`` for the file ``$STATEMENT``, such as a Sigstore bundle.

    Raises EnvironmentFault when it fails, writes nothing or does not end in time. What it printed is not repeated: it may hold
    a token.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "witness")
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=project,
                env={**environment, "STATEMENT": str(statement), "WITNESS": str(written)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_LIMIT_SECONDS,
                check=False,
            )
            found = f"exit code {done.returncode}" if done.returncode else "it wrote nothing to $WITNESS"
        except subprocess.TimeoutExpired:
            found = f"no end within {_LIMIT_SECONDS:.0f} s"
        else:
            if done.returncode == 0 and written.is_file() and written.stat().st_size:
                return written.read_bytes()
    raise EnvironmentFault(
        "signing.witness did not vouch for the statement",
        facts={"command": command, "found": found, "statement": statement},
        likely="the service behind it cannot be reached, or its token is over",
        tries=(
            "run it again: what is signed stays signed",
            "run the command by hand with STATEMENT and WITNESS set to two files",
        ),
    )
