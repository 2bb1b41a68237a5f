"""The script that brings the worker to a Jenkins agent: once per version, behind a lock, whatever happens to it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "resources/mlpipeline/install-worker.sh"
VERSION = "1.2.3"
DEADLINE_SECONDS = 300

# Stands for python, and for the python of the environment it "makes": every call of pip is noted, and may be held up.
PYTHON = """#!/bin/sh
case "$1 $2" in
"-c "*) exit 0 ;;
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && exit 0 ;;
"-m pip")
    shift 6
    echo "$*" >>"$NOTES/installs"
    : >"$NOTES/installing"
    while [ -e "$NOTES/hold" ]; do sleep 0.05; done
    if [ -n "${PIP_SAYS:-}" ]; then echo "$PIP_SAYS" >&2; exit 1; fi
    cat >"$(dirname "$0")/mlpipeline" <<'END'
#!/bin/sh
if [ "$1" = --version ]; then echo "mlpipeline ${WORKER_VERSION:-1.2.3}"; exit 0; fi
echo "worker: $*"
exit 10
END
    chmod +x "$(dirname "$0")/mlpipeline"
    ;;
esac
"""

MODULE = f"""import sys

def main():
    print("mlpipeline {VERSION}" if sys.argv[1:] == ["--version"] else f"real: {{sys.argv[1:]}}")
"""


class Agent:
    """A machine with a home and a workspace, where the script runs as Jenkins runs it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.workspace, self.notes = folder / "home", folder / "workspace", folder / "notes"
        self.calls = self.workspace / "call"
        for place in (self.home, self.calls, self.notes):
            place.mkdir(parents=True)
        self.python = self._program("python", PYTHON)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "NOTES": str(self.notes),
            "MLPIPELINE_PYTHON": str(self.python),
        }
        self.started: list[subprocess.Popen[str]] = []

    def _program(self, name: str, text: str) -> Path:
        file = self.notes / name
        file.write_text(text)
        file.chmod(0o755)
        return file

    @property
    def place(self) -> Path:
        return self.home / ".mlpipeline/workers" / VERSION

    @property
    def everything(self) -> list[str]:
        file = self.notes / "installs"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def installs(self) -> list[str]:
        """Without what a machine with a GPU gets in addition, for the tests may run on one."""
        return [one for one in self.everything if "nvidia" not in one]

    @property
    def trouble(self) -> str:
        return (self.calls / "trouble.txt").read_text()

    def start(self, *arguments: str, wheel: str = "-", shell: str = "sh", **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [shell, str(SCRIPT), VERSION, "call", wheel, *(arguments or ("gate", "data"))],
            cwd=self.workspace,
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, wheel: str = "-", shell: str = "sh", **more: str) -> tuple[int, str]:
        process = self.start(*arguments, wheel=wheel, shell=shell, **more)
        out, _ = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, out

    def worker(self, version: str) -> str:
        return str(self._program("worker", f'#!/bin/sh\n[ "$1" = --version ] && echo "mlpipeline {version}" || echo "own: $*"\n'))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    (made.notes / "hold").unlink(missing_ok=True)
    for process in made.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=DEADLINE_SECONDS)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_it_is_installed_once_and_becomes_the_worker(agent: Agent, shell: str) -> None:
    for _ in range(3):
        assert agent.run("gate", "data", "--args", "a b.json", shell=shell) == (10, "worker: gate data --args a b.json\n")
    assert agent.installs == [f"mlpipeline=={VERSION}"]


@pytest.mark.parametrize(
    ("given", "wheel", "expected"),
    [
        ({}, "-", f"mlpipeline=={VERSION}"),
        ({}, "carried.whl", "carried.whl"),
        (
            {"MLPIPELINE_PACKAGE": "git+https://git.example/x@v1.2.3#subdirectory=python"},
            "carried.whl",
            "git+https://git.example/x@v1.2.3#subdirectory=python",
        ),
        (
            {"MLPIPELINE_WHEELHOUSE": "/wheels", "MLPIPELINE_PACKAGE": "x"},
            "carried.whl",
            f"--no-index --find-links /wheels mlpipeline=={VERSION}",
        ),
    ],
)
def test_sources_have_an_order(agent: Agent, given: dict[str, str], wheel: str, expected: str) -> None:
    assert agent.run(wheel=wheel, **given)[0] == 10
    assert agent.installs == [expected]


