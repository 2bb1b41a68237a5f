from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlpipeline.adapters.process import MARK, Outcome, end_orphan, run_command
from mlpipeline.errors import EnvironmentFault, Held

DEADLINE = 60.0


def start(folder: Path, command: str, *, limit: float = DEADLINE, say: Callable[[str], None] = lambda _: None) -> Outcome:
    return run_command(
        command,
        folder=folder,
        environment=dict(os.environ),
        log=folder / "train.log",
        record=folder / "state" / "train.json",
        limit_seconds=limit,
        say=say,
        grace_seconds=5,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def number_in(file: Path) -> int:
    wait_for(lambda: file.is_file() and file.read_text().strip().isdigit())
    return int(file.read_text())


def test_output_goes_to_the_log_and_line_by_line_to_the_console(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = start(tmp_path, "echo one; echo two >&2; printf 'three'", say=said.append)
    assert (outcome.kind, outcome.code) == ("done", 0)
    assert said == ["one", "two", "three"]
    assert outcome.tail == ("one", "two", "three")
    assert (tmp_path / "train.log").read_text() == "one\ntwo\nthree"


def test_command_runs_in_the_folder_with_the_given_environment_and_no_input(tmp_path: Path) -> None:
    outcome = start(tmp_path, f'pwd; cat; test -n "${MARK}" && echo marked')
    assert outcome.tail == (str(tmp_path), "marked")


def test_failed_command_tells_its_exit_code(tmp_path: Path) -> None:
    outcome = start(tmp_path, "echo no such column; exit 7")
    assert (outcome.kind, outcome.code, outcome.signal) == ("failed", 7, "")
    assert outcome.tail == ("no such column",)


@pytest.mark.parametrize("command", ["kill -KILL $$", "sh -c 'kill -KILL $$'; exit $?"])
def test_killed_command_is_told_from_a_failed_one(tmp_path: Path, command: str) -> None:
    outcome = start(tmp_path, command)
    assert (outcome.kind, outcome.code, outcome.signal) == ("killed", 137, "SIGKILL")


@pytest.mark.real
def test_hung_command_is_ended_with_everything_it_started(tmp_path: Path) -> None:
    command = "(trap '' TERM; echo $$ >deaf; setsid sh -c 'echo $$ >away; exec sleep 600' & sleep 600) & wait"
    outcome = start(tmp_path, command, limit=1.0)
    assert outcome.kind == "hung"
    assert outcome.seconds >= 1.0
    assert not lives(number_in(tmp_path / "away")), "a child in a session of its own is ended too"
    assert not (tmp_path / "state" / "train.json").exists()


@pytest.mark.real
def test_what_a_finished_command_leaves_behind_is_ended(tmp_path: Path) -> None:
    outcome = start(tmp_path, "setsid sh -c 'echo $$ >left; exec sleep 600' & while [ ! -s left ]; do sleep 0.02; done")
    assert outcome.kind == "done"
    assert not lives(number_in(tmp_path / "left"))


def test_missing_folder_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="could not be started"):
        run_command(
            "true",
            folder=tmp_path / "absent",
            environment={},
            log=tmp_path / "log",
            record=tmp_path / "record.json",
            limit_seconds=5,
        )


def test_unreadable_note_of_a_running_command_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "train.json").write_text("{")
    with pytest.raises(EnvironmentFault, match="not readable"):
        start(tmp_path, "true")


def test_reused_process_id_is_left_alone(tmp_path: Path) -> None:
    """The note names a living process, but with another start time: it is not the command."""
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        record = tmp_path / "train.json"
        record.write_text(f'{{"mark":"none","command":"x","worker":1,"pid":{bystander.pid},"start_time":1}}')
        assert end_orphan(record) is False
        assert bystander.poll() is None
        assert not record.exists()
    finally:
        bystander.kill()
        bystander.wait()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another Python process that runs a command which starts a child in a session of its own."""
    program = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from mlpipeline.interrupts import raise_when_interrupted
        from test_process_adapter import start
        raise_when_interrupted()
        try:
            start(Path({str(tmp_path)!r}), "setsid sh -c 'echo $$ >away; exec sleep 600' & echo $$ >leader; sleep 600; true")
        except KeyboardInterrupt:
            sys.exit(130)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        end_orphan(tmp_path / "state" / "train.json")


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_worker_ends_the_command_and_its_children(
    worker: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals
) -> None:
    pids = [number_in(tmp_path / "leader"), number_in(tmp_path / "away")]
    assert all(lives(pid) for pid in pids)
    worker.send_signal(number)
    assert worker.wait(timeout=DEADLINE) == 130
    assert not any(lives(pid) for pid in pids)


@pytest.mark.real
def test_second_worker_is_held_while_the_first_lives_and_clears_up_after_its_death(
    worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    pids = [number_in(tmp_path / "leader"), number_in(tmp_path / "away")]
    with pytest.raises(Held, match="another worker") as caught:
        start(tmp_path, "true")
    assert str(worker.pid) in caught.value.facts["worker"]
    worker.kill()
    worker.wait()
    assert all(lives(pid) for pid in pids), "nobody could end them yet"
    said: list[str] = []
    assert start(tmp_path, "echo fresh", say=said.append).kind == "done"
    assert not any(lives(pid) for pid in pids)
    assert "left running" in said[0]
    assert end_orphan(tmp_path / "state" / "train.json") is False
