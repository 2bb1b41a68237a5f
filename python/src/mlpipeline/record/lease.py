"""What one worker at a time may do: a lock the kernel frees when its holder dies, and a note in it that names the holder."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from weakref import WeakSet

import msgspec

from mlpipeline.errors import Held
from mlpipeline.record.files import write_atomically

_PROBE_SECONDS = 0.25
"""How long an acquisition outlasts readers, who hold the lock for an instant to ask whether it is free."""


class Holder(msgspec.Struct, frozen=True):
    """Who holds a service.

    Args:
        since: UTC, ISO 8601.
        token: Grows by one with each acquisition, so that a writer who lost the lease is told apart.
        verb: What it was started to do.
    """

    pid: int
    host: str
    user: str
    run: str
    since: str
    token: int = 0
    verb: str = ""

    def __str__(self) -> str:
        doing = f"mlpipeline {self.verb}, " if self.verb else ""
        return f"{doing}process {self.pid} on {self.host}"


class Right(msgspec.Struct, frozen=True):
    """What a lease allows its holder, in the words of the refusal that others get.

    Args:
        taken: That somebody else has it.
        likely: How that comes about.
        way_out: Why a person may end the holder.
    """

    taken: str
    likely: str
    way_out: str


TRAFFIC = Right(
    taken="another worker holds this service",
    likely="a release is moving users, or another verb changes the service",
    way_out="SIGTERM: it takes users back itself; then run the same command again",
)
"""To change what users get: deploy, move traffic, retire, stop."""

MAKING = Right(
    taken="another run makes a release of this service",
    likely="two runs were started for one service",
    way_out="SIGTERM harms no user; `mlpipeline rollback` works without it",
)
"""To make a release of the service, from the data gate on."""


class Lease:
    """Held from :meth:`acquire` to :meth:`release` or the death of this process; never by a child of it."""

    def __init__(self, path: Path, right: Right = TRAFFIC) -> None:
        self._path = path
        self._right = right
        self._handle = -1
        self.token = 0

    def acquire(self, holder: Holder, *, after: int = 0) -> Holder:
        """Takes the lease and writes the holder, with its token, into it.

        Args:
            after: The token will be greater than this too, should the note have been lost.

        Raises:
            Held: Another worker has it; the message names it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _locked(handle):
            known = _read(handle)
            os.close(handle)
            raise held_by(known, self._path, self._right)
        known = _read(handle)
        named = msgspec.structs.replace(holder, token=max(known.token if known else 0, after) + 1)
        _write(handle, named)
        self._handle, self.token = handle, named.token
        _open.add(self)
        return named

    def check(self) -> None:
        """To be called right before a change of the service.

        Raises:
            Held: The lock that this worker holds no longer guards the service, because the lease was removed or replaced.
        """
        try:
            same = self._handle >= 0 and os.path.samestat(os.fstat(self._handle), self._path.stat())
        except OSError:
            same = False
        if not same:
            known = holder(self._path)
            raise Held(
                "this worker lost its hold on the service; nothing more is changed",
                facts={"lease": self._path, "held by": known or "nobody"},
                likely="someone removed the lease while this worker ran",
                tries=("mlpipeline status",),
            )

    def pulse(self) -> None:
        """Shows whoever watches that this worker is not only there but at work."""
        if self._handle >= 0:
            os.utime(self._handle)

    def release(self) -> None:
        """Frees the lease. The note stays: its token must never be used again."""
        self._forget()

    def _forget(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        _open.discard(self)


def holder(path: Path) -> Holder | None:
    """Who holds the lease now; ``None`` when nobody does. Never waits."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(handle) or Holder(pid=0, host="", user="", run="", since="")
    else:
        return None
    finally:
        os.close(handle)


def pulse_of(path: Path) -> int:
    """Changes for as long as the holder is at work. Nanoseconds of some clock: nothing but a change means anything."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def take_from(path: Path) -> Holder | None:
    """Ends the right of a holder that is silent: whatever it does when it wakes up is refused. The note goes on, and with it the
    tokens. Returns who had it."""
    known = holder(path)
    if known is not None:
        write_atomically(path, msgspec.json.encode(known), mode=0o644)
    return known


def _locked(handle: int) -> bool:
    deadline = time.monotonic() + _PROBE_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _read(handle: int) -> Holder | None:
    """The note; nothing when it is empty or half written, which a holder's first instant allows."""
    try:
        return msgspec.json.decode(os.pread(handle, 1 << 16, 0), type=Holder)
    except msgspec.DecodeError:
        return None


def _write(handle: int, note: Holder) -> None:
    """Padded in place: a rename would put the lock on a file nobody opens any more, and a cut would show it empty."""
    content = msgspec.json.encode(note)
    size = os.fstat(handle).st_size
    os.pwrite(handle, content.ljust(size, b" "), 0)
    os.fsync(handle)


def held_by(known: Holder | None, path: Path, right: Right = TRAFFIC) -> Held:
    """The refusal that names the holder."""
    facts = {"lease": str(path)}
    if known is not None:
        facts = {
            "held by": str(known),
            "started by": known.user or "unknown",
            "run": known.run or "none",
            "since": known.since,
            **facts,
        }
    return Held(
        f"{right.taken}; nothing was changed",
        facts=facts,
        likely=right.likely,
        tries=(
            "wait until it ends, then run the same command again",
            "mlpipeline status",
            f"kill {known.pid if known else 'PID'}    # {right.way_out}",
        ),
    )


_open: WeakSet[Lease] = WeakSet()


def _not_in_children() -> None:
    for lease in list(_open):
        lease._forget()


os.register_at_fork(after_in_child=_not_in_children)
