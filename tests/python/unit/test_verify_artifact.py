"""A package is what was judged, signed and approved, or the first thing that does not hold is named."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from mlpipeline.config.sections.records import PublicKey, Signing
from mlpipeline.config.sections.rollout import Approval
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, MlpipelineError
from mlpipeline.record.result import Reason
from mlpipeline.record.run import encode
from mlpipeline.verbs import approve, deploy, verify_artifact
from mlpipeline.verbs.attesting import refresh
from mlpipeline.verbs.auditing import said_files
from mlpipeline.verbs.verify_artifact import require_proof
from proven_release import Proven
from signing_keys import KINDS, make_pair


@pytest.fixture
def proven(tmp_path: Path) -> Proven:
    return Proven(tmp_path)


def verified(proven: Proven, **options: str) -> tuple[Verdict, str, str]:
    """Verdict, check and words of the first thing that does not hold."""
    result = verify_artifact.run(proven.context, digest=proven.digest, **options)
    return result.verdict, result.reasons[0].check, result.summary


@pytest.mark.parametrize("kind", KINDS)
def test_untouched_package_holds(tmp_path: Path, kind: str) -> None:
    proven = Proven(tmp_path, kind)
    result = verify_artifact.run(proven.context, digest=proven.digest)
    assert result.verdict is Verdict.PASS, result.summary
    assert [reason.check.removeprefix("artifact.") for reason in result.reasons] == [
        *("bundle", "signature", "provenance", "sbom", "model-card", "model-card-page", "gates", "ledger")
    ]
    first_digits = verify_artifact.run(proven.context, digest=proven.digest.removeprefix("sha256:")[:8])
    assert first_digits.verdict is Verdict.PASS


def test_each_changed_byte_of_the_envelope_is_found(proven: Proven) -> None:
    """Every place would take minutes; these are spread over payload, signature and names."""
    file = proven.place / "provenance.dsse.json"
    content = file.read_bytes()
    keyid = content.index(b'"keyid":"')
    for place in (*range(15, len(content) - 1, 97), content.index(b'"sig":"') + 10):
        if keyid <= place <= keyid + 9 + 64:
            continue  # a hint that no signature covers; the ledger's digest finds it, as below
        changed = bytearray(content)
        changed[place] = changed[place] ^ 1
        file.write_bytes(bytes(changed))
        verdict, check, summary = verified(proven)
        assert verdict is Verdict.FAIL, (place, summary)
        assert check in {"artifact.signature", "artifact.provenance", "artifact.ledger"}, (place, summary)
    file.write_bytes(content.replace(b'"keyid":"', b'"keyid":"0', 1))
    assert verified(proven)[1] == "artifact.ledger"


def edit(file: Path, old: str, new: str) -> Callable[[Proven], None]:
    def do(proven: Proven) -> None:
        place = proven.place / file if not file.is_absolute() else file
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new, 1))

    return do


def bundle_byte(proven: Proven) -> None:
    (proven.built.path / "model" / "weights.bin").write_text("weightz")


def bundle_extra(proven: Proven) -> None:
    (proven.built.path / "model" / "sitecustomize.py").write_text("import os")


def forged_payload(proven: Proven) -> None:
    """The statement says another model, and the old signature is left on it."""
    file = proven.place / "provenance.dsse.json"
    envelope = json.loads(file.read_bytes())
    statement = base64.b64decode(envelope["payload"]).replace(b'"trees":"10"', b'"trees":"99"')
    file.write_text(json.dumps({**envelope, "payload": base64.b64encode(statement).decode()}))


def unsigned(proven: Proven) -> None:
    file = proven.place / "provenance.dsse.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "signatures": []}))


def ledger_entry_gone(proven: Proven) -> None:
    for file in (proven.world.places.ledger, *proven.world.places.state.glob("ledger*")):
        file.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("harm", "check", "words"),
    [
        (bundle_byte, "bundle", "model/weights.bin"),
        (bundle_extra, "bundle", "sitecustomize.py"),
        (edit(Path("sbom.cdx.json"), "numpy", "numpi"), "sbom", "not the one that the provenance names"),
        (edit(Path("model-card.md"), "0.9", "0.99"), "model-card", "not the one that the provenance names"),
        (forged_payload, "signature", "changed after it was signed"),
        (unsigned, "signature", "is not signed"),
        (lambda proven: (proven.place / "sbom.cdx.json").unlink(), "sbom", "missing"),
        (lambda proven: (proven.place / "provenance.dsse.json").unlink(), "provenance", "no provenance"),
        (lambda proven: (proven.place / "provenance.dsse.json").write_text("{"), "provenance", "cannot be read"),
        (edit(Path("record/gate-model.json"), "0.9", "0.8"), "gates", "the result of gate-model"),
        (ledger_entry_gone, "ledger", "no entry of this provenance"),
    ],
)
def test_first_thing_that_does_not_hold_is_named(proven: Proven, harm: Callable[[Proven], None], check: str, words: str) -> None:
    harm(proven)
    verdict, found, summary = verified(proven)
    assert (verdict, found) == (Verdict.FAIL, f"artifact.{check}")
    assert words in summary
    with pytest.raises(Failed, match=re.escape(summary)):
        require_proof(proven.context, proven.run, proven.digest)


def test_provenance_of_another_package_is_not_this_one(proven: Proven) -> None:
    other = proven.begin("r2")
    built = proven.package(other, model="other weights")
    hexes = [digest.removeprefix("sha256:") for digest in (proven.digest, built.manifest.digest)]
    attestations = proven.world.places.attestations
    for name in ("provenance.dsse.json", "sbom.cdx.json", "model-card.md"):
        content = (attestations / hexes[1] / "r2" / name).read_bytes()
        (attestations / hexes[0] / "r1" / name).write_bytes(content)
    assert verified(proven)[:2] == (Verdict.FAIL, "artifact.provenance")


def test_gate_that_did_not_pass_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = Proven.passed

    def failing(self: Proven, run: object, verb: str, **evidence: object) -> object:
        result = finish(self, run, verb, **evidence)  # type: ignore[arg-type]
        if verb == "gate-model":
            broken = msgspec.structs.replace(result, verdict=Verdict.FAIL, summary="worse")
            self.context.runs.write(broken)
        return result

    monkeypatch.setattr(Proven, "passed", failing)
    assert verified(Proven(tmp_path)) == (Verdict.FAIL, "artifact.gates", "gate-model did not pass: fail, worse")


def test_what_is_told_besides_the_gates_stops_nothing(proven: Proven) -> None:
    """The project's own checks are no gate of the release, and watching the candidate later is none of the package."""
    for verb in ("checks", "mirror"):
        reason = Reason(verb, Verdict.FAIL, "red")
        proven.context.finish(proven.run, verb, 0.0, [reason])
    refresh(proven.context, proven.run, proven.digest)
    assert verified(proven)[0] is Verdict.PASS
    stated = json.loads(base64.b64decode(json.loads((proven.place / "provenance.dsse.json").read_bytes())["payload"]))
    told = {
        one["name"]: one["annotations"]["verdict"]
        for one in stated["predicate"]["runDetails"]["byproducts"]
        if "annotations" in one and "verdict" in one["annotations"]
    }
    assert told["checks"] == "fail" and "mirror" not in told


