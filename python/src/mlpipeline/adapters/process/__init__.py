"""Runs a project's command and never loses sight of it.

The command gets a session of its own, so that a Ctrl-C on the terminal reaches the worker, which then ends the command and
everything it started. A worker that was killed cannot do that; what it left is found by the record (process id and start
time, because ids are reused) and by a mark in the environment, and is ended before the next command starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from mlpipeline.errors import EnvironmentFault, Held
from mlpipeline.record.files import write_atomically

MARK = "MLPIPELINE_COMMAND"
"""Environment variable that marks everything a command starts."""
_LOOK_SECONDS = 0.1
_TAIL_LINES = 20
_LINE_BYTES = 2000
_SHELL_SIGNAL_BASE = 128


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended.

    Args:
        kind: ``done`` (exit code 0), ``failed`` (another exit code), ``killed`` (by a signal that was not ours) or ``hung``
            (the time limit passed; it was ended).
        code: The exit code of the shell; 128 + signal number when a signal ended it.
        signal: Its name, such as ``SIGKILL``; empty when no signal ended the command.
        seconds: How long it ran.
        tail: Its last lines of output.
    """

    kind: Literal["done", "failed", "killed", "hung"]
    code: int
    signal: str
    seconds: float
    tail: tuple[str, ...]


class _Started(msgspec.Struct, frozen=True):
    """What is kept on disk while a command runs. ``pid`` is 0 between the intent and the start."""

    mark: str
    command: str
    worker: int
    pid: int = 0
    start_time: int = 0


def run_command(
    command: str,
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    record: Path,
    limit_seconds: float,
    say: Callable[[str], None] = lambda _: None,
    grace_seconds: float = 10.0,
) -> Outcome:
    """Runs the command through the shell until it ends, its time limit passes or the worker is interrupted.

    Args:
        folder: Where it runs.
        environment: Its whole environment.
        log: Receives its output, standard error included; an earlier log is replaced.
        record: Where the running command is noted; one command at a time per record.
        say: Is given each line of output as it comes.
        grace_seconds: Between SIGTERM and SIGKILL.

    Raises Held when another worker runs a command under the same record, EnvironmentFault when the folder or the log cannot be
    used, KeyboardInterrupt when the worker was interrupted, the command having been ended.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with _only_worker(record):
        _end_orphan(record, grace_seconds, say)
        intent = _Started(mark=secrets.token_hex(16), command=command, worker=os.getpid())
        _write(record, intent)
        try:
            return _run(
                intent,
                folder=folder,
                environment=environment,
                log=log,
                record=record,
                limit_seconds=limit_seconds,
                say=say,
                grace_seconds=grace_seconds,
            )
        finally:
            # Whatever ended it: nothing the command started may stay.
            _end_marked(intent.mark, grace_seconds)
            record.unlink(missing_ok=True)


def end_orphan(record: Path, *, grace_seconds: float = 10.0, say: Callable[[str], None] = lambda _: None) -> bool:
    """Ends what a killed worker left running under this record. Returns whether there was something.

    Raises Held while the worker that started it lives.
    """
    if not record.parent.is_dir():
        return False
    with _only_worker(record):
        return _end_orphan(record, grace_seconds, say)


def interrupt(record: Path) -> None:
    """Asks what runs under this record to end, for a worker that waits for several commands in threads of its own."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        started = msgspec.json.decode(record.read_bytes(), type=_Started)
        if started.pid and _start_time(started.pid) == started.start_time:
            _signal_group(started.pid, signal.SIGTERM)


