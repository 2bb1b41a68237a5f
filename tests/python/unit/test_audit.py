"""An audit finds what does not fit together and names it, and hands over an archive that needs no trust in this worker."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mlpipeline.config.sections.records import PublicKey, Signing
from mlpipeline.config.sections.rollout import Approval
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.ledger import Entry, Ledger, encoded
from mlpipeline.record.ledger import digest as hash_of
from mlpipeline.verbs import approve, audit_export, audit_verify, register
from proven_release import Proven
from signing_keys import make_pair


@pytest.fixture
def proven(tmp_path: Path) -> Proven:
    """Packaged, deployed and approved; the second package of the service."""
    made = Proven(tmp_path, approval=Approval(required=True))
    made.deployed()
    approve.run(made.context, made.run, person="ada", why="better", digest=made.digest)
    return made


def audited(proven: Proven, **options: bool) -> tuple[Verdict, str, str]:
    """Verdict, check and words of the first thing that does not fit."""
    result = audit_verify.run(proven.context, **options)
    return result.verdict, result.reasons[0].check, result.summary


def test_untouched_record_fits_together(proven: Proven) -> None:
    result = audit_verify.run(proven.context)
    assert result.verdict is Verdict.PASS, result.summary
    assert {reason.check for reason in result.reasons} == {
        *("audit.chain", "audit.anchors", "audit.results", "audit.statements", "audit.time", "audit.signatures")
    }
    assert "2 of 2 statements are signed" in result.summary


def rewritten(proven: Proven, entries: list[Entry]) -> None:
    """A forger's whole new chain: numbers and hashes fit, in the file and in the database."""
    place = proven.world.places.ledger
    place.unlink()
    place.with_suffix(".db").unlink()
    ledger = Ledger(place)
    for entry in entries:
        ledger.append(msgspec.structs.replace(entry, seq=0, previous="0" * 64, hash=""))


def cut_off(proven: Proven) -> None:
    rewritten(proven, proven.context.ledger.read()[:-1])


def cut_off_far(proven: Proven) -> None:
    rewritten(proven, proven.context.ledger.read()[:3])


def edited(proven: Proven) -> None:
    entries = proven.context.ledger.read()
    entries[0] = msgspec.structs.replace(entries[0], actor="nobody")
    rewritten(proven, entries)


def removed(proven: Proven) -> None:
    entries = proven.context.ledger.read()
    rewritten(proven, [entry for entry in entries if entry.event != "gate-model"])


def row_edited(proven: Proven) -> None:
    with sqlite3.connect(proven.world.places.ledger.with_suffix(".db")) as database:
        database.executescript(
            "DROP TRIGGER no_update; UPDATE entries SET line = CAST(replace(line, 'tester', 'nobody') AS BLOB)"
        )


def result_edited(proven: Proven) -> None:
    file = proven.context.runs.folder("r1") / "results" / "gate-model.json"
    file.write_text(file.read_text().replace("0.9", "0.99"))


def result_made_up(proven: Proven) -> None:
    folder = proven.context.runs.folder("r1") / "results"
    shutil.copy(folder / "gate-model.json", folder / "gate-fairness.json")


def statement_gone(proven: Proven) -> None:
    (proven.place / "provenance.dsse.json").unlink()


def statement_forged(proven: Proven) -> None:
    """Changed together with the ledger's entry of it, which the forger writes anew."""
    file = proven.place / "provenance.dsse.json"
    envelope = json.loads(file.read_bytes())
    statement = base64.b64decode(envelope["payload"]).replace(b'"trees":"10"', b'"trees":"99"')
    file.write_text(json.dumps({**envelope, "payload": base64.b64encode(statement).decode()}))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    entries = proven.context.ledger.read()
    rewritten(
        proven,
        [
            msgspec.structs.replace(entry, facts={**entry.facts, "sha256": digest})
            if entry.facts.get("statement") == "provenance"
            else entry
            for entry in entries
        ],
    )


def approval_unnoted(proven: Proven) -> None:
    shutil.copy(next(proven.place.glob("approval-*")), proven.place / "approval-0000.dsse.json")
    rewritten(proven, [one for one in proven.context.ledger.read() if "approval by" not in one.facts.get("statement", "")])