def with_keys(proven: Proven, *keys: PublicKey, key: str = "release.key") -> None:
    proven.world.config = msgspec.structs.replace(proven.world.config, signing=Signing(key=key, keys=keys))


def test_rotated_key_counts_for_what_it_signed_in_its_time(proven: Proven) -> None:
    make_pair(proven.world.places.project, "next")
    new = PublicKey(file="next.pub", valid_from="2026-03-01T04:00:00Z")
    with_keys(proven, PublicKey(file="release.pub", valid_until="2026-03-01T04:00:00Z"), new, key="next.key")
    proven.world.clock.sleep(7200)
    assert verified(proven)[0] is Verdict.PASS
    with_keys(proven, PublicKey(file="release.pub", valid_until="2026-03-01T02:00:00Z"), new, key="next.key")
    verdict, check, summary = verified(proven)
    assert (verdict, check) == (Verdict.FAIL, "artifact.signature")
    assert "was valid only until 2026-03-01T02:00:00Z" in summary


def test_unknown_key_is_named(proven: Proven, tmp_path: Path) -> None:
    _, public = make_pair(tmp_path, "stranger")
    verdict, check, summary = verified(proven, keys=str(public))
    assert (verdict, check) == (Verdict.FAIL, "artifact.signature")
    assert "signed with a key that is not known" in summary
    assert verified(proven, keys=str(proven.world.places.project / "release.pub"))[0] is Verdict.PASS


def test_without_any_key_nothing_is_proven(proven: Proven) -> None:
    proven.world.config = msgspec.structs.replace(proven.world.config, signing=Signing())
    assert verified(proven)[:2] == (Verdict.INCONCLUSIVE, "artifact.signature")


def test_a_clock_that_is_behind_is_told_and_nothing_is_signed(proven: Proven) -> None:
    proven.world.clock._start = datetime(2026, 2, 1, tzinfo=UTC)
    verdict, check, summary = verified(proven)
    assert (verdict, check) == (Verdict.ERROR, "artifact.signature")
    assert "has not come yet" in summary
    kept = {file: file.read_bytes() for file in proven.place.rglob("*") if file.is_file()}
    (proven.place / "provenance.dsse.json").write_text("{}")
    with pytest.raises(EnvironmentFault, match="clock is behind, nothing was signed"):
        proven.attest(proven.run, proven.built)
    assert (proven.place / "provenance.dsse.json").read_text() == "{}"
    assert {name for name in proven.place.rglob("*") if name.is_file()} == set(kept)