def _run(
    intent: _Started,
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    record: Path,
    limit_seconds: float,
    say: Callable[[str], None],
    grace_seconds: float,
) -> Outcome:
    begun = time.monotonic()
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", intent.command],
                cwd=folder,
                env={**environment, MARK: intent.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentFault(
                "the command could not be started", facts={"command": intent.command, "folder": folder, "system": error}
            ) from error
    lines = _Lines(log, say)
    try:
        _write(record, msgspec.structs.replace(intent, pid=process.pid, start_time=_start_time(process.pid)))
        code = _wait(process, begun + limit_seconds, lines)
        hung = code is None
        if code is None:
            say(f"the time limit of {limit_seconds:g} s has passed, ending the command")
            code = _end_group(process, grace_seconds)
        lines.follow(final=True)
        return _outcome(code, hung, time.monotonic() - begun, lines)
    except BaseException:
        _end_group(process, grace_seconds)
        raise


def _wait(process: subprocess.Popen[bytes], deadline: float, lines: _Lines) -> int | None:
    """The exit code, or None when the deadline passed first."""
    while True:
        left = deadline - time.monotonic()
        try:
            return process.wait(timeout=max(0.0, min(_LOOK_SECONDS, left)))
        except subprocess.TimeoutExpired:
            lines.follow()
            if left <= 0:
                return None


def _outcome(code: int, hung: bool, seconds: float, lines: _Lines) -> Outcome:
    # A shell reports the signal that ended its child as 128 + number; its own is negative here.
    number = -code if code < 0 else code - _SHELL_SIGNAL_BASE
    name = signal.Signals(number).name if number in set(signal.Signals) else ""
    kind: Literal["done", "failed", "killed", "hung"] = (
        "hung" if hung else "done" if code == 0 else "killed" if name else "failed"
    )
    plain = _SHELL_SIGNAL_BASE - code if code < 0 else code
    return Outcome(kind=kind, code=plain, signal=name, seconds=round(seconds, 3), tail=tuple(lines.tail))


class _Lines:
    """Follows a growing log: says new whole lines and keeps the last ones."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._offset = 0
        self._rest = b""
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def follow(self, *, final: bool = False) -> None:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while block := file.read(1 << 16):
                self._offset += len(block)
                *whole, self._rest = (self._rest + block).replace(b"\r", b"\n").split(b"\n")
                # A progress bar without line ends must not fill the memory.
                self._rest = self._rest[-_LINE_BYTES:]
                for line in whole:
                    self._tell(line)
        if final and self._rest:
            self._tell(self._rest)
            self._rest = b""

    def _tell(self, line: bytes) -> None:
        text = line[:_LINE_BYTES].decode(errors="replace").rstrip()
        if text:
            self.tail.append(text)
            self._say(text)


def _end_group(process: subprocess.Popen[bytes], grace_seconds: float) -> int:
    """SIGTERM to the whole group, SIGKILL after the grace or at a second interrupt; returns the leader's exit code."""
    try:
        _signal_group(process.pid, signal.SIGTERM)
        return process.wait(timeout=grace_seconds)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        _signal_group(process.pid, signal.SIGKILL)
        return process.wait()
    finally:
        # The shell may be gone while a child ignores SIGTERM; nobody reuses the group's id while a member lives.
        _signal_group(process.pid, signal.SIGKILL)


def _end_orphan(record: Path, grace_seconds: float, say: Callable[[str], None]) -> bool:
    if not record.is_file():
        return False
    try:
        left = msgspec.json.decode(record.read_bytes(), type=_Started)
    except msgspec.DecodeError as error:
        raise EnvironmentFault(
            "the note of a command that may still run is not readable",
            facts={"file": record},
            tries=("see with `ps` that no training runs, then delete the file",),
        ) from error
    found = bool(_marked(left.mark))
    if left.pid and left.start_time and _start_time(left.pid) == left.start_time:
        found = True
        _signal_group(left.pid, signal.SIGTERM)
        _until(lambda: _start_time(left.pid) != left.start_time, grace_seconds)
        if _start_time(left.pid) == left.start_time:
            _signal_group(left.pid, signal.SIGKILL)
    if found:
        say(f"ending what an earlier worker (process {left.worker}) left running: {left.command}")
    _end_marked(left.mark, grace_seconds)
    record.unlink(missing_ok=True)
    return found


def _end_marked(mark: str, grace_seconds: float) -> None:
    for number, wait in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, grace_seconds)):
        found = _marked(mark)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        _until(lambda: not _marked(mark), wait)


def _marked(mark: str) -> list[int]:
    """Processes of this user whose environment carries the mark, the dead but unburied left out."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _start_time(pid: int) -> int:
    """Clock ticks from the machine's start to the process's, or 0 when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The second field is the name in brackets and may contain anything, also spaces and brackets.
    state, *fields = stat[stat.rindex(b")") + 2 :].split()
    return 0 if state == b"Z" else int(fields[18])


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def _write(record: Path, started: _Started) -> None:
    write_atomically(record, msgspec.json.encode(started))


@contextlib.contextmanager
def _only_worker(record: Path) -> Iterator[None]:
    """Holds the lock beside the record. The system frees it when the worker dies, however it dies."""
    lock = record.with_name(f"{record.name}.lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 100).decode(errors="replace").strip()
            raise Held(
                "another worker is running the command in this checkout",
                facts={"worker": f"process {holder}" if holder else "unknown", "lock": lock},
                tries=("wait until it ends", "use a second checkout for a second run"),
            ) from error
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        os.close(handle)
