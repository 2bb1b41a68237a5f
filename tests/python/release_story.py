"""Releases on fakes: prepared runs, and a watch whose verdicts a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from fakes import FakeWorld
from mlpipeline.clock import iso
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import deploy, settle, switch, verify
from mlpipeline.verbs.context import Context


class Story:
    """One service. ``verdicts`` answers per stage name; ``conclusion`` the whole release; ``during`` runs in each stage."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.world = FakeWorld(folder, **config)
        self.verdicts: dict[str, Verdict] = {}
        self.conclusion = Verdict.PASS
        self.during: Callable[[str], None] = lambda _stage: None
        self.watched: list[str] = []
        self.last_looks: list[str] = []
        self.files: list[str] = []
        self._made = 0

    @property
    def context(self) -> Context:
        return self.world.context()

    def packaged(self, digest: str = "", trained: Mapping[str, object] | None = None) -> Run:
        """A run up to ``register``.

        Args:
            trained: The evidence of its training.
        """
        self._made += 1
        context = self.context
        made = Run(
            id=f"run-{self._made:03}", service="iris", commit="c" * 40, created=iso(context.clock.now()), requester="requester"
        )
        context.runs.create(made)
        digest = digest or "sha256:" + sha256(made.id.encode()).hexdigest()
        path = str(context.places.bundles / digest.removeprefix("sha256:"))
        version = self.world.registry.register(
            "iris", Path(path), {"mlpipeline.digest": digest, "mlpipeline.run": made.id}, {}, {}
        )
        if trained is not None:
            self._passed(context, made, "train", dict(trained))
        self._passed(context, made, "package", {"digest": digest, "path": path})
        self._passed(context, made, "register", {"name": "iris", "version": version.version})
        return made

    def released(self, digest: str = "", trained: Mapping[str, object] | None = None) -> Run:
        """A run that has settled."""
        made = self.packaged(digest, trained)
        deploy.run(self.context, made)
        switch.run(self.context, made)
        settle.run(self.context, made)
        return made

    @staticmethod
    def _passed(context: Context, made: Run, verb: str, evidence: dict[str, object]) -> None:
        context.runs.write(
            Result(verb=verb, service="iris", run=made.id, verdict=Verdict.PASS, summary="prepared", evidence=evidence)
        )

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Puts this story's verdicts in the place of Prometheus."""
        monkeypatch.setattr(verify, "Watch", self.watch_class())

    def watch_class(self) -> type:
        story = self

        class ChosenWatch:
            def __init__(self, context: Context, run: Run, roles: verify.Roles, *, prometheus: str, file: str = "") -> None:
                assert roles.candidate is roles.champion.other
                story.files.append(file)

            def check(self) -> None:
                story.world.metrics.instant("up")

            def watch(self, stage: str, seconds: float, *, traffic: str, last: bool = False) -> verify.StageOutcome:
                story.watched.append(stage)
                story.last_looks += [stage] if last else []
                story.during(stage)
                story.world.metrics.instant(stage)
                chosen = story.verdicts.get(stage, Verdict.PASS)
                reasons = (Reason("metric.errors", chosen, f"errors in {stage}: {chosen}"),)
                return verify.StageOutcome(chosen, f"errors: {chosen}", reasons, seconds, 3)

            def conclude(self) -> verify.JudgedRelease:
                story.world.metrics.instant("conclude")
                reasons = (Reason("metric.errors", story.conclusion, "over all stages"),)
                return verify.JudgedRelease(story.conclusion, "over all stages", reasons, {})

        return ChosenWatch