def test_key_that_may_not_sign_leaves_nothing(proven: Proven) -> None:
    make_pair(proven.world.places.project, "stranger")
    with_keys(proven, PublicKey(file="release.pub"), key="stranger.key")
    entries = len(proven.context.ledger.read())
    other = proven.begin("r2")
    with pytest.raises(ConfigurationError, match="none of signing"):
        proven.package(other, model="new weights")
    assert not list(proven.world.places.attestations.glob("*/r2"))
    assert all(entry.event != "attested" for entry in proven.context.ledger.read()[entries:])


def test_saying_the_same_again_changes_nothing(proven: Proven) -> None:
    before = {file: file.read_bytes() for file in proven.place.rglob("*") if file.is_file()}
    entries = len(proven.context.ledger.read())
    proven.world.clock.sleep(60)
    proven.attest(proven.run, proven.built)
    assert {file: file.read_bytes() for file in proven.place.rglob("*") if file.is_file()} == before
    assert len(proven.context.ledger.read()) == entries


def test_what_a_key_signed_after_its_time_is_not_called_done(proven: Proven) -> None:
    make_pair(proven.world.places.project, "next")
    over = PublicKey(file="release.pub", valid_until="2026-03-01T02:00:00Z")
    with_keys(proven, over)
    with pytest.raises(ConfigurationError, match="may not be used now"):
        proven.attest(proven.run, proven.built)
    with_keys(proven, over, PublicKey(file="next.pub"), key="next.key")
    proven.attest(proven.run, proven.built)
    assert verified(proven)[0] is Verdict.PASS


def test_gate_that_was_asked_again_is_signed_again(proven: Proven) -> None:
    proven.passed(proven.run, "gate-model", metrics=[{"name": "accuracy", "candidate": 0.91, "rows": 60}])
    refresh(proven.context, proven.run, proven.digest)
    assert verified(proven)[0] is Verdict.PASS
    assert b"0.91" in (proven.place / "sbom.cdx.json").read_bytes()


def test_what_was_tampered_with_is_not_mended_by_asking_again(proven: Proven) -> None:
    proven.passed(proven.run, "gate-model", metrics=[])
    forged_payload(proven)
    refresh(proven.context, proven.run, proven.digest)
    assert verified(proven)[1] == "artifact.signature"


def test_result_that_the_ledger_does_not_know_is_not_signed(proven: Proven) -> None:
    context = proven.context
    result = context.runs.result(proven.run.id, "gate-model")
    assert result is not None
    context.runs.write(msgspec.structs.replace(result, summary="forged"))
    before = (proven.place / "provenance.dsse.json").read_bytes()
    refresh(context, proven.run, proven.digest)
    assert (proven.place / "provenance.dsse.json").read_bytes() == before


@pytest.fixture
def asked(tmp_path: Path) -> Proven:
    made = Proven(tmp_path, approval=Approval(required=True, quorum=2))
    made.deployed()
    return made


def decide(proven: Proven, person: str, *, reject: bool = False) -> None:
    approve.run(proven.context, proven.run, person=person, why="looked at it", reject=reject, digest=proven.digest)


def test_approvals_are_signed_and_counted(asked: Proven) -> None:
    decide(asked, "ada")
    assert verified(asked)[:2] == (Verdict.FAIL, "artifact.approval")
    require_proof(asked.context, asked.run, asked.digest)
    decide(asked, "grace")
    result = verify_artifact.run(asked.context, digest=asked.digest)
    assert result.verdict is Verdict.PASS, result.summary
    assert "2 of 2 approvals: " in result.reasons[-1].summary


def test_rejection_is_no_approval(asked: Proven) -> None:
    decide(asked, "ada")
    decide(asked, "grace", reject=True)
    assert verified(asked) == (Verdict.FAIL, "artifact.approval", "rejected by grace")


def test_forged_approval_is_named(asked: Proven) -> None:
    decide(asked, "ada")
    decide(asked, "grace")
    file = sorted(asked.place.glob("approval-*"))[0]
    envelope = json.loads(file.read_bytes())
    statement = base64.b64decode(envelope["payload"]).replace(b"looked at it", b"looked at me")
    file.write_text(json.dumps({**envelope, "payload": base64.b64encode(statement).decode()}))
    verdict, check, summary = verified(asked)
    assert (verdict, check) == (Verdict.FAIL, f"artifact.{file.name.removesuffix('.dsse.json')}")
    assert "changed after it was signed" in summary


