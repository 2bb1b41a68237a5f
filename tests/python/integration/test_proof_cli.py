"""The verbs of proof, lineage and audit from the command line: exit codes, words, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlpipeline.cli import main
from proven_release import Proven

_CONFIG = """
service: iris
train: {command: "true"}
signing:
  keys: [{file: release.pub}]
"""


@pytest.fixture
def proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proven:
    made = Proven(tmp_path)
    (made.world.places.project / "mlpipeline.yaml").write_text(_CONFIG)
    monkeypatch.setenv("MLPIPELINE_HOME", str(made.world.places.home))
    monkeypatch.chdir(made.world.places.project)
    return made


def test_proven_package_passes_and_one_changed_byte_fails(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-artifact", proven.digest]) == 0
    assert "is what was judged, signed and approved" in capsys.readouterr().out
    weights = proven.built.path / "model" / "weights.bin"
    weights.write_text("weightz")
    assert main(["verify-artifact", proven.digest.removeprefix("sha256:")[:10], "--json"]) == 10
    result = json.loads(capsys.readouterr().out)
    assert result["reasons"][0]["check"] == "artifact.bundle"
    assert "model/weights.bin" in result["summary"]


def test_nothing_is_proven_without_a_key(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    (proven.world.places.project / "mlpipeline.yaml").write_text(_CONFIG.partition("signing")[0])
    assert main(["verify-artifact", proven.digest]) == 11
    assert "no public key is known" in capsys.readouterr().out
    assert main(["verify-artifact", proven.digest, "--keys", "release.pub"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify-artifact"], "no package has this digest"),
        (["verify-artifact", "latest"], "no package has this digest"),
        (["verify-artifact", "0" * 64, "--keys", "release.pub"], "no package has this digest"),
        (["lineage"], "lineage of what?"),
        (["lineage", "zzzz"], "nothing is known as 'zzzz'"),
        (["audit"], "required: WHAT"),
        (["audit", "export"], "needs a file to write"),
        (["--set", "signing.keys=[{file: absent.pub}]", "audit", "verify"], "a public key cannot be used"),
        (
            ["--set", "signing.keys=[{file: release.pub, valid_from: 2026-02-01, valid_until: 2026-01-01}]", "audit", "verify"],
            "would never count",
        ),
        (["--set", "signing.keys=[{file: release.pub, valid_from: soon}]", "audit", "verify"], "is not an ISO time"),
        (["--set", "signing.command=sign", "--set", "signing.keys=[]", "audit", "verify"], "names no public key"),
        (["--set", "ledger.uri=mysql://x", "audit", "verify"], "no address of a PostgreSQL database"),
    ],
)
def test_what_cannot_be_meant_is_told(
    proven: Proven, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_lineage_and_audit_answer_and_leave_no_trace(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    entries = len(proven.context.ledger.read())
    assert main(["lineage", "cccc"]) == 0
    assert proven.digest in capsys.readouterr().out
    assert main(["audit", "verify"]) == 0
    assert "a whole chain" in capsys.readouterr().out
    assert main(["audit", "export", "--output", "one.zip"]) == main(["audit", "export", "--output", "two.zip"]) == 0
    assert Path("one.zip").read_bytes() == Path("two.zip").read_bytes()
    assert len(proven.context.ledger.read()) == entries
    copy = proven.world.places.ledger
    copy.write_bytes(b"".join(copy.read_bytes().splitlines(keepends=True)[:-1]))
    capsys.readouterr()
    assert main(["audit", "verify"]) == 10
    assert "1 entry is missing at its end" in capsys.readouterr().out
    assert main(["history"]) == 3


def test_a_key_in_the_file_is_refused_and_not_shown(proven: Proven, capsys: pytest.CaptureFixture[str]) -> None:
    key = (proven.world.places.project / "release.key").read_text()
    text = json.dumps(key)
    (proven.world.places.project / "mlpipeline.yaml").write_text(f"{_CONFIG}  key: {text}\n")
    assert main(["config"]) == 2
    said = capsys.readouterr()
    assert "holds a private key itself" in said.err
    assert key.splitlines()[1] not in said.err + said.out
