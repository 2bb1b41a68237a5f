"""The lease with real processes: one holder, named to the loser, free the moment it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlpipeline.errors import Held
from mlpipeline.record.lease import Holder, Lease, holder

HOLD = """
import os, subprocess, sys
from pathlib import Path
from mlpipeline.record.lease import Holder, Lease
Lease(Path(sys.argv[1])).acquire(Holder(os.getpid(), "build-1", "ada", "run-7", "2026-03-01T03:00:00Z"))
child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, close_fds=False)
forked = os.fork()
if forked == 0:
    os.execvp("sleep", ["sleep", "600"])
print(child.pid, forked, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lease_file(tmp_path: Path) -> Path:
    return tmp_path / "service" / "lease"


@pytest.fixture
def other_worker(lease_file: Path) -> Iterator[subprocess.Popen[str]]:
    worker = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lease_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    children = [int(pid) for pid in worker.stdout.readline().split()]
    yield worker
    worker.kill()
    worker.wait()
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    worker.stdout.close()
    assert worker.stdin is not None
    worker.stdin.close()


def me() -> Holder:
    return Holder(1, "here", "grace", "run-8", "2026-03-01T04:00:00Z")


@pytest.mark.real
def test_loser_learns_the_holder_and_death_frees_it_at_once(lease_file: Path, other_worker: subprocess.Popen[str]) -> None:
    with pytest.raises(Held) as told:
        Lease(lease_file).acquire(me())
    assert all(word in told.value.render() for word in (str(other_worker.pid), "build-1", "ada", "run-7"))
    assert (known := holder(lease_file)) is not None
    assert known.run == "run-7"
    other_worker.kill()
    other_worker.wait()
    lease = Lease(lease_file)
    deadline = time.monotonic() + 60
    while True:  # its children are alive and must not keep the lease
        try:
            got = lease.acquire(me())
            break
        except Held:
            assert time.monotonic() < deadline
    assert got.token == 2
    lease.release()
    assert holder(lease_file) is None


def test_token_grows_even_when_the_note_was_lost(lease_file: Path) -> None:
    lease = Lease(lease_file)
    assert lease.acquire(me()).token == 1
    lease.release()
    lease_file.write_bytes(b"")
    assert lease.acquire(me(), after=9).token == 10
    lease.release()


def test_asking_who_holds_it_does_not_take_it(lease_file: Path) -> None:
    assert holder(lease_file) is None
    assert not lease_file.exists()
