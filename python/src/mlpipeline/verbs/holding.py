"""Taking a service for the life of a verb; verbs within verbs of the same process share the lease."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlpipeline.clock import iso
from mlpipeline.errors import Held
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import Holder, Lease
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context

_mine: dict[Path, Lease] = {}


@contextmanager
def held(context: Context, run: Run | None, verb: str = "") -> Iterator[int]:
    """Holds the service and gives the fencing token.

    Args:
        verb: What it is held for, in the words of the command line; others are told.

    Raises:
        Held: Another worker has it.
    """
    path = context.places.lease
    if path in _mine:
        yield _mine[path].token
        return
    lease = Lease(path)
    lease.acquire(
        Holder(
            pid=os.getpid(),
            host=socket.gethostname(),
            user=context.actor,
            run=run.id if run else "",
            since=iso(context.clock.now()),
            verb=verb,
        ),
        after=Journal(context.places.journal).read().token,
    )
    _mine[path] = lease
    try:
        yield lease.token
    finally:
        del _mine[path]
        lease.release()


def still_held(path: Path) -> None:
    """What a target calls right before each change.

    Args:
        path: The lease of the service.

    Raises:
        Held: This process does not hold the service, or no longer.
    """
    lease = _mine.get(path)
    if lease is None:
        raise Held("this worker does not hold the service", facts={"lease": path}, tries=("mlpipeline status",))
    lease.check()