def test_machine_with_a_gpu_gets_what_reads_its_driver(agent: Agent) -> None:
    tools = agent.notes / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text("#!/bin/sh\n")
    (tools / "nvidia-smi").chmod(0o755)
    assert agent.run(PATH=f"{tools}:{os.environ['PATH']}", MLPIPELINE_WHEELHOUSE="/wheels")[0] == 10
    assert agent.everything == [
        f"--no-index --find-links /wheels {wanted}" for wanted in (f"mlpipeline=={VERSION}", "nvidia-ml-py>=12")
    ]


def test_executors_that_begin_at_once_install_once(agent: Agent) -> None:
    (agent.notes / "hold").touch()
    executors = [agent.start() for _ in range(4)]
    until((agent.notes / "installing").exists)
    (agent.notes / "hold").unlink()
    assert [process.communicate(timeout=DEADLINE_SECONDS)[0] for process in executors] == ["worker: gate data\n"] * 4
    assert len(agent.installs) == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_install_is_begun_anew(agent: Agent, how: signal.Signals) -> None:
    (agent.notes / "hold").touch()
    killed = agent.start()
    until((agent.notes / "installing").exists)
    os.killpg(killed.pid, how)
    killed.communicate(timeout=DEADLINE_SECONDS)
    (agent.place / "half-made").touch()
    (agent.notes / "hold").unlink()
    assert agent.run() == (10, "worker: gate data\n")
    assert not (agent.place / "half-made").exists()
    assert len(agent.installs) == 2


def test_one_who_waits_goes_on_when_the_one_who_installs_is_killed(agent: Agent) -> None:
    (agent.notes / "hold").touch()
    killed = agent.start()
    until((agent.notes / "installing").exists)
    waiting = agent.start()
    os.killpg(killed.pid, signal.SIGKILL)
    (agent.notes / "hold").unlink()
    assert waiting.communicate(timeout=DEADLINE_SECONDS)[0] == "worker: gate data\n"


