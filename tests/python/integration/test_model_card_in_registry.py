"""The model card, SBOM and provenance go with the model version into a real MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.adapters.mlflow.registry import MlflowRegistry, tracking_uri
from mlpipeline.config.sections.records import Tracking
from mlpipeline.core.verdict import Verdict
from mlpipeline.verbs import register
from mlpipeline.verbs.context import World
from proven_release import Proven


@pytest.mark.real
def test_version_carries_its_card_and_its_proof(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    proven = Proven(tmp_path)
    registry = MlflowRegistry(Tracking(), proven.world.places)
    world = proven.context.world
    context = proven.world.context(world=World(target=world.target, registry=lambda: registry, metrics=world.metrics))
    result = register.run(context, proven.run)
    assert result.verdict is Verdict.PASS
    client = MlflowClient(tracking_uri(Tracking(), proven.world.places))
    version = client.get_model_version("iris", "1")
    assert version.description == (proven.place / "model-card.md").read_text()
    for name in ("model-card.html", "sbom.cdx.json", "provenance.dsse.json"):
        file = client.download_artifacts(version.run_id, f"mlpipeline/{name}", str(tmp_path))
        assert Path(file).read_bytes() == (proven.place / name).read_bytes()
    entry, _, hashed = version.tags["mlpipeline.ledger"].partition(":")
    assert context.ledger.read()[int(entry) - 1].hash == hashed
    assert register.run(context, proven.run) == result