@pytest.mark.parametrize(
    ("harm", "check", "words"),
    [
        (cut_off, "results", "the result of approve in run r1 has no entry"),
        (cut_off_far, "anchors", "is missing: "),
        (edited, "anchors", "is not the one that"),
        (removed, "anchors", "is not the one that"),
        (row_edited, "chain", "ledger.db:1"),
        (result_edited, "results", "the result of gate-model in run r1 is not the one that entry"),
        (result_made_up, "results", "the result of gate-fairness in run r1 has no entry"),
        (statement_gone, "statements", "tells of is missing: provenance"),
        (statement_forged, "anchors", "is not the one that"),
        (approval_unnoted, "statements", "has no entry in the ledger"),
    ],
)
def test_what_does_not_fit_is_named(proven: Proven, harm: Callable[[Proven], None], check: str, words: str) -> None:
    harm(proven)
    verdict, found, summary = audited(proven)
    assert (verdict, found) == (Verdict.FAIL, f"audit.{check}"), summary
    assert words in summary


def test_cut_off_end_without_any_statement_after_it_is_found_by_the_results(proven: Proven) -> None:
    for version in ("3", "4", "5"):
        proven.passed(proven.run, "settle", version=version)
    entries = proven.context.ledger.read()
    rewritten(proven, entries[:-1])
    assert audited(proven)[:2] == (Verdict.FAIL, "audit.results")


def test_registry_remembers_what_this_machine_forgot(proven: Proven) -> None:
    proven.passed(proven.run, "package", digest=proven.digest, path=str(proven.built.path), python="")
    register.run(proven.context, proven.run)
    assert audited(proven, registry=True)[0] is Verdict.PASS
    shutil.rmtree(proven.world.places.attestations)
    shutil.rmtree(proven.world.places.runs)
    entries = proven.context.ledger.read()
    kept = [entry for entry in entries if entry.event in {"gate-data", "register"}]
    rewritten(proven, kept)
    verdict, check, summary = audited(proven, registry=True)
    assert (verdict, check) == (Verdict.FAIL, "audit.anchors")
    assert "version 1 in the registry names it" in summary
    assert audited(proven)[0] is Verdict.PASS


def test_signatures_of_an_unknown_key_are_named(proven: Proven) -> None:
    make_pair(proven.world.places.project, "other")
    signing = Signing(keys=(PublicKey(file="other.pub"),))
    proven.world.config = msgspec.structs.replace(proven.world.config, signing=signing)
    verdict, check, summary = audited(proven)
    assert (verdict, check) == (Verdict.FAIL, "audit.statements")
    assert "by none of the known keys" in summary
    proven.world.config = msgspec.structs.replace(proven.world.config, signing=Signing())
    assert audited(proven)[:2] == (Verdict.INCONCLUSIVE, "audit.signatures")


def test_a_service_that_signs_never_stops(proven: Proven) -> None:
    signing = proven.world.config.signing
    proven.world.config = msgspec.structs.replace(proven.world.config, signing=Signing(keys=signing.keys))
    run = proven.begin("r2")
    proven.package(run, model="other")
    verdict, check, summary = audited(proven)
    assert (verdict, check) == (Verdict.FAIL, "audit.signatures")
    assert "is not signed" in summary


def test_a_clock_that_was_behind_is_named(proven: Proven) -> None:
    proven.world.clock.passed -= 3600
    proven.context.note("live")
    verdict, check, summary = audited(proven)
    assert (verdict, check) == (Verdict.FAIL, "audit.time")
    assert "3600 s earlier" in summary


def test_nothing_decided_yet_is_no_trouble(tmp_path: Path) -> None:
    from fakes import FakeWorld

    world = FakeWorld(tmp_path)
    world.places.project.mkdir(parents=True)
    assert audit_verify.run(world.context()).verdict is Verdict.PASS


# --- the archive ----------------------------------------------------------------------------------------------------


def exported(proven: Proven, file: Path) -> bytes:
    assert audit_export.run(proven.context, output=str(file)).verdict is Verdict.PASS
    return file.read_bytes()