def test_approval_of_other_evidence_is_named(asked: Proven) -> None:
    decide(asked, "ada")
    decide(asked, "grace")
    file = asked.place / "record" / "deploy.json"
    result = msgspec.json.decode(file.read_bytes(), type=approve.Result)
    file.write_bytes(encode(msgspec.structs.replace(result, summary="x", evidence={"digest": "other"})))
    assert "decided on other evidence" in verified(asked)[2]


def test_decision_that_cannot_be_signed_is_not_recorded(asked: Proven) -> None:
    make_pair(asked.world.places.project, "stranger")
    with_keys(asked, PublicKey(file="release.pub"), key="stranger.key")
    with pytest.raises(ConfigurationError, match="none of signing"):
        decide(asked, "ada")
    assert not list(asked.world.places.run("r1").glob("approvals/*"))


@pytest.mark.parametrize("given", ["", "sha256:", "1234567", "f" * 64, "../../etc"])
def test_unknown_digest_is_told(proven: Proven, given: str) -> None:
    with pytest.raises(ConfigurationError, match="no package has this digest"):
        verify_artifact.run(proven.context, digest=given)


def test_no_part_of_the_private_key_is_written_anywhere(tmp_path: Path) -> None:
    proven = Proven(tmp_path)
    key = (proven.world.places.project / "release.key").read_text().splitlines()[1]
    with pytest.raises(MlpipelineError) as caught:
        verify_artifact.run(proven.context, digest=proven.digest, keys=str(proven.world.places.project / "release.key"))
    assert key not in caught.value.render()
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.name != "release.key":
            assert key.encode() not in file.read_bytes(), file
    assert not any(key in line for line in proven.world.console.lines)


def test_deploy_starts_nothing_whose_proof_does_not_hold(tmp_path: Path) -> None:
    proven = Proven(tmp_path)
    forged_payload(proven)
    with pytest.raises(Failed, match="the package is not proven: the signature of the provenance"):
        deploy.run(proven.context, proven.run)
    assert proven.world.target.calls == []
    assert not proven.context.runs.result("r1", "deploy")


def test_deploy_of_a_proven_package_goes_on(tmp_path: Path) -> None:
    proven = Proven(tmp_path)
    assert deploy.run(proven.context, proven.run).verdict is Verdict.PASS
    assert proven.world.target.calls == ["deploy blue"]


def test_without_signing_keys_deploy_asks_for_no_proof(tmp_path: Path) -> None:
    proven = Proven(tmp_path)
    proven.world.config = msgspec.structs.replace(proven.world.config, signing=Signing())
    forged_payload(proven)
    assert deploy.run(proven.context, proven.run).verdict is Verdict.PASS


def test_disk_that_fills_up_leaves_no_half_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proven = Proven(tmp_path)
    run = proven.begin("r2")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        proven.attest(run, proven.built)
    monkeypatch.undo()
    folder = proven.place.parent / "r2"
    assert not folder.exists() or not list(folder.iterdir())
    assert verified(proven)[0] is Verdict.PASS


WITNESS = 'printf "seen " > "$WITNESS" && cat "$STATEMENT" >> "$WITNESS"'


def witnessed_by(proven: Proven, command: str) -> None:
    signing = msgspec.structs.replace(proven.world.config.signing, witness=command)
    proven.world.config = msgspec.structs.replace(proven.world.config, signing=signing)


def test_a_witness_vouches_once_for_each_statement_and_stays_beside_it(proven: Proven) -> None:
    witnessed_by(proven, WITNESS)
    proven.attest(proven.run, proven.built)
    seen = proven.place / "provenance.sigstore.json"
    assert seen.read_bytes() == b"seen " + (proven.place / "provenance.dsse.json").read_bytes()
    witnessed_by(proven, "exit 1")
    proven.attest(proven.run, proven.built)
    proven.passed(proven.run, "gate-model", metrics=[])
    with pytest.raises(EnvironmentFault, match="did not vouch") as caught:
        refresh(proven.context, proven.run, proven.digest)
    assert caught.value.facts["found"] == "exit code 1"
    assert not seen.exists(), "it was of another statement"
    witnessed_by(proven, WITNESS)
    refresh(proven.context, proven.run, proven.digest)
    proven.attest(proven.run, proven.built)
    assert seen.read_bytes() == b"seen " + (proven.place / "provenance.dsse.json").read_bytes()
    assert verified(proven)[0] is Verdict.PASS
    assert any(name.endswith("provenance.sigstore.json") for name in said_files(proven.context))


def test_a_witness_that_says_nothing_is_none_and_its_words_are_not_repeated(proven: Proven) -> None:
    witnessed_by(proven, "echo a-token-of-the-ci; echo a-token-of-the-ci >&2")
    with pytest.raises(EnvironmentFault, match="did not vouch") as caught:
        proven.attest(proven.run, proven.built)
    assert "wrote nothing" in caught.value.render() and "\n  a-token" not in caught.value.render()
