"""Runs in the project's environment, started by file name: metrics that this program does not know itself.

scikit-learn scorers by name, and functions of the project (``module:function``). Imports nothing of this package. Everything goes
through one folder, as with ``score.py``: ``request.json`` and arrays come in, ``answer.json`` (written last) or ``failure.json``
goes out. What is drawn anew, and how often, is in the request: the same request gives the same answer.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

PARENT_DEATH_SIGNAL = 1
GIVEN = ("y_true", "y_pred", "y_score", "rows")


def main(folder: Path) -> int:
    request = json.loads((folder / "request.json").read_text())
    try:
        answers = [measure(folder, request, job) for job in request["jobs"]]
    except Exception as error:  # noqa: BLE001 - what the environment lacks is told as such
        traceback.print_exc()
        (folder / "failure.json").write_text(json.dumps({"phase": "measure", "error": f"{type(error).__name__}: {error}"}))
        return 1
    (folder / "answer.json").write_text(json.dumps(answers))
    return 0


def measure(folder: Path, request: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """One metric of one or two models on some rows: values, and terms or resampled differences for its bounds."""
    import numpy as np

    chosen = np.load(folder / job["rows"])
    table = read_table(folder, request["columns"]) if request["columns"] is not None else None
    sides = ["candidate", *(["champion"] if job["compare"] else [])]
    try:
        metric = metric_of(job["metric"])
        data = {side: load_side(folder, request, side) for side in sides}
        truth = load(folder, request["truth"])
        found = {side: metric(truth, data[side], table, chosen) for side in sides}
    except Exception as error:  # noqa: BLE001 - a metric that raises is an answer about these rows
        traceback.print_exc()
        return {"trouble": f"it raised {type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"}
    wrong = [f"{side}: {problem}" for side, value in found.items() if (problem := trouble_of(value, len(chosen)))]
    if wrong:
        return {"trouble": "it " + "; ".join(wrong)}
    if all(is_terms(value) for value in found.values()):
        for side, value in found.items():
            np.save(folder / f"{job['name']}-{side}.npy", np.asarray(value, dtype=np.float64))
        return {"terms": True, "sides": sides}
    answer: dict[str, Any] = {"terms": False, **{side: float(value) for side, value in found.items()}}

    def drawn_value(drawn: Any) -> float:
        values = [float(np.mean(metric(truth, side, table, drawn))) for side in data.values()]
        return values[0] - values[1] if len(values) == 2 else values[0]

    if job["resamples"]:
        np.save(
            folder / f"{job['name']}-draws.npy", resampled(units_of(folder, request, chosen), job, request["seed"], drawn_value)
        )
    return answer


def resampled(units: list[list[Any]], job: dict[str, Any], seed: int, drawn_value: Any) -> Any:
    """Candidate minus champion (or the candidate alone) in each resample; NaN where the metric raises or has no value."""
    import warnings

    import numpy as np

    random = np.random.default_rng(seed)
    draws = np.full(job["resamples"], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(len(draws)):
            drawn = draw(units, random)
            with suppress(Exception):  # a resample without one of the classes has no value
                draws[number] = drawn_value(drawn)
    return draws


def units_of(folder: Path, request: dict[str, Any], chosen: Any) -> list[list[Any]]:
    """Row numbers of each entity (or row) of each stratum."""
    import numpy as np

    strata = load(folder, request["strata"])[chosen] if request["strata"] else np.zeros(len(chosen), dtype=int)
    clusters = load(folder, request["clusters"])[chosen] if request["clusters"] else None
    parts = []
    for stratum in np.unique(strata):
        inside = chosen[strata == stratum]
        if clusters is None:
            parts.append([inside])
            continue
        codes = clusters[strata == stratum]
        order = np.argsort(codes, kind="stable")
        parts.append([inside, *np.split(inside[order], np.flatnonzero(np.diff(codes[order])) + 1)])
    return parts


def draw(units: list[list[Any]], random: Any) -> Any:
    import numpy as np

    drawn: list[Any] = []
    for inside, *entities in units:
        if entities:
            drawn.extend(entities[number] for number in random.integers(0, len(entities), len(entities)))
        else:
            drawn.append(inside[random.integers(0, len(inside), len(inside))])
    return np.concatenate(drawn)


def trouble_of(value: Any, rows: int) -> str:
    import numpy as np

    if value is None:
        return "returned nothing"
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return f"returned {type(value).__name__}, no number"
    if array.ndim > 1 or (array.ndim == 1 and len(array) != rows):
        return f"returned an array of shape {array.shape} for {rows} rows"
    bad = int((~np.isfinite(array)).sum())
    if not bad:
        return ""
    return f"returned {float(array)}" if array.ndim == 0 else f"returned NaN or infinity for {bad} of {rows} rows"


def is_terms(value: Any) -> bool:
    import numpy as np

    return np.asarray(value).ndim == 1


def metric_of(spec: dict[str, str]) -> Any:
    """A function of (truth, side, table, row numbers)."""
    return scorer(spec["scorer"]) if spec.get("scorer") else function(spec["function"])


def scorer(name: str) -> Any:
    """A scikit-learn scorer, asked about a stand-in for the model that gives the predictions it gave."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.metrics import get_scorer

    judge = get_scorer(name)

    def build(side: dict[str, Any]) -> Any:
        probabilities, classes = side["probabilities"], side["classes"]
        kind = ClassifierMixin if classes is not None else RegressorMixin

        class Said(kind, BaseEstimator):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                self.fitted_ = True
                if classes is not None:
                    self.classes_ = classes

            def predict(self, rows: Any) -> Any:
                return side["predictions"][rows[:, 0]]

            if probabilities is not None:

                def predict_proba(self, rows: Any) -> Any:
                    return probabilities[rows[:, 0]]

        return Said()

    def metric(truth: Any, side: dict[str, Any], _: Any, chosen: Any) -> float:
        return float(judge(build(side), chosen[:, None], truth[chosen]))

    return metric