def test_the_running_worker_does_not_keep_the_lock(agent: Agent) -> None:
    assert agent.run()[0] == 10
    with (agent.place.parent / f"{VERSION}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_is_never_given_back_is_an_error_with_words(agent: Agent) -> None:
    agent.place.parent.mkdir(parents=True)
    with (agent.place.parent / f"{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert agent.run(MLPIPELINE_INSTALL_PATIENCE="1")[0] == 3
    assert "another build has been installing the worker for more than 1 seconds" in agent.trouble


def test_another_version_is_refused_with_both_named(agent: Agent) -> None:
    assert agent.run(WORKER_VERSION="1.2.4")[0] == 2
    assert "the library is version 1.2.3, but the worker is 'mlpipeline 1.2.4'" in agent.trouble
    assert "@Library('mlpipeline@v1.2.3')" in agent.trouble
    assert agent.run()[0] == 10, "what was refused is not taken for installed"


def test_a_worker_that_is_there_already_is_taken_as_it_is(agent: Agent) -> None:
    assert agent.run("status", MLPIPELINE_WORKER=agent.worker(VERSION)) == (0, "own: status\n")
    assert agent.run("status", MLPIPELINE_WORKER=agent.worker("1.0.0"))[0] == 2
    assert "but the worker is 'mlpipeline 1.0.0'" in agent.trouble
    assert agent.run("status", MLPIPELINE_WORKER="/there/is/none")[0] == 3
    assert "there is no such command: /there/is/none" in agent.trouble
    assert agent.installs == []


@pytest.mark.parametrize(
    ("said", "likely"),
    [
        ("ERROR: No matching distribution found for mlpipeline==1.2.3", "set MLPIPELINE_WHEELHOUSE or MLPIPELINE_PACKAGE"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: something else", "see the last lines of call/install.log"),
    ],
)
def test_an_install_that_fails_says_why(agent: Agent, said: str, likely: str) -> None:
    assert agent.run(PIP_SAYS=said)[0] == 3
    assert likely in agent.trouble
    assert said in agent.trouble


def test_an_agent_without_python_says_so(agent: Agent) -> None:
    tools = agent.notes / "tools"
    tools.mkdir()
    for name in ("sh", "mkdir", "flock", "tee", "uname", "rm", "df", "awk", "printf", "dirname"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    assert agent.run(PATH=str(tools), MLPIPELINE_PYTHON="")[0] == 3
    assert "there is no Python 3.11 or 3.12 on this agent" in agent.trouble


def test_a_full_disk_is_said_before_anything_is_fetched(agent: Agent) -> None:
    tools = agent.notes / "tools"
    tools.mkdir()
    (tools / "df").write_text("#!/bin/sh\necho header\necho 'disk 100 50 1024 99% /'\n")
    (tools / "df").chmod(0o755)
    assert agent.run(PATH=f"{tools}:{os.environ['PATH']}")[0] == 3
    assert "has 1 MiB left; the worker needs 2 GB" in agent.trouble
    assert agent.installs == []


def test_an_environment_that_lost_its_python_is_made_anew(agent: Agent) -> None:
    assert agent.run()[0] == 10
    (agent.place / "bin/python").unlink()
    assert agent.run()[0] == 10
    assert len(agent.installs) == 2


def earlier(agent: Agent, version: str, days: float) -> Path:
    """A worker of another version that was called for the last time so long ago."""
    place = agent.place.parent / version
    (place / "bin").mkdir(parents=True)
    (place / "bin/mlpipeline").write_text("#!/bin/sh\nsleep 600\n")
    (place / "bin/mlpipeline").chmod(0o755)
    for name in ("complete", "used"):
        (place / name).touch()
        os.utime(place / name, (time.time() - days * 86400,) * 2)
    return place


def test_old_versions_that_nobody_calls_are_removed_and_no_others(agent: Agent) -> None:
    old, recent, called, running = (
        earlier(agent, version, days) for version, days in (("0.9.0", 40), ("1.0.0", 20), ("1.1.0", 400), ("1.2.0", 400))
    )
    (called / "used").touch()
    worker = subprocess.Popen(["sh", str(running / "bin/mlpipeline")], start_new_session=True)
    agent.started.append(worker)  # type: ignore[arg-type]
    half_made = agent.place.parent / "1.3.0"
    half_made.mkdir()
    assert agent.run() == (10, "worker: gate data\n")
    assert [place.exists() for place in (old, recent, called, running, half_made)] == [False, True, True, True, True]
    assert (running / "complete").exists()


def test_an_old_version_that_is_being_installed_anew_is_left_alone(agent: Agent) -> None:
    old = earlier(agent, "0.9.0", 40)
    with (agent.place.parent / "0.9.0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert agent.run()[0] == 10
    assert old.exists()


@pytest.mark.parametrize(("days", "left"), [("0", False), ("60", True), ("", False), ("never", True), ("-1; rm -rf /", True)])
def test_how_long_versions_are_kept_is_said_in_days(agent: Agent, days: str, left: bool) -> None:
    old = earlier(agent, "0.9.0", 40)
    assert agent.run(MLPIPELINE_WORKERS_DAYS=days) == (10, "worker: gate data\n")
    assert old.exists() == left


def test_every_call_leaves_a_mark_that_it_is_used(agent: Agent) -> None:
    agent.run()
    os.utime(agent.place / "used", (0, 0))
    agent.run()
    assert (agent.place / "used").stat().st_mtime > time.time() - 3600


@pytest.mark.real
def test_real_pip_installs_from_a_folder_of_wheels_without_a_network(agent: Agent) -> None:
    wheels = agent.notes / "wheels"
    wheels.mkdir()
    wheel(wheels)
    real = {
        "MLPIPELINE_PYTHON": sys.executable,
        "MLPIPELINE_WHEELHOUSE": str(wheels),
        "PIP_INDEX_URL": "http://127.0.0.1:1/nothing",
    }
    assert agent.run("gate", "model", **real) == (0, "real: ['gate', 'model']\n")
    assert (agent.place / "complete").exists()


def wheel(folder: Path) -> None:
    """A wheel by hand: one module and one command."""
    info = f"mlpipeline-{VERSION}.dist-info"
    files = {
        "mlpipeline.py": MODULE,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: mlpipeline\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nmlpipeline = mlpipeline:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"mlpipeline-{VERSION}-py3-none-any.whl", "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
