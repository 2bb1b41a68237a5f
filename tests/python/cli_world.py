"""A small service released with the real command, to be interrupted: project, state folder, worker processes, users.

Git, the command line, Envoy, Prometheus, the journal, the lease and every process are real. What is released is a prepared
package that serves within a blink (``tiny_service.py``), so that a test can afford to kill a dozen workers in one release.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from constant_load import ConstantLoad
from fakes import FakeConsole
from mlpipeline.adapters.bundle import Built, Digests, build, files_under
from mlpipeline.config.load import load
from mlpipeline.core.release import State
from mlpipeline.core.verdict import Verdict
from mlpipeline.hosting.machine import free_port
from mlpipeline.ports import Artifact
from mlpipeline.record.journal import Journal
from mlpipeline.record.ledger import Entry, Ledger
from mlpipeline.record.places import Places
from mlpipeline.record.result import Result
from mlpipeline.verbs.current import Choice, choose_run
from mlpipeline.verbs.wiring import make_context
from tiny_service import Behaviour, make_bundle

SERVICE = "interrupted"
PATIENCE = 180.0
"""Seconds after which a condition that did not come is a failure; a starved machine is slow, not wrong."""
_LOOK_SECONDS = 0.01
_DYING_WORKER = str(Path(__file__).with_name("dying_worker.py"))
_AT_A_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
_CONFIG = """
service: {service}
data:
  files:
    rows: {{path: rows.csv, expect: [{{column: hour, between: [0, 23]}}]}}
train: {{command: "false"}}
target:
  local: {{port: {port}, ready_timeout: 3m, drain_timeout: 20s, threads: 1}}
