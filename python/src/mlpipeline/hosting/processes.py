"""Processes that outlive the worker: started detached, found again by their record, ended by nothing but that record."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting import detached
from mlpipeline.ports import Clock

LOG_LIMIT = 8 * 1024 * 1024
"""Bytes of a log beyond which its older part goes to ``<log>.1``; the two together never hold much more than twice that."""

PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "HOME", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
)  # fmt: skip
"""The only variables of the worker that a process inherits: a worker's environment holds secrets."""

POLL_SECONDS = 0.02


class ProcessRecord(msgspec.Struct, frozen=True):
    """Which process it was: a pid alone may belong to a stranger by now."""

    pid: int
    start: int
    boot: str
    argv: tuple[str, ...] = ()


class ManagedProcess:
    """One process of the service, by the folder that holds its record and log.

    Args:
        folder: Where ``process.json`` and ``log`` are kept.
        name: What people call it.
    """

    def __init__(self, folder: Path, name: str, clock: Clock) -> None:
        self.folder = folder
        self.name = name
        self._clock = clock

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def record(self) -> ProcessRecord | None:
        """The newest start; None when it was never started or the record is unreadable."""
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode((self.folder / "process.json").read_bytes(), type=ProcessRecord)
        return None

    def running(self) -> ProcessRecord | None:
        """Its record while that very process lives (a zombie does not)."""
        record = self.record
        return record if record is not None and _lives(record) else None

    def start(self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        """Starts the program with a new log; the former log is kept as ``log.1``.

        Args:
            argv: Program (absolute path) and arguments.
            environment: Added to the few variables that are passed on.
            folder: Its working folder; that of the record by default.

        Raises:
            EnvironmentFault: The program cannot be run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            os.replace(self.log, self.log.with_name("log.1"))
        order = {
            "argv": [*argv],
            "environment": {**inherited(), **(environment or {})},
            "folder": str(folder or self.folder),
            "log": str(self.log),
            "record": str(self.folder / "process.json"),
        }
        import subprocess

        done = subprocess.run(
            [sys.executable, "-I", "-S", detached.__file__],
            input=msgspec.json.encode(order),
            capture_output=True,
            start_new_session=True,
            check=False,
        )
        if done.returncode or done.stdout or done.stderr:
            raise EnvironmentFault(
                f"{self.name} could not be started",
                facts={"program": argv[0], "found": (done.stdout or done.stderr).decode(errors="replace")[-500:]},
                likely="the program is missing or may not be run, or the disk is full",
            )

    def stop(self, patience: float) -> None:
        """SIGTERM, and SIGKILL after ``patience`` seconds. Returns when the process is gone; no process: no work."""
        record = self.running()
        if record is None:
            return
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(record.pid)
            try:
                if self.running() != record:
                    return
                signal.pidfd_send_signal(handle, signal.SIGTERM)
                if not self._gone(patience):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    self._gone(patience + 30)
            finally:
                os.close(handle)

    def _gone(self, patience: float) -> bool:
        deadline = self._clock.monotonic() + patience
        while self.running() is not None:
            if self._clock.monotonic() > deadline:
                return False
            self._clock.sleep(POLL_SECONDS)
        return True

    def bound_log(self) -> None:
        """Keeps the log small while the process goes on writing to it."""
        with suppress(OSError):
            if self.log.stat().st_size > LOG_LIMIT:
                self.log.with_name("log.1").write_bytes(_tail(self.log, LOG_LIMIT))
                os.truncate(self.log, 0)

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for messages."""
        with suppress(OSError):
            return "\n".join(_tail(self.log, 16 * 1024).decode(errors="replace").strip().splitlines()[-lines:])
        return ""


def inherited() -> dict[str, str]:
    """The environment every process gets: no secrets, and the word that keeps Jenkins from killing it."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed, "JENKINS_NODE_COOKIE": "dontKillMe"}


def _lives(record: ProcessRecord) -> bool:
    if record.boot != detached.boot_id():
        return False
    try:
        stat = Path(f"/proc/{record.pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(stat[19]) == record.start and stat[0] not in (b"Z", b"X")


def _tail(file: Path, size: int) -> bytes:
    with file.open("rb") as handle:
        handle.seek(max(0, os.fstat(handle.fileno()).st_size - size))
        return handle.read(size)
