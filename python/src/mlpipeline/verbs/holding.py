"""Taking a service for the life of a verb; verbs within verbs of the same process share what is held.

Two leases, so that users can be taken back while a run trains for hours: ``making`` is held by ``run`` from its begin to
its end, and ``held`` only by what changes the target, while it does.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from mlpipeline.clock import iso
from mlpipeline.errors import Held
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import MAKING, TRAFFIC, Holder, Lease, Right, held_by, holder
from mlpipeline.record.room import keep_room, refuse_without_room
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.keeping import claimed

_RELEASING = frozenset({"deploy", "switch"})
"""Verbs that are refused on a nearly full disk. Those that take back or finish are not: room is kept for them."""
PULSE_SECONDS = 1.0
"""Between signs of life of a worker that holds a service."""

_mine: dict[Path, Lease] = {}


@contextmanager
def making(context: Context, run: Run | None, verb: str = "") -> Iterator[None]:
    """Makes this process the only one that makes a release of the service; allows no change of the target.

    Raises:
        Held: Another worker has it.
    """
    me = _me(context, run, verb)
    with _taken(Lease(context.places.making, MAKING), context.places.making, me), _everywhere(context, me, MAKING):
        yield


@contextmanager
def held(context: Context, run: Run | None, verb: str = "") -> Iterator[int]:
    """Holds the right to change what users get, and gives the fencing token.

    Args:
        verb: What it is held for, in the words of the command line; others are told.

    Raises:
        Held: Another worker has it, or this one lost what it held before.
    """
    path = context.places.lease
    if path in _mine:
        yield _mine[path].token
        return
    _check_mine()
    after = Journal(context.places.journal).read().token
    if verb in _RELEASING:
        refuse_without_room(context.places.state)
    lease = Lease(path)
    me = _me(context, run, verb)
    with _taken(lease, path, me, after) as token, _pulsing(lease), claimed(context), _everywhere(context, me, TRAFFIC):
        keep_room(context.places.state)
        yield token


def refuse_while_held(context: Context) -> None:
    """Asks without taking anything.

    Raises:
        Held: Another worker changes what users get now.
    """
    path = context.places.lease
    known = None if path in _mine else holder(path)
    if known is not None:
        raise held_by(known, path)


def still_held(path: Path) -> int:
    """What a target calls right before each change; gives the fencing token.

    Args:
        path: The lease of the service.

    Raises:
        Held: This process does not hold the service, or no longer; or another run makes a release in its place.
    """
    if path not in _mine:
        raise Held("this worker does not hold the service", facts={"lease": path}, tries=("mlpipeline status",))
    _check_mine()
    return _mine[path].token


def _check_mine() -> None:
    for lease in _mine.values():
        lease.check()


def _everywhere(context: Context, me: Holder, right: Right) -> AbstractContextManager[None]:
    """The same right on every machine that reaches the target, where these have no folder of leases in common."""
    if context.config.target.kind != "kubernetes":
        return nullcontext()
    return context.world.target().hold(me, right)


@contextmanager
def _taken(lease: Lease, path: Path, me: Holder, after: int = 0) -> Iterator[int]:
    lease.acquire(me, after=after)
    _mine[path] = lease
    try:
        yield lease.token
    finally:
        del _mine[path]
        lease.release()


@contextmanager
def _pulsing(lease: Lease) -> Iterator[None]:
    """From a thread, so that it goes on while the worker waits, and stops when the worker is stopped."""
    ending = threading.Event()

    def beat() -> None:
        while not ending.wait(PULSE_SECONDS):
            lease.pulse()

    pulse = threading.Thread(target=beat, name="pulse", daemon=True)
    pulse.start()
    try:
        yield
    finally:
        ending.set()
        pulse.join()


def _me(context: Context, run: Run | None, verb: str) -> Holder:
    return Holder(
        pid=os.getpid(),
        host=socket.gethostname(),
        user=context.actor,
        run=run.id if run else "",
        since=iso(context.clock.now()),
        verb=verb,
    )
