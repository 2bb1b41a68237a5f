"""The process that scores a model, with a model that hangs and a worker that is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORKER = """
import sys
from pathlib import Path
from mlpipeline.adapters.scoring.process import _run
_run(Path(sys.executable), Path(sys.argv[1]), "the candidate", 600.0, [Path(sys.argv[2])])
"""
MODEL = """
import os, time
from pathlib import Path
def load_model(_path):
    Path("pid").write_text(str(os.getpid()))
    time.sleep(600)
"""
DEADLINE = 120.0


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "Z"
    except OSError:
        return False


@pytest.mark.real
def test_a_model_that_hangs_ends_with_the_worker_that_was_killed(tmp_path: Path) -> None:
    code = tmp_path / "code" / "mlflow"
    code.mkdir(parents=True)
    (code / "__init__.py").write_text("")
    (code / "pyfunc.py").write_text(MODEL)
    folder = tmp_path / "scoring"
    folder.mkdir()
    (folder / "request.json").write_text('{"model": "m", "columns": [], "probabilities": false, "latency_predictions": 0}')
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(code.parent)], env=os.environ)
    try:
        wait_for(lambda: (folder / "pid").is_file() and (folder / "pid").read_text() != "", "the model is being loaded")
        scoring = int((folder / "pid").read_text())
        assert lives(scoring)
    finally:
        worker.kill()
        worker.wait()
    try:
        wait_for(lambda: not lives(scoring), "the scoring has ended")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(scoring, signal.SIGKILL)
