"""Runs a scanner that is a program of its own: absent, broken and too slow are told apart, and nothing of it stays."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from mlpipeline.core.findings import NotRun

_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
)


def version_of(distribution: str) -> str:
    """The installed version. Raises NotRun when it is not installed beside the worker."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError as error:
        raise NotRun(f"{distribution} is not installed beside the worker (pip install 'mlpipeline[scan]')") from error


def module_command(module: str, distribution: str) -> list[str]:
    """How a Python module beside the worker is started. Raises NotRun when it is not there."""
    version_of(distribution)
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise NotRun(f"{distribution} is installed but cannot be imported")
    # -P: what lies in the scanned folder must not be imported as one of the scanner's own modules.
    return [sys.executable, "-P", "-m", module]


def program(name: str, environment: Mapping[str, str]) -> str:
    """The program's path. Raises NotRun when it is not on the PATH."""
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    if found is None:
        raise NotRun(f"{name} is not installed")
    return found


def answer(
    command: Sequence[str],
    *,
    folder: Path,
    limit_seconds: float,
    environment: Mapping[str, str] | None = None,
    codes: Sequence[int] = (0,),
    text: bytes = b"",
    merged: bool = False,
    parsed: bool = False,
    kept: tuple[str, ...] = (),
    more: Mapping[str, str] | None = None,
) -> bytes:
    """Standard output of a program that ended with one of these codes.

    Args:
        merged: Whether its standard error belongs to the answer.
        parsed: Whether an answer must be there, as an error of it ends with an allowed code too.
        kept: How the names of further variables begin that it is told.
        more: Variables of ours that it is told besides.

    Raises NotRun when it cannot be started, ends otherwise (with the last line it said) or does not end in time; it and what it
    started are ended then.
    """
    known = os.environ if environment is None else environment
    surroundings = {name: known[name] for name in known if name in _KEPT or name.startswith(("PIP_", *kept))}
    name = Path(command[0]).name if command[0] != sys.executable else command[3] if command[2:3] == ["-m"] else "python"
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**surroundings, **(more or {}), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1", "NO_COLOR": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise NotRun(f"{name} cannot be started: {error.strerror}") from error
    try:
        output, said = process.communicate(text, timeout=limit_seconds)
    except subprocess.TimeoutExpired as error:
        raise NotRun(f"{name} did not end within {limit_seconds:g} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.poll() is None:
            process.communicate()
    if process.returncode not in codes or (parsed and not output.lstrip().startswith((b"{", b"["))):
        lines = (said or output).decode(errors="replace").strip().splitlines()
        raise NotRun(f"{name} ended with {process.returncode}: {lines[-1][:200] if lines else 'it said nothing'}")
    return output
