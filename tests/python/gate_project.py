"""A checkout with a trained candidate, a holdout and perhaps a champion, on which the model gate runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlpipeline.clock import SystemClock
from mlpipeline.config.model import Config
from mlpipeline.config.sections.model_gate import MetricGate, ModelGate, NonInferiority
from mlpipeline.config.sections.packaging import Package
from mlpipeline.config.sections.training import Train
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.ports import Artifact, Deployed, Observed, Target
from mlpipeline.record.places import Places
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import gate_model
from mlpipeline.verbs.context import Context, World
from mlpipeline.verbs.model_subjects import Subject
from tiny_model import save_tiny_model

CHAMPION = "sha256:" + "c" * 64
RUN = Run(id="20261121-120000-abcdef0", service="flights", commit="abcdef0", created="2026-11-21T12:00:00Z")
ACCURACY = (MetricGate(metric="accuracy", at_least=0.5),)
NO_WORSE = (MetricGate(metric="accuracy", no_worse_than_champion=NonInferiority(margin=0.05)),)


class Standing(Target):
    """A target of which only the state is asked."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed

    def observe(self) -> Observed:
        return self.observed


class Quiet:
    def say(self, text: str) -> None: ...

    def progress(self, text: str, done: float, total: float) -> None: ...


def none_of_these(*_: object) -> Any:
    raise AssertionError("the model gate asks for neither registry nor metrics")


class Project:
    """A checkout with a trained candidate and a holdout; ``judge`` runs the verb with one gate configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = Places(folder / "project", folder / "home", "flights")
        self.places.project.mkdir(parents=True)
        self.observed = Observed()
        self.asked: list[str] = []
        self.python: Callable[[Subject], Path] = lambda _: Path(sys.executable)
        self.trained("sha256:" + "a" * 64)
        self.write(holdout())

    @property
    def model(self) -> Path:
        return self.places.project / "model"

    def trained(self, digest: str) -> None:
        context = self.context(ModelGate())
        evidence = {"model": "model", "model_digest": digest}
        context.finish(RUN, "train", 0.0, [Reason("train", Verdict.PASS, "trained")], evidence=evidence)

    def write(self, frame: pd.DataFrame) -> None:
        frame.to_parquet(self.places.project / "holdout.parquet")

    def champion(self, *, broken: bool = False, seed: int = 1) -> Path:
        bundle = self.folder / "bundle"
        save_tiny_model(bundle / "model", broken=broken, seed=seed)
        artifact = Artifact(CHAMPION, str(bundle), "7", "an-earlier-run")
        self.observed = Observed({Colour.BLUE: Deployed(Colour.BLUE, artifact, True)}, TrafficPlan.all_to(Colour.BLUE))
        return bundle

    def context(self, gate: ModelGate, package: Package | None = None) -> Context:
        world = World(target=lambda: Standing(self.observed), registry=none_of_these, metrics=none_of_these)
        config = Config(service="flights", train=Train(command="true"), gate=gate, package=package or Package())
        return Context(config=config, places=self.places, clock=SystemClock(), console=Quiet(), world=world)

    def judge(self, metrics: tuple[MetricGate, ...] = ACCURACY, package: Package | None = None, **gate: Any) -> Result:
        chosen = ModelGate(**{"holdout": "holdout.parquet", "label": "state", "metrics": metrics, **gate})

        def interpreter(_: Context, subject: Subject) -> Path:
            self.asked.append(subject.name)
            return self.python(subject)

        return gate_model.run(self.context(chosen, package), RUN, interpreter=interpreter)


class Said:
    """What the candidate and the champion say, without a model: a script that answers from files."""

    def __init__(self, project: Project) -> None:
        self.project = project
        save_tiny_model(project.model)
        code = (
            f"base = Path({str(project.folder)!r})\n"
            "who = 'ours' if request['model'].endswith('project/model') else 'theirs'\n"
            "exec((base / (who + '.py')).read_text())\n"
        )
        project.python = fake_python(project.folder, code)

    def says(self, who: str, code: str) -> None:
        """``who`` is ``ours`` or ``theirs``; the code calls ``answer(values)`` and may read ``columns()``."""
        (self.project.folder / f"{who}.py").write_text(code)

    def labels(self, who: str, labels: list[Any]) -> None:
        self.says(who, f"answer({json.dumps(labels)})")


def holdout(rows: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(11)
    frame = pd.DataFrame(
        {
            "distance": random.uniform(50, 3000, rows),
            "delay": random.normal(10, 20, rows),
            "hour": random.integers(0, 24, rows).astype(float),
            "origin": random.choice(["EWR", "JFK", "LGA"], rows, p=[0.6, 0.395, 0.005]),
        }
    )
    frame["state"] = np.where(frame["delay"] + random.normal(0, 5, rows) > 15, "late", "punctual")
    return frame


def verdicts(result: Result) -> Mapping[str, Verdict]:
    return {reason.check: reason.verdict for reason in result.reasons}


def fake_python(folder: Path, code: str) -> Callable[[Subject], Path]:
    """An interpreter that runs this code instead of the scoring; ``folder``, ``rows`` and ``answer()`` are there to use."""
    script = folder / "fake.py"
    script.write_text(
        "import json, os, sys, time\nfrom pathlib import Path\nimport numpy as np\n"
        "folder = Path(sys.argv[3])\nrequest = json.loads((folder / 'request.json').read_text())\n"
        "def answer(values, probabilities=None, classes=()):\n"
        "    text = bool(len(values)) and isinstance(values[0], str)\n"
        "    if text:\n"
        "        (folder / 'predictions.json').write_text(json.dumps(list(values)))\n"
        "    else:\n"
        "        np.save(folder / 'predictions.npy', np.asarray(values, dtype=float))\n"
        "    if probabilities is not None:\n"
        "        np.save(folder / 'probabilities.npy', np.asarray(probabilities, dtype=float))\n"
        "    told = {'predictions': 'json' if text else 'npy', 'probabilities': '' if probabilities is None else 'npy',\n"
        "            'classes': list(classes), 'memory_bytes': 50_000_000}\n"
        "    (folder / 'answer.json').write_text(json.dumps(told))\n"
        "def columns():\n"
        "    read = {}\n"
        "    for number, column in enumerate(request['columns']):\n"
        "        array = column['kind'] == 'array'\n"
        "        file = folder / (str(number) + ('.npy' if array else '.json'))\n"
        "        read[column['name']] = np.load(file) if array else np.array(json.loads(file.read_text()), dtype=object)\n"
        "    return read\n" + code
    )
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    python.chmod(0o755)
    return lambda _: python
