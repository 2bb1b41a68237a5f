"""A small real scikit-learn model in MLflow's format, for tests that need one and do not care what it says.

Three number columns (``distance``, ``delay``, ``hour``), answers ``"late"`` or ``"punctual"``, a signature and an input example.
The good model fills nulls itself. The broken one has no step for nulls: it answers every complete row, its own input example and
every offline check, and raises on the first row with a null, as models do that met only clean rows before they were released.
"""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

COLUMNS = ("distance", "delay", "hour")
LABELS = ("late", "punctual")
#: What the model needs to be loaded, pinned to what the tests run with.
MODEL_PACKAGES = ("mlflow", "scikit-learn", "numpy", "pandas", "scipy", "skops")


def requirements() -> tuple[str, ...]:
    """The model's own requirements, one ``name==version`` each."""
    return tuple(f"{name}=={version(name)}" for name in MODEL_PACKAGES)


def save_tiny_model(folder: Path, *, broken: bool = False, seed: int = 0) -> Path:
    """Writes the model to ``folder`` (which must not exist) and returns it. Trained once per process and choice, then copied."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_trained(broken, seed), folder)
    return folder


def tiny_request(rows: int = 1, *, nulls: bool = False) -> bytes:
    """A JSON body for ``/invocations``; with ``nulls`` the first row lacks its delay."""
    data: list[list[float | None]] = [[100.0 + 10 * row, 5.0 + row, float(row % 24)] for row in range(rows)]
    if nulls:
        data[0][1] = None
    return json.dumps({"dataframe_split": {"columns": list(COLUMNS), "data": data}}).encode()


@functools.cache
def _trained(broken: bool, seed: int) -> Path:
    import mlflow.sklearn
    import numpy
    import pandas
    from mlflow.models import infer_signature
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = numpy.random.default_rng(seed)
    rows = 200
    frame = pandas.DataFrame(
        {
            "distance": random.uniform(50, 3000, rows),
            "delay": random.normal(10, 20, rows),
            "hour": random.integers(0, 24, rows).astype("float64"),
        }
    )
    labels = numpy.where(frame["delay"] + random.normal(0, 5, rows) > 15, *LABELS)
    steps = [StandardScaler(), LogisticRegression()]
    model = make_pipeline(*steps if broken else [SimpleImputer(), *steps]).fit(frame, labels)
    parent = Path(tempfile.mkdtemp(prefix="tiny-model-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    mlflow.sklearn.save_model(
        model,
        str(parent / "model"),
        signature=infer_signature(frame, model.predict(frame)),
        input_example=frame.head(3),
        pip_requirements=list(requirements()),
        skops_trusted_types=["numpy.dtype"],
    )
    return parent / "model"