def unpacked(proven: Proven, tmp_path: Path) -> Path:
    exported(proven, tmp_path / "record.zip")
    with zipfile.ZipFile(tmp_path / "record.zip") as zipped:
        zipped.extractall(tmp_path / "archive")
    return tmp_path / "archive"


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    """As a compliance officer does, without anything of ours on the machine."""
    return subprocess.run(["sh", "check.sh"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_archive_is_checked_with_sha256sum_and_openssl_alone(tmp_path: Path, kind: str) -> None:
    proven = Proven(tmp_path, kind, approval=Approval(required=True))
    proven.deployed()
    approve.run(proven.context, proven.run, person="ada", why="better", digest=proven.digest)
    folder = unpacked(proven, tmp_path)
    done = checked(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "signatures: all 2 hold" in done.stdout
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    package = f"packages/{proven.digest.removeprefix('sha256:')}/r1"
    assert {
        *("README.txt", "SHA256SUMS", "LEDGER-SHA256SUMS", "SIGNATURES", "ledger.jsonl", "ledger/000001.json", "keys/keys.json"),
        *("runs/r1/run.json", "runs/r1/results/gate-model.json", f"{package}/sbom.cdx.json", f"{package}/provenance.dsse.json"),
    } <= names
    assert not any(name.endswith(".key") for name in names)


def test_the_same_record_makes_the_same_bytes(proven: Proven, tmp_path: Path) -> None:
    first = exported(proven, tmp_path / "one.zip")
    proven.world.clock.sleep(3600)
    assert exported(proven, tmp_path / "two.zip") == first
    with zipfile.ZipFile(tmp_path / "one.zip") as zipped:
        assert {(one.date_time, one.compress_type) for one in zipped.infolist()} == {((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED)}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def resummed(folder: Path) -> None:
    """The forger writes the list anew."""
    names = [line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    (folder / "SHA256SUMS").write_text(
        "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    )


def test_each_kind_of_forgery_is_found_by_the_archive_itself(proven: Proven, tmp_path: Path) -> None:
    folder = unpacked(proven, tmp_path)
    kept = shutil.copytree(folder, tmp_path / "kept")
    package = Path("packages") / proven.digest.removeprefix("sha256:") / "r1"

    def again() -> None:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)

    for name in (package / "sbom.cdx.json", Path("ledger/000002.json"), Path("runs/r1/results/train.json")):
        flip(folder / name)
        assert checked(folder).returncode != 0, name
        again()
    flip(folder / package / "provenance.dsse.json.sig")
    resummed(folder)
    assert "does not hold" in checked(folder).stdout
    again()
    flip(folder / package / "provenance.dsse.json.payload.json")
    resummed(folder)
    assert "is not what was signed" in checked(folder).stdout
    again()
    entry = folder / "ledger" / "000002.json"
    entry.write_bytes(entry.read_bytes().replace(b"tester", b"nobody"))
    sums = folder / "LEDGER-SHA256SUMS"
    lines = sums.read_text().splitlines()
    lines[1] = f"{hashlib.sha256(entry.read_bytes()).hexdigest()}  ledger/000002.json"
    sums.write_text("\n".join(lines) + "\n")
    resummed(folder)
    assert "ledger/000003.json does not follow the entry before" in checked(folder).stdout


def test_entries_in_the_archive_are_what_their_hashes_are_of(proven: Proven) -> None:
    files = audit_export.contents(proven.context)
    for entry in proven.context.ledger.read():
        assert hashlib.sha256(files[f"ledger/{entry.seq:06d}.json"]).hexdigest() == entry.hash == hash_of(entry)
    assert files["ledger.jsonl"] == b"".join(encoded(one) + b"\n" for one in proven.context.ledger.read())


def test_of_a_broken_ledger_nothing_is_exported(proven: Proven, tmp_path: Path) -> None:
    row_edited(proven)
    with pytest.raises(EnvironmentFault, match="changed after it was written"):
        audit_export.run(proven.context, output=str(tmp_path / "record.zip"))
    assert not (tmp_path / "record.zip").exists()
    with pytest.raises(ConfigurationError, match="needs a file to write"):
        audit_export.run(proven.context)
    with pytest.raises(ConfigurationError, match="this is a folder"):
        audit_export.run(proven.context, output=str(tmp_path))
