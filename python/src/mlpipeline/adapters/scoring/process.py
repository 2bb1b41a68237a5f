"""Starts ``score.py`` and tells apart how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipeline.adapters.scoring.holdout import Holdout
from mlpipeline.errors import EnvironmentFault, Failed

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCRIPT = Path(__file__).with_name("score.py")
PHASES = {
    "load": "cannot be loaded",
    "predict": "cannot predict the holdout",
    "piece": "cannot predict the rows",
    "latency": "fails on a single row",
    "measure": "cannot be measured",
}
TAIL = 2000
"""Characters of the process's last output that an error shows."""


@dataclass(frozen=True)
class Latency:
    """Seconds of a prediction of one row."""

    p50_seconds: float
    p99_seconds: float
    predictions: int


@dataclass(frozen=True)
class Scored:
    """What the model said; see :class:`mlpipeline.core.answers.Output` for the arrays."""

    predictions: NDArray[Any]
    probabilities: NDArray[Any] | None = None
    classes: NDArray[Any] | None = None
    latency: Latency | None = None
    memory_bytes: int = 0
    """Peak memory of the process; 0 when it did not tell."""


def score(
    python: Path,
    model: Path,
    holdout: Holdout,
    columns: Sequence[str],
    *,
    name: str,
    probabilities: bool,
    latency_predictions: int = 0,
    timeout: float,
    import_path: Sequence[Path] = (),
) -> Scored:
    """Predicts the holdout with the model, in the environment of ``python``.

    Args:
        columns: What of the holdout the model gets.
        name: Who is scored ("the candidate"), for messages.
        probabilities: Whether probabilities are wanted where the model offers them.
        latency_predictions: How many predictions of one row to time; 0: none.
        timeout: Seconds for all of it.
        import_path: Folders the model's own code is imported from.

    Raises:
        Failed: The model cannot be loaded, raises, does not end in time, or answers another number of rows.
        EnvironmentFault: The process could not start or was killed.
    """
    with tempfile.TemporaryDirectory(prefix="mlpipeline-score-") as name_of_folder:
        folder = Path(name_of_folder)
        request = {
            "model": str(model.absolute()),
            "columns": holdout.write(folder, columns),
            "probabilities": probabilities,
            "latency_predictions": latency_predictions,
        }
        (folder / "request.json").write_text(json.dumps(request))
        _run(python, folder, name, timeout, import_path)
        return _read(folder, name, len(holdout))


def _run(python: Path, folder: Path, name: str, timeout: float, import_path: Sequence[Path]) -> None:
    run_script(SCRIPT, folder, python=python, name=name, timeout=timeout, import_path=import_path)


def run_script(script: Path, folder: Path, *, python: Path, name: str, timeout: float, import_path: Sequence[Path]) -> None:
    """Runs one of the scripts of this package in its folder; raises as :func:`score` does."""
    environment = of_model(import_path)
    output = folder / "output.txt"
    with output.open("wb") as log:
        try:
            process = subprocess.Popen(
                [str(python), "-P", str(script), str(folder), str(os.getpid())],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentFault(
                f"{name} cannot be scored: its Python does not start", facts={"python": python, "found": error}
            ) from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(
                f"{name} did not predict the holdout in {timeout:g} s",
                facts={"last output": _tail(output) or "none"},
                likely="the model hangs, or the holdout is larger than it can predict in this time",
            ) from None
        finally:
            end(process)
    if code:
        raise failure(folder, output, name, code)


def of_model(import_path: Sequence[Path]) -> dict[str, str]:
    """The environment variables that a model's process gets."""
    return {
        **{key: value for key, value in os.environ.items() if key not in {"PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV"}},
        "PYTHONPATH": os.pathsep.join(str(path) for path in import_path),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends the whole process group, so that a model's own workers do not stay behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def failure(folder: Path, output: Path, name: str, code: int) -> Failed | EnvironmentFault:
    """Why a script of this package ended with this code, from what it left in its folder."""
    told = folder / "failure.json"
    if told.is_file():
        left = json.loads(told.read_text())
        return Failed(
            f"{name} {PHASES[left['phase']]}: {left['error'].splitlines()[0][:500]}",
            facts={"last output": _tail(output) or "none"},
        )
    if code < 0:
        ended = signal.Signals(-code).name
        if -code in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}:
            return EnvironmentFault(
                f"the scoring of {name} was ended with {ended}",
                facts={"last output": _tail(output) or "none"},
                likely="the machine ran out of memory, or the build was aborted",
                tries=("run it again; use a smaller holdout or a machine with more memory",),
            )
        return Failed(f"{name} crashed with {ended} while it was scored", facts={"last output": _tail(output) or "none"})
    return Failed(
        f"{name} ended its process with exit {code} while it was scored", facts={"last output": _tail(output) or "none"}
    )


def _tail(output: Path) -> str:
    return output.read_text(errors="replace")[-TAIL:].strip()


def _read(folder: Path, name: str, rows: int) -> Scored:
    import numpy as np

    file = folder / "answer.json"
    if not file.is_file():
        raise Failed(f"{name} ended its own process before the predictions were complete", likely="the model calls exit()")
    answer = json.loads(file.read_text())
    said = _array(folder / "predictions", answer["predictions"])
    if said.ndim == 0 or len(said) != rows:
        raise Failed(f"{name} answered {0 if said.ndim == 0 else len(said)} predictions for {rows} rows")
    probabilities = _array(folder / "probabilities", answer["probabilities"]) if answer["probabilities"] else None
    classes = None
    if probabilities is not None:
        values = answer["classes"]
        numbers = all(isinstance(value, bool | int | float) for value in values)
        classes = np.array(values, dtype=float if numbers else str)
    latency = Latency(**answer["latency"]) if "latency" in answer else None
    return Scored(said, probabilities, classes, latency, int(answer.get("memory_bytes", 0)))


def _array(path: Path, kind: str) -> NDArray[Any]:
    import numpy as np

    if kind == "npy":
        loaded: NDArray[Any] = np.load(f"{path}.npy", allow_pickle=False)
        return loaded
    return np.array(json.loads(Path(f"{path}.json").read_text()), dtype=str)
