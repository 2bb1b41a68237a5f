"""A service with a champion that scores batches: a real bundle, journal, ledger and process, and a model of a few lines.

The model's own code carries a stand-in for ``mlflow.pyfunc``, so that its process starts within a blink.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fakes import FakeConsole
from mlpipeline.adapters.bundle import Digests, build, files_under
from mlpipeline.config.load import load
from mlpipeline.core.release import Standing, State, Version
from mlpipeline.core.traffic import Colour
from mlpipeline.record.ledger import Entry, Ledger
from mlpipeline.record.places import Places
from mlpipeline.record.result import Result
from mlpipeline.verbs import score
from mlpipeline.verbs.wiring import make_context

SERVICE = "batch"
MLFLOW = """
import json, os, pathlib, time


class Model:
    def __init__(self, folder):
        self.behaviour = json.loads((pathlib.Path(folder) / "behaviour.json").read_text())

    def predict(self, frame):
        import pandas
        kind = self.behaviour["kind"]
        if kind == "raise":
            raise ValueError("no such rows")
        if kind == "exit":
            os._exit(0)
        if kind == "hang":
            time.sleep(600)
        if kind == "short":
            return [1.0] * (len(frame) - 1)
        if kind == "labels":
            return ["late" if value > 5 else "punctual" for value in frame["x"]]
        if kind == "two":
            return pandas.DataFrame({"low": frame["x"] - 1, "high": frame["x"] + 1})
        answers = frame["x"] * self.behaviour["factor"]
        if kind == "nan":
            answers.iloc[0] = float("nan")
        if kind == "infinite":
            answers.iloc[0] = float("inf")
        return answers.to_numpy()


def load_model(folder):
    return Model(folder)
"""
_MLMODEL = """flavors:
  python_function: {{loader_module: mlflow.sklearn, python_version: {python}}}
signature:
  inputs: '{inputs}'
  outputs: '[{{"type": "tensor", "tensor-spec": {{"dtype": "float64", "shape": [-1]}}}}]'
"""
INPUTS: tuple[dict[str, object], ...] = (
    {"type": "double", "name": "x", "required": True},
    {"type": "string", "name": "city", "required": True},
)


class BatchWorld:
    """One project whose champion is a package.

    Args:
        config: YAML under ``score:``.
        behaviour: ``kind``: double (``x`` times ``factor``), labels, two, nan, infinite, short, raise, exit, hang.
    """

    def __init__(self, folder: Path, config: str = "", **behaviour: object) -> None:
        self.project = folder / "project"
        self.project.mkdir(parents=True, exist_ok=True)
        self.places = Places(project=self.project, home=folder / "home", service=SERVICE)
        self._folder = folder
        self.configure(config)
        self.digest = self.package(**behaviour)
        self.crown(self.digest)

    def configure(self, config: str = "") -> None:
        text = f"service: {SERVICE}\ntrain: {{command: 'false'}}\nscore: {config or '{}'}\n"
        (self.project / "mlpipeline.yaml").write_text(text)

    def package(self, model: Path | None = None, **behaviour: object) -> str:
        """Another package of this machine; its digest."""
        made = self._folder / f"made-{len(list(self._folder.glob('made-*')))}"
        lock = f"# python {sys.version_info.major}.{sys.version_info.minor} on this machine\n"
        self._environment(lock)
        if model is None:
            (made / "model").mkdir(parents=True)
            told = _MLMODEL.format(python=sys.version.split()[0], inputs=json.dumps(INPUTS))
            (made / "model" / "MLmodel").write_text(told)
            (made / "model" / "behaviour.json").write_text(json.dumps({"kind": "double", "factor": 2.0, **behaviour}))
            (made / "code" / "mlflow").mkdir(parents=True)
            (made / "code" / "mlflow" / "__init__.py").touch()
            (made / "code" / "mlflow" / "pyfunc.py").write_text(MLFLOW)
            files = files_under(made, "")
        else:
            files = files_under(model, "model")
        digests = Digests(self._folder / "digests.json")
        known = f"sha256:{hashlib.sha256(lock.encode()).hexdigest()}"
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return build(
            self.places.bundles, files, {"requirements.lock": lock}, lock=known, python=python, digests=digests
        ).manifest.digest

    def crown(self, digest: str) -> None:
        """Makes the package the champion."""
        path = str(self.places.bundles / digest.removeprefix("sha256:"))
        state = State(champion=Standing(Colour.BLUE, Version(digest, path, model_version="7")))
        self.places.journal.parent.mkdir(parents=True, exist_ok=True)
        self.places.journal.write_bytes(msgspec.json.encode(state))

    def _environment(self, lock: str) -> None:
        folder = self.places.environments / hashlib.sha256(lock.encode()).hexdigest()
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        interpreter = folder / "bin" / "python"
        interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        interpreter.chmod(0o755)
        (folder / ".mlpipeline-complete").write_text("made by a test\n")

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "MLPIPELINE_HOME": str(self.places.home)}

    @property
    def ledger(self) -> list[Entry]:
        return Ledger(self.places.ledger).read()

    def score(self, source: str = "in.csv", output: str = "out.parquet", **options: Any) -> Result:
        config = load(self.project, environment={}).config
        context = make_context(config, self.project, FakeConsole(), self.environment)
        return score.run(context, input=source, output=output, **options)

    def csv(self, name: str, values: Sequence[float]) -> Path:
        file = self.project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("id,x,city\n" + "".join(f"0{place},{value},town {place % 3}\n" for place, value in enumerate(values)))
        return file

    def answers(self, output: str = "out.parquet") -> dict[str, list[Any]]:
        """The output's columns."""
        import pyarrow.parquet as pq

        found: dict[str, list[Any]] = pq.read_table(self.project / output).to_pydict()
        return found
