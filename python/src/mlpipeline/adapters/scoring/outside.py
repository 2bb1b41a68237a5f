"""Metrics that this program does not know itself: starts ``measure.py`` in the environment that has them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpipeline.adapters.scoring.holdout import Holdout
from mlpipeline.adapters.scoring.process import Scored, run_script

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCRIPT = Path(__file__).with_name("measure.py")
LIMIT = 3600.0
"""Seconds that all metrics of one gate may take together."""


@dataclass(frozen=True)
class Side:
    """One model's answers, and the probability or score of the positive class when there is one."""

    scored: Scored
    score: NDArray[Any] | None = None


@dataclass(frozen=True)
class Job:
    """One metric on some rows.

    Args:
        metric: ``module:function``, or the name of a scikit-learn scorer.
        rows: Row numbers.
        compare: Whether the champion is measured too.
        resamples: How often the rows are drawn anew, for a metric that is no mean over rows; 0: no bounds are needed.
    """

    metric: str
    rows: NDArray[Any]
    compare: bool
    resamples: int


@dataclass(frozen=True)
class Measurement:
    """What came out: values, with one term per row whose mean they are, or with resampled differences; or ``trouble``."""

    candidate: float = 0.0
    champion: float = 0.0
    terms: tuple[NDArray[Any], ...] = ()
    draws: NDArray[Any] | None = None
    trouble: str = ""


def project_python(environment: Mapping[str, str]) -> Path:
    """The Python that the project's own commands find; this program's own when there is none."""
    path = environment.get("PATH", os.defpath)
    found = shutil.which("python", path=path) or shutil.which("python3", path=path)
    return Path(found or sys.executable)


def measure_outside(
    python: Path,
    jobs: Sequence[Job],
    holdout: Holdout,
    labels: NDArray[Any],
    *,
    candidate: Side,
    champion: Side | None,
    design: tuple[NDArray[Any] | None, NDArray[Any] | None],
    seed: int,
    import_path: Sequence[Path],
) -> list[Measurement]:
    """Measures each job in one process of ``python``.

    Args:
        design: Codes of the rows' entities and strata.
        import_path: Where functions are imported from.

    Raises:
        Failed: The process crashed, or did not end in time.
        EnvironmentFault: It could not start or was killed.
    """
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="mlpipeline-measure-") as name:
        folder = Path(name)
        functions = any(":" in job.metric for job in jobs)
        request: dict[str, Any] = {
            "columns": holdout.write(folder, holdout.columns) if functions else None,
            "truth": _save(folder, "truth", labels),
            "candidate": _side(folder, "candidate", candidate),
            "champion": _side(folder, "champion", champion) if champion is not None else {},
            "clusters": _save(folder, "clusters", design[0]) if design[0] is not None else "",
            "strata": _save(folder, "strata", design[1]) if design[1] is not None else "",
            "seed": seed,
            "jobs": [],
        }
        for number, job in enumerate(jobs):
            np.save(folder / f"rows-{number}.npy", job.rows)
            kind = "function" if ":" in job.metric else "scorer"
            request["jobs"].append(
                {
                    "name": f"job-{number}",
                    "metric": {kind: job.metric},
                    "rows": f"rows-{number}.npy",
                    "compare": job.compare,
                    "resamples": job.resamples,
                }
            )
        (folder / "request.json").write_text(json.dumps(request))
        run_script(SCRIPT, folder, python=python, name="the metric of the gate", timeout=LIMIT, import_path=import_path)
        answers = json.loads((folder / "answer.json").read_text())
        return [_read(folder, number, answer) for number, answer in enumerate(answers)]


def _read(folder: Path, number: int, answer: Mapping[str, Any]) -> Measurement:
    import numpy as np

    if "trouble" in answer:
        return Measurement(trouble=str(answer["trouble"]))
    if answer["terms"]:
        terms = tuple(np.load(folder / f"job-{number}-{side}.npy") for side in answer["sides"])
        return Measurement(float(terms[0].mean()), float(terms[-1].mean()), terms)
    file = folder / f"job-{number}-draws.npy"
    draws = np.load(file) if file.is_file() else None
    return Measurement(float(answer["candidate"]), float(answer.get("champion", 0.0)), draws=draws)


def _side(folder: Path, name: str, side: Side) -> dict[str, str]:
    parts = {
        "predictions": side.scored.predictions,
        "probabilities": side.scored.probabilities,
        "classes": side.scored.classes,
        "score": side.score if side.score is not None else side.scored.probabilities,
    }
    return {key: _save(folder, f"{name}-{key}", values) for key, values in parts.items() if values is not None}


def _save(folder: Path, name: str, values: NDArray[Any]) -> str:
    import numpy as np

    if values.dtype.kind in "fiub":
        np.save(folder / f"{name}.npy", values)
        return f"{name}.npy"
    (folder / f"{name}.json").write_text(json.dumps(values.tolist()))
    return f"{name}.json"