rollout: {{mirror: {stage}s, steps: [50], step: {stage}s, bake: {stage}s, control: 20, settle_switch: 60s, hold: 90s}}
verify: {{interval: 500ms, min_requests: 10, latency: {{enabled: false}}}}
"""


class Moment(NamedTuple):
    """Right after a call of the function ``place`` whose arguments contain all the ``words``; see ``dying_worker.py``."""

    name: str
    place: str
    words: str = ""


class Worker:
    """One ``mlpipeline`` process in a session of its own, so that signals can be sent to its whole tree."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def told(self) -> str:
        """What it has written to both its outputs so far."""
        return self._log.read_text(errors="replace")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for a moment in its life. Fails when the worker ends first."""
        wait_until(lambda: condition() or self.process.poll() is not None, what, lambda: self.told)
        assert condition(), f"the worker ended ({self.process.returncode}) before: {what}\n{self.told}"

    def says(self, words: str) -> None:
        self.until(lambda: words in self.told, f"it says {words!r}")

    def kill(self) -> None:
        """SIGKILL to the worker alone, as the kernel's out-of-memory killer does."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """To the process group, as a terminal sends it."""
        os.killpg(self.process.pid, number)

    def terminate_tree(self) -> int:
        """SIGTERM to the worker and every descendant at once, as the abort of a Jenkins build does."""
        for pid in (*descendants(self.process.pid), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return self.ended()

    def dies(self) -> None:
        """Waits for the moment it was started to die at."""
        assert self.ended() == -signal.SIGKILL, f"the worker did not come to the moment it should die at\n{self.told}"

    def ended(self) -> int:
        """Its exit code; waits for it."""
        return self.process.wait(timeout=PATIENCE * 2)


class Terminal:
    """A terminal window that shows what its worker says, until it is closed.

    Args:
        log: What it showed.
    """

    def __init__(self, log: Path) -> None:
        self._ours, self.worker_side = pty.openpty()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._copy, args=(log,), name="terminal", daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """As closing the window does, or a lost connection to the machine."""
        self._closing.set()
        self._thread.join()

    def _copy(self, log: Path) -> None:
        with log.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while not self._closing.is_set():
                if select.select([self._ours], [], [], _LOOK_SECONDS)[0]:
                    file.write(os.read(self._ours, 1 << 16))
        os.close(self._ours)


class CliWorld:
    """One project and one state folder.

    Args:
        folder: Kept as long as the world.
        stage_seconds: Length of each stage of the rollout.
    """

    def __init__(self, folder: Path, stage_seconds: float = 2.0) -> None:
        self.project = folder / "project"
        self.project.mkdir(parents=True)
        self.places = Places(project=self.project, home=folder / "home", service=SERVICE)
        self.port = free_port()
        self._folder = folder
        self._workers: list[Worker] = []
        self._commits = 0
        (self.project / "rows.csv").write_text("hour\n1\n2\n")
        (self.project / ".gitignore").write_text(".mlpipeline/\n")
        config = _CONFIG.format(service=SERVICE, port=self.port, stage=stage_seconds)
        (self.project / "mlpipeline.yaml").write_text(config)
        self.git("init", "--quiet")

    @property
    def journal(self) -> State:
        return Journal(self.places.journal).read()

    @property
    def phase(self) -> str:
        """Of the release in progress; empty when there is none."""
        release = self.journal.release
        return str(release.phase) if release is not None else ""

    @property
    def ledger(self) -> list[Entry]:
        return Ledger(self.places.ledger).read()

    @property
    def champion(self) -> str:
        """Digest of the settled version."""
        champion = self.journal.champion
        return champion.version.digest if champion else ""

    @property
    def other(self) -> str:
        """The colour that is not the champion's: where the next candidate goes."""
        champion = self.journal.champion
        assert champion is not None
        return str(champion.colour.other)

    def git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=self.project, check=True, capture_output=True)

    def commit(self) -> None:
        """Another commit."""
        self._commits += 1
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", f"commit {self._commits}")

    def prepare(self, behaviour: Behaviour | None = None) -> str:
        """Another commit with everything passed up to ``register``; returns the digest that ``mlpipeline run`` will release."""
        self.commit()
        built = self._package(make_bundle(self._folder / "made", behaviour or Behaviour(name=f"commit {self._commits}")))
        config = load(self.project, environment={}).config
        context = make_context(config, self.project, FakeConsole(), {"MLPIPELINE_HOME": str(self.places.home)})
        made = choose_run(context, Choice.START)
        evidence: dict[str, dict[str, object]] = {
            "train": {},
            "gate-security": {},
            "gate-model": {},
            "package": {"digest": built.manifest.digest, "path": str(built.path)},
            "register": {"name": SERVICE},
        }
        for verb, found in evidence.items():
            passed = Result(verb=verb, service=SERVICE, run=made.id, verdict=Verdict.PASS, summary="prepared", evidence=found)
            context.runs.write(passed)
        return built.manifest.digest

    def _package(self, made: Artifact) -> Built:
        """A whole bundle with a lock that needs nothing, and the environment of that lock."""
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        lock = f"# python {python} on this machine\n"
        self._make_environment(lock)
        return build(
            self.places.bundles,
            files_under(Path(made.path), ""),
            {"requirements.lock": lock},
            lock=f"sha256:{hashlib.sha256(lock.encode()).hexdigest()}",
            python=python,
            digests=Digests(self._folder / "digests.json"),
        )

    def _make_environment(self, lock: str) -> None:
        """An installed environment whose interpreter is the one that runs the tests."""
        folder = self.places.environments / hashlib.sha256(lock.encode()).hexdigest()
        if folder.exists():
            return
        (folder / "bin").mkdir(parents=True)
        interpreter = folder / "bin" / "python"
        interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        interpreter.chmod(0o755)
        (folder / ".mlpipeline-complete").write_text("made by a test\n")

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None, dies: Moment | None = None) -> Worker:
        """Starts ``mlpipeline`` with these arguments, to be killed at a moment of its own if one is given."""
        program = ["-m", "mlpipeline"] if dies is None else [_DYING_WORKER, dies.place, dies.words]
        log = self._folder / f"worker-{len(self._workers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                cwd=self.project,
                env={**os.environ, "MLPIPELINE_HOME": str(self.places.home), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = Worker(process, log)
        self._workers.append(worker)
        return worker

    def start_in_a_terminal(self, *arguments: str) -> tuple[Worker, Terminal]:
        """``mlpipeline`` as a person at a terminal starts it; hangs up when the terminal is closed."""
        log = self._folder / f"worker-{len(self._workers)}.log"
        log.touch()
        terminal = Terminal(log)
        process = subprocess.Popen(
            [sys.executable, "-c", _AT_A_TERMINAL, sys.executable, "-m", "mlpipeline", *arguments],
            cwd=self.project,
            env={**os.environ, "MLPIPELINE_HOME": str(self.places.home), "TERM": "xterm", "CI": ""},
            stdin=terminal.worker_side,
            stdout=terminal.worker_side,
            stderr=terminal.worker_side,
            start_new_session=True,
        )
        os.close(terminal.worker_side)
        worker = Worker(process, log)
        self._workers.append(worker)
        return worker, terminal

    def call(self, *arguments: str, expect: int = 0) -> str:
        """Runs ``mlpipeline`` to its end and returns what it said."""
        worker = self.start(*arguments)
        code = worker.ended()
        assert code == expect, f"mlpipeline {' '.join(arguments)} ended with {code}, not {expect}\n{worker.told}"
        return worker.told

    def status(self) -> dict[str, object]:
        """The evidence of ``mlpipeline status --json`` and its lines."""
        answer = subprocess.run(
            [sys.executable, "-m", "mlpipeline", "status", "--json"],
            cwd=self.project,
            env={**os.environ, "MLPIPELINE_HOME": str(self.places.home)},
            capture_output=True,
            check=True,
        )
        found: dict[str, object] = json.loads(answer.stdout)["evidence"]
        return found

    def in_phase(self, phase: str, stage: int | None = None) -> Callable[[], bool]:
        """Whether the journal says so."""

        def there() -> bool:
            release = self.journal.release
            return release is not None and release.phase == phase and (stage is None or release.stage == stage)

        return there

    def servers(self) -> dict[str, int]:
        """Process ids of what serves: router, colours, Prometheus, those that live."""
        from mlpipeline.clock import SystemClock
        from mlpipeline.hosting.processes import ManagedProcess

        folders = {"router": "router", "blue": "blue", "green": "green", "prometheus": "prometheus"}
        found = {}
        for name, folder in folders.items():
            record = ManagedProcess(self.places.target / folder, name, SystemClock()).running()
            if record is not None:
                found[name] = record.pid
        return found

    @contextlib.contextmanager
    def users(self) -> Iterator[ConstantLoad]:
        """Users ask all the time; at the end every one must have been answered."""
        load = ConstantLoad(f"http://127.0.0.1:{self.port}", [b"{}"], rate=40.0, keep_alive=2, fresh=2)
        with load:
            yield load
        assert load.sent, "no user asked"
        assert not load.failed, f"{load.failed} of {load.sent} requests failed: {load.failures}"

    def close(self) -> None:
        """Ends what the world started: workers first, then everything of the service."""
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.kill()
        self.call("stop")


def wait_until(condition: Callable[[], bool], what: str, told: Callable[[], str] = lambda: "") -> None:
    """Polls for a condition; fails with what was waited for."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}\n{told()}"
        time.sleep(_LOOK_SECONDS)


def descendants(pid: int) -> list[int]:
    """All processes below this one, as the process table tells them now."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found.extend(new)
    return found


def with_in_environment(words: str) -> list[int]:
    """Processes that carry these words in their environment, as the end of a Jenkins node block looks for them."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if words.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found
