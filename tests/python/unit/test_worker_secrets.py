"""The signing key and the ledger's password are the worker's own: no training, scanner or model gets to see them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes import FakeConsole
from mlpipeline.config.model import Config
from mlpipeline.config.sections.records import Ledger, PublicKey, Signing
from mlpipeline.config.sections.training import Train
from mlpipeline.verbs import doctor
from mlpipeline.verbs.attesting import signed
from mlpipeline.verbs.wiring import make_context
from proven_release import Proven
from signing_keys import make_pair


def test_children_inherit_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = make_pair(tmp_path)
    monkeypatch.setenv("RELEASE_KEY", private.read_text())
    monkeypatch.setenv("LEDGER_WORD", "hunter22")
    monkeypatch.setenv("HARMLESS", "yes")
    config = Config(
        service="iris",
        train=Train(command="true"),
        signing=Signing(key_env="RELEASE_KEY", keys=(PublicKey(file="release.pub"),)),
        ledger=Ledger(uri="postgresql://ledger:${LEDGER_WORD}@/x?host=/nowhere"),
    )
    context = make_context(config, tmp_path, FakeConsole(), dict(os.environ))
    for found in (os.environ, context.environment):
        assert "RELEASE_KEY" not in found and "LEDGER_WORD" not in found
        assert found["HARMLESS"] == "yes"
    assert set(context.secrets) == {"RELEASE_KEY", "LEDGER_WORD"}
    assert "hunter22" not in context.ledger.place


def test_the_worker_itself_still_signs(tmp_path: Path) -> None:
    proven = Proven(tmp_path)
    signing = Signing(key_env="RELEASE_KEY", keys=proven.world.config.signing.keys)
    key = (proven.world.places.project / "release.key").read_text()
    from mlpipeline.core.provenance import Statement

    proven.world.config = Config(service="iris", train=Train(command="true"), signing=signing)
    context = proven.world.context(secrets={"RELEASE_KEY": key})
    assert signed(context, Statement(subject=(), type="urn:test", predicate={})).signatures


def test_doctor_tries_the_key_before_anything_is_trained(tmp_path: Path) -> None:
    proven = Proven(tmp_path)

    def said() -> str:
        result = doctor.run(proven.context)
        return next(reason.summary for reason in result.reasons if reason.check.endswith(".signing"))

    assert said().startswith("signs with release (")
    make_pair(proven.world.places.project, "stranger")
    signing = Signing(key="stranger.key", keys=(PublicKey(file="release.pub"),))
    proven.world.config = Config(service="iris", train=Train(command="true"), signing=signing)
    assert "none of signing.keys" in said()
    proven.world.config = Config(service="iris", train=Train(command="true"), signing=Signing(keys=signing.keys))
    assert said() == "1 public keys; this machine checks and does not sign"
