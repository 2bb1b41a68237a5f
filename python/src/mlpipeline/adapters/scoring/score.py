"""Runs in the model's own environment, started by file name: loads the model, predicts the holdout, measures latency. Or, for
a batch, predicts one piece of the rows after the other, as long as it is told folders of pieces.

Imports nothing of this package, because the environment need not have it. Everything goes through one folder:
``request.json`` and the columns come in; predictions and ``answer.json`` (written last) go out, or ``failure.json``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

WARM_UP = 20
PARENT_DEATH_SIGNAL = 1
"""``PR_SET_PDEATHSIG`` of Linux' ``prctl``."""


def end_with(worker: int) -> None:
    """A worker that is killed cannot end this process, and a model that hangs would never end: the kernel sees to it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != worker:
        sys.exit("the worker has ended")


def main(folder: Path) -> int:
    request = json.loads((folder / "request.json").read_text())
    phase = "load"
    try:
        import mlflow.pyfunc

        model = mlflow.pyfunc.load_model(request["model"])
        if "pieces" in request:
            phase = "piece"
            return pieces(model, request["pieces"])
        phase = "predict"
        frame = read_frame(folder, request["columns"])
        answer = predict(model, frame, folder, request["probabilities"])
        phase = "latency"
        if request["latency_predictions"]:
            answer["latency"] = latency(model, frame, request["latency_predictions"])
        answer["memory_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    except Exception as error:  # noqa: BLE001 - whatever a model raises is the answer
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        (folder / "failure.json").write_text(json.dumps({"phase": phase, "error": text}))
        return 1
    (folder / "answer.json").write_text(json.dumps(answer))
    return 0


def pieces(model: Any, told: int) -> int:
    """Predicts each folder that a line of the standard input names, and says so with a line to the open file ``told``."""
    with os.fdopen(told, "w") as done:
        print("ready", file=done, flush=True)
        for line in sys.stdin:
            folder = Path(line.rstrip("\n"))
            frame = read_frame(folder, json.loads((folder / "columns.json").read_text()))
            answer = save_columns(folder, model.predict(frame))
            (folder / "answer.json").write_text(json.dumps(answer))
            print("done", file=done, flush=True)
    return 0


def save_columns(folder: Path, said: Any) -> list[dict[str, str]]:
    """Writes every column of what a model said, kinds kept; returns what they are read by. A single one has no name."""
    import numpy as np
    import pandas as pd

    frame = said if isinstance(said, pd.DataFrame) else None
    if frame is None:
        array = np.asarray(said)
        frame = pd.DataFrame(array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1))
    only = frame.shape[1] == 1
    written = []
    for number, name in enumerate(frame.columns):
        series = frame.iloc[:, number].infer_objects()
        values = series.to_numpy()
        if values.dtype.kind in "fiub":
            np.save(folder / f"said-{number}.npy", values)
            kind = "array"
        else:
            plain = [None if empty else str(value) for value, empty in zip(values.tolist(), pd.isna(series), strict=True)]
            (folder / f"said-{number}.json").write_text(json.dumps(plain))
            kind = "json"
        written.append({"name": "" if only else str(name), "kind": kind})
    return written


def read_frame(folder: Path, columns: list[dict[str, str]]) -> Any:
    """The rows, from one file per column: numbers, booleans and times as ``.npy``, all else as JSON."""
    import numpy as np
    import pandas as pd

    data = {}
    for number, column in enumerate(columns):
        if column["kind"] == "array":
            data[column["name"]] = np.load(folder / f"{number}.npy", allow_pickle=False)
        else:
            data[column["name"]] = pd.Series(json.loads((folder / f"{number}.json").read_text()), dtype=object)
    return pd.DataFrame(data)


def predict(model: Any, frame: Any, folder: Path, probabilities: bool) -> dict[str, Any]:
    said = save(folder / "predictions", model.predict(frame))
    answer = {"predictions": said, "probabilities": "", "classes": []}
    raw = raw_model(model) if probabilities else None
    if raw is not None and hasattr(raw, "predict_proba") and hasattr(raw, "classes_"):
        answer["probabilities"] = save(folder / "probabilities", raw.predict_proba(frame))
        answer["classes"] = [value.item() if hasattr(value, "item") else value for value in raw.classes_]
    return answer


def raw_model(model: Any) -> Any:
    """The model of the library that made it, where MLflow offers it."""
    try:
        return model.get_raw_model()
    except Exception:  # noqa: BLE001 - many flavours offer none
        return None


def save(path: Path, values: Any) -> str:
    """Writes predictions as float64 ``.npy`` or, for anything that is no number, as JSON text; returns which."""
    import numpy as np
    import pandas as pd

    array = np.asarray(values)
    if array.dtype.kind in "fiub":
        np.save(f"{path}.npy", array.astype(np.float64))
        return "npy"
    try:
        if array.dtype.kind == "O" and not any(isinstance(value, str) for value in array.ravel()):
            np.save(f"{path}.npy", array.astype(np.float64))
            return "npy"
    except (TypeError, ValueError):
        pass
    column = array.reshape(len(array), -1)[:, 0].tolist()
    Path(f"{path}.json").write_text(
        json.dumps(["" if empty else str(value) for value, empty in zip(column, pd.isna(column), strict=True)])
    )
    return "json"


def latency(model: Any, frame: Any, predictions: int) -> dict[str, Any]:
    """Seconds of predictions of one row each, after a warm-up, cycling through the rows."""
    rows = [frame.iloc[[index % len(frame)]] for index in range(predictions)]
    for row in rows[:WARM_UP]:
        model.predict(row)
    seconds = []
    for row in rows:
        begun = time.perf_counter()
        model.predict(row)
        seconds.append(time.perf_counter() - begun)
    seconds.sort()
    last = len(seconds) - 1
    return {
        "p50_seconds": seconds[round(0.5 * last)],
        "p99_seconds": seconds[round(0.99 * last)],
        "predictions": len(seconds),
    }


if __name__ == "__main__":
    end_with(int(sys.argv[2]))
    sys.exit(main(Path(sys.argv[1])))
