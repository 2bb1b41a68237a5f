"""A git repository with a training command that saves the tiny model, and the context of verbs in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fakes import FakeConsole, FakeRegistry
from mlpipeline.adapters.git import checkout
from mlpipeline.clock import SystemClock, iso
from mlpipeline.config.model import Config
from mlpipeline.config.sections.security import ScannerRule, Security
from mlpipeline.config.sections.training import Train
from mlpipeline.config.values import Duration
from mlpipeline.core.verdict import Verdict
from mlpipeline.ports import MetricSource, Registry, Target
from mlpipeline.record.places import Places
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context, World
from tiny_model import save_tiny_model

OWN_LOOK_ONLY = Security(**{name: ScannerRule(policy="off") for name in ("skops", "picklescan", "modelscan", "secrets")})
"""What packages are looked at with in tests of other things: programs of others take seconds."""
COPY = f"{sys.executable} train.py"
_TRAIN = """
import json, pathlib, shutil
print("training", flush=True)
shutil.rmtree("model", ignore_errors=True)
shutil.copytree("made", "model")
pathlib.Path("metrics.json").write_text(json.dumps({"auc": 0.75, "by": {"june": 0.7}, "bad": float("nan"), "name": "x"}))
"""


class TrackingRegistry(FakeRegistry):
    """Notes the trainings it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.trainings: list[tuple[Mapping[str, str], Mapping[str, float], Mapping[str, str]]] = []

    def log_training(self, tags: Mapping[str, str], metrics: Mapping[str, float], params: Mapping[str, str]) -> str:
        self.trainings.append((tags, metrics, params))
        return "a1b2"


class SmallProject:
    """The command finds the model to save in ``made/`` (not tracked); ``model/`` is where it puts it."""

    def __init__(self, folder: Path, registry: Registry | None = None, command: str = COPY, **config: object) -> None:
        self.folder = folder / "project"
        self.folder.mkdir(parents=True)
        self.registry = registry or TrackingRegistry()
        self.console = FakeConsole()
        (self.folder / "train.py").write_text(_TRAIN)
        (self.folder / "params.yaml").write_text("forest: {trees: 10}\nseed: 1\n")
        (self.folder / ".gitignore").write_text("made/\nmodel/\nmetrics.json\n.mlpipeline/\n")
        save_tiny_model(self.folder / "made")
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "first")
        train = Train(command=command, metrics="metrics.json", timeout=Duration(120))
        self.config = Config(**{"service": "tiny", "train": train, "security": OWN_LOOK_ONLY, **config})  # type: ignore[arg-type]
        self.places = Places(project=self.folder, home=folder / "home", service="tiny")

    def git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=self.folder, check=True, capture_output=True)

    def configured(self, **train: object) -> None:
        self.config = msgspec.structs.replace(self.config, train=msgspec.structs.replace(self.config.train, **train))

    def context(self) -> Context:
        def absent(*_: object) -> Target | MetricSource:
            raise AssertionError("not asked for by these verbs")

        return Context(
            config=self.config,
            places=self.places,
            clock=SystemClock(),
            console=self.console,
            world=World(target=absent, registry=lambda: self.registry, metrics=absent),  # type: ignore[arg-type]
            environment=dict(os.environ),
        )

    def run(self, name: str = "r1") -> Run:
        context, state = self.context(), checkout(self.folder)
        return context.runs.create(
            Run(id=name, service="tiny", commit=state.commit, dirty=state.dirty, created=iso(context.clock.now()))
        )

    def passed(self, run: Run, verb: str, **evidence: object) -> None:
        """Writes a passed result of a verb that is not under test."""
        self.context().finish(run, verb, self.context().clock.monotonic(), [], verdict=Verdict.PASS, evidence=evidence)

    def wrote(self) -> dict[str, object]:
        """What a command left in ``seen.json``."""
        return json.loads((self.folder / "seen.json").read_text())  # type: ignore[no-any-return]

    def copied(self, folder: Path) -> None:
        """The same checkout in another folder, all times new."""
        shutil.copytree(self.folder, folder, copy_function=shutil.copyfile)
