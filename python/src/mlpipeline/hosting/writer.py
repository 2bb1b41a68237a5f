"""Who may write what a router follows: one worker at a time, and none that is older than the newest that wrote."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mlpipeline.errors import EnvironmentFault, Held
from mlpipeline.ports import Clock

FILE = "writer"
WAIT_SECONDS = 30.0
"""For another worker that is in the middle of a write, which takes milliseconds."""
POLL_SECONDS = 0.005

Fence = Callable[[], int | None]
"""Gives the fencing token of this worker; raises Held when it no longer may change the service."""


class LastWriter(msgspec.Struct, frozen=True):
    """Who wrote last, or is at it."""

    token: int = 0
    pid: int = 0
    host: str = ""


@contextmanager
def alone(folder: Path, fence: Fence, clock: Clock) -> Iterator[None]:
    """For one write into the folder. Between the look at the token and the write nobody else comes, however long this worker
    is stopped there: that is what a fence alone cannot promise.

    Raises:
        Held: A newer worker wrote already, or this one no longer may.
        EnvironmentFault: Another worker is in the middle of a write and does not end it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(handle, folder, clock)
        token = fence()
        newest = _read(handle)
        if token is not None:
            if newest.token > token:
                raise Held(
                    "a newer worker decided where users go; nothing was changed",
                    facts={"router": folder, "token": f"{token}, the newer one had {newest.token}"},
                    likely="this worker was stopped for a while, and another one took over",
                    tries=("mlpipeline status",),
                )
            _note(handle, LastWriter(token, os.getpid(), os.uname().nodename))
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, clock: Clock) -> None:
    deadline = clock.monotonic() + WAIT_SECONDS
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() >= deadline:
                known = _read(handle)
                raise EnvironmentFault(
                    "another worker is in the middle of a write to the router and does not end it",
                    facts={"router": folder, "worker": f"process {known.pid} on {known.host}"},
                    likely="it was stopped, or its disk hangs",
                    tries=(f"kill -9 {known.pid}    # then run the same command again",),
                ) from None
        clock.sleep(POLL_SECONDS)


def _read(handle: int) -> LastWriter:
    try:
        return msgspec.json.decode(os.pread(handle, 1 << 12, 0), type=LastWriter)
    except msgspec.DecodeError:
        return LastWriter()


def _note(handle: int, writer: LastWriter) -> None:
    """In place and padded: the lock is on this very file, and a reader never sees it empty."""
    content = msgspec.json.encode(writer)
    os.pwrite(handle, content.ljust(os.fstat(handle).st_size, b" "), 0)