def function(path: str) -> Any:
    """A function of the project, given what its parameters name, else truth and predictions in this order."""
    module, _, name = path.partition(":")
    called: Any = importlib.import_module(module)
    for part in name.split("."):
        called = getattr(called, part)
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    named = [parameter.name for parameter in parameters if parameter.name in GIVEN]

    def metric(truth: Any, side: dict[str, Any], table: Any, chosen: Any) -> Any:
        score = side["score"]
        given = {
            "y_true": truth[chosen],
            "y_pred": side["predictions"][chosen],
            "y_score": None if score is None else score[chosen],
            "rows": None if table is None else table.iloc[chosen].reset_index(drop=True),
        }
        if {"y_true", "y_pred"} & set(named) or "y_score" in named:
            return called(**{key: given[key] for key in named})
        return called(given["y_true"], given["y_pred"])

    return metric


def load_side(folder: Path, request: dict[str, Any], side: str) -> dict[str, Any]:
    told = request[side]
    return {
        key: load(folder, told[key]) if told.get(key) else None for key in ("predictions", "probabilities", "score", "classes")
    }


def load(folder: Path, name: str) -> Any:
    import numpy as np

    if name.endswith(".npy"):
        return np.load(folder / name, allow_pickle=False)
    return np.array(json.loads((folder / name).read_text()))


def read_table(folder: Path, columns: list[dict[str, str]]) -> Any:
    import numpy as np
    import pandas as pd

    data = {}
    for number, column in enumerate(columns):
        if column["kind"] == "array":
            data[column["name"]] = np.load(folder / f"{number}.npy", allow_pickle=False)
        else:
            data[column["name"]] = pd.Series(json.loads((folder / f"{number}.json").read_text()), dtype=object)
    return pd.DataFrame(data)


if __name__ == "__main__":
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != int(sys.argv[2]):
        sys.exit("the worker has ended")
    sys.exit(main(Path(sys.argv[1])))
