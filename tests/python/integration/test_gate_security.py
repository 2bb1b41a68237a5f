"""``gate security`` on a real project with the real scanners: what stops a release, what is only told, and what it leaves."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from mlpipeline.adapters.scanners.dependencies import Dependencies
from mlpipeline.adapters.scanners.model_files import ModelFiles
from mlpipeline.adapters.scanners.modelscan import Modelscan
from mlpipeline.adapters.scanners.picklescan import Picklescan
from mlpipeline.adapters.scanners.secrets import Secrets
from mlpipeline.config.load import load
from mlpipeline.config.sections.security import Ignore, ScannerRule, Security
from mlpipeline.config.values import Duration
from mlpipeline.core.findings import Finding, NotRun, Scan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.ports import Scanned
from mlpipeline.record.result import Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import gate_security, train
from small_project import SmallProject

SECRET = "AKIA" + "QWERTYUIOPASDFGH"


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return importlib.import_module, ("os",)


class Fixed:
    """A scanner that finds what it is told to."""

    name = "code"

    def __init__(self, *findings: Finding, error: Exception | None = None) -> None:
        self.findings = findings
        self.error = error
        self.scanned: Scanned | None = None

    def scan(self, scanned: Scanned) -> Scan:
        self.scanned = scanned
        if self.error is not None:
            raise self.error
        return Scan(tool="fixed", version="1", targets=1, findings=self.findings)


class World:
    def __init__(self, folder: Path, security: Security | None = None) -> None:
        self.project = SmallProject(folder, security=security or Security(skops=ScannerRule(policy="off")))
        self.run: Run = self.project.run()
        train.run(self.project.context(), self.run)

    @property
    def model(self) -> Path:
        return self.project.folder / "model"

    def gate(self, *scanners: object) -> Result:
        chosen = {"scanners": scanners} if scanners else {}
        return gate_security.run(self.project.context(), self.run, **chosen)  # type: ignore[arg-type]

    def secure(self, **fields: object) -> None:
        changed = msgspec.structs.replace(self.project.config.security, **fields)
        self.project.config = msgspec.structs.replace(self.project.config, security=changed)

    def file(self, name: str) -> bytes:
        return (self.project.context().runs.folder(self.run.id) / name).read_bytes()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def reasons(result: Result) -> Mapping[str, Verdict]:
    return {reason.check: reason.verdict for reason in result.reasons}


def test_an_ordinary_project_passes_and_the_evidence_says_what_was_looked_at(world: World) -> None:
    result = world.gate()
    assert result.verdict is Verdict.PASS
    scanners = msgspec.convert(result.evidence["scanners"], dict[str, dict[str, object]])
    assert scanners["model_files"]["targets"] == 7
    assert scanners["secrets"]["tool"] == "detect-secrets"
    assert scanners["dependencies"] == {"policy": "off"}
    assert result.evidence["model_digest"]
    assert "not run" in result.summary


def test_a_pickle_that_hides_behind_importlib_stops_the_release_and_is_named(world: World) -> None:
    (world.model / "extra.pkl").write_bytes(pickle.dumps(Evil()))
    result = world.gate(ModelFiles())
    assert result.verdict is Verdict.FAIL
    assert "model/extra.pkl" in result.summary
    assert "importlib.import_module" in result.summary


def test_the_other_scanners_see_what_they_know_and_never_call_the_unread_clean(world: World) -> None:
    class Plain:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, ("true",)

    (world.model / "plain.pkl").write_bytes(pickle.dumps(Plain()))
    (world.model / "cut.pkl").write_bytes(pickle.dumps(list(range(50)))[:-3])
    result = world.gate(Picklescan(), Modelscan())
    assert reasons(result) == {"security.picklescan": Verdict.FAIL, "security.modelscan": Verdict.FAIL}
    told = [finding for one in result.evidence["scanners"].values() for finding in one["findings"]]  # type: ignore[attr-defined]
    assert {(one["where"], one["level"]) for one in told} >= {("model/plain.pkl", "critical"), ("model/cut.pkl", "medium")}


def test_a_secret_in_a_tracked_file_stops_the_release_and_is_told_nowhere(world: World) -> None:
    (world.project.folder / "settings.py").write_text(f'KEY = "{SECRET}"\n')
    (world.project.folder / "untracked.txt").write_text(f"{SECRET}\n")
    world.project.git("add", "settings.py")
    result = world.gate(Secrets())
    assert result.verdict is Verdict.FAIL
    assert "settings.py:1" in result.summary
    assert "untracked" not in str(result)
    kept = b"".join(file.read_bytes() for file in (world.project.folder / ".mlpipeline").rglob("*") if file.is_file())
    assert SECRET.encode() not in kept + msgspec.json.encode(result) + world.project.places.ledger.read_bytes()


def test_the_name_of_a_variable_in_our_own_file_is_no_secret_and_a_secret_there_is_one(world: World) -> None:
    file = world.project.folder / "mlpipeline.yaml"
    file.write_text("service: tiny\nsigning:\n  key: cosign.key\n  password_env: RELEASE_WORD   # in Jenkins\n")
    world.project.git("add", "mlpipeline.yaml")
    assert world.gate(Secrets()).verdict is Verdict.PASS
    file.write_text(f"service: tiny\nsigning:\n  key: cosign.key\n  password: {SECRET}\n")
    result = world.gate(Secrets())
    assert result.verdict is Verdict.FAIL and "mlpipeline.yaml:4" in result.summary


@pytest.mark.parametrize("name", [b"--disable-plugin=AWSKeyDetector", b"-h", b"caf\xe9 \xff.py", b"a b\n.txt"])
def test_no_name_of_a_file_keeps_the_others_from_being_searched(world: World, name: bytes) -> None:
    (world.project.folder / "settings.py").write_text(f'KEY = "{SECRET}"\n')
    (world.project.folder / os.fsdecode(name)).write_text(f'KEY = "{SECRET}"\n')
    world.project.git("add", "--all", "--force", "--", "settings.py", os.fsdecode(name))
    result = world.gate(Secrets())
    found = {one["where"] for one in result.evidence["scanners"]["secrets"]["findings"] if one["level"] == "high"}  # type: ignore[index]
    assert len(found) == 2
    assert "settings.py:1" in found


def test_a_secret_in_a_model_that_lies_elsewhere_is_found(world: World, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    world.model.rename(elsewhere)
    world.model.symlink_to(elsewhere)
    (elsewhere / "notes.txt").write_text(f"aws = {SECRET}\n")
    assert "model/notes.txt:1" in world.gate(Secrets()).summary


def test_a_secret_in_what_is_packaged_is_found_too(world: World) -> None:
    (world.model / "notes.txt").write_text(f"aws = {SECRET}\n")
    assert "model/notes.txt:1" in world.gate(Secrets()).summary


CVE = Finding("CVE-2026-1", "critical", "torch==2.0", "runs code")


def ignore(**more: str) -> Ignore:
    return Ignore(**{"id": "CVE-2026-1", "reason": "not reachable", "person": "mara", "expires": "2999-12-31", **more})


def test_an_ignore_lets_a_finding_pass_and_is_told_with_person_reason_and_day(world: World) -> None:
    world.secure(code=ScannerRule(), ignore=(ignore(),))
    result = world.gate(Fixed(CVE))
    assert result.verdict is Verdict.PASS
    code = result.evidence["scanners"]["code"]  # type: ignore[index]
    assert code["findings"] == []
    assert code["ignored"][0] | {"person": "mara", "reason": "not reachable", "expires": "2999-12-31"} == code["ignored"][0]
    assert json.loads(world.file("security/findings.sarif"))["runs"][0]["results"][0]["suppressions"]


def test_an_expired_ignore_stops_the_release_and_says_whose_it_was(world: World) -> None:
    world.secure(code=ScannerRule(), ignore=(ignore(expires="2020-01-31"),))
    for scanner in (Fixed(CVE), Fixed()):
        result = world.gate(scanner)
        assert result.verdict is Verdict.FAIL
        lapsed = next(reason for reason in result.reasons if reason.check == "security.ignore.CVE-2026-1")
        assert "by mara expired on 2020-01-31" in lapsed.summary


@pytest.mark.parametrize(("not_run", "verdict"), [("warn", Verdict.PASS), ("fail", Verdict.FAIL)])
@pytest.mark.parametrize("error", [NotRun("bandit is not installed"), ValueError("it broke")])
def test_a_scanner_that_is_absent_or_breaks_is_not_run_and_policy_decides(
    world: World, error: Exception, not_run: str, verdict: Verdict
) -> None:
    world.secure(code=ScannerRule(not_run=not_run))  # type: ignore[arg-type]
    result = world.gate(Fixed(error=error))
    assert result.verdict is verdict
    assert result.evidence["scanners"]["code"]["ran"] is False  # type: ignore[index]
    assert "not run" in result.reasons[0].summary


def test_a_scanner_gets_its_time_limit_and_what_the_model_requires(world: World) -> None:
    world.secure(code=ScannerRule(timeout=Duration(7)))
    scanner = Fixed()
    world.gate(scanner)
    assert scanner.scanned is not None
    assert scanner.scanned.limit_seconds == 7.0
    assert any(line.startswith("scikit-learn==") for line in scanner.scanned.requirements)
    assert world.project.folder / "train.py" in scanner.scanned.tracked


def test_the_findings_lie_beside_the_report_as_sarif_and_junit(world: World) -> None:
    world.secure(code=ScannerRule())
    result = world.gate(Fixed(CVE))
    assert result.links == {"sarif": "security/findings.sarif", "junit": "security/junit.xml"}
    assert json.loads(world.file("security/findings.sarif"))["runs"][0]["results"][0]["ruleId"] == "CVE-2026-1"
    suite = ElementTree.fromstring(world.file("security/junit.xml")).find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "1"


def test_a_model_that_was_never_looked_at_is_not_packaged(world: World) -> None:
    (world.model / "extra.pkl").write_bytes(pickle.dumps(Evil()))
    world.secure(**{name: ScannerRule(policy="off") for name in ("picklescan", "modelscan", "secrets")})
    with pytest.raises(Failed, match="did not pass gate security") as failed:
        gate_security.require(world.project.context(), world.run)
    assert "importlib" in failed.value.render()
    (world.model / "extra.pkl").unlink()
    gate_security.run(world.project.context(), world.run)
    gate_security.require(world.project.context(), world.run)


def test_without_a_training_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)
    with pytest.raises(ConfigurationError, match="gate security needs train"):
        gate_security.run(project.context(), project.run())


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("ignore: [{id: X, reason: r, person: p, expires: soon}]", "expires is no day: 'soon'"),
        ("ignore: [{id: X, reason: '', person: p, expires: 2027-01-31}]", "without its reason"),
        ("ignore: [{id: X, reason: r, expires: 2027-01-31}]", "person"),
        ("allow: ['os system']", "no name of a Python module"),
        ("secrets: {policy: maybe}", "policy"),
    ],
)
def test_an_impossible_policy_is_refused_where_it_stands(tmp_path: Path, lines: str, words: str) -> None:
    (tmp_path / "mlpipeline.yaml").write_text(f"service: s\ntrain: {{command: x}}\nsecurity:\n  {lines}\n")
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, environment={})
    assert words in refused.value.render()


# --- dependencies -----------------------------------------------------------------------------------------------------

ADVISORY = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "runs code",
    "modified": "2026-10-01T00:00:00Z",
    "database_specific": {"severity": "CRITICAL"},
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Some_Lib"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}]}],
        }
    ],
}


def audited(folder: Path, *lines: str, advisory: Mapping[str, object] = ADVISORY) -> Scan:
    (folder / "db.json").write_text(json.dumps([advisory]))
    return Dependencies().scan(Scanned(project=folder, locked=lines, database=folder / "db.json"))


@pytest.mark.parametrize(
    ("version", "hit"),
    [("0.9", False), ("1.0", True), ("1.4.9", True), ("1.5", False), ("1.10", False), ("2.0", True), ("3", True)],
)
def test_an_offline_database_is_read_by_the_rules_of_osv(tmp_path: Path, version: str, hit: bool) -> None:
    scan = audited(tmp_path, f"some-lib=={version} \\", "    --hash=sha256:0")
    assert [(one.id, one.level) for one in scan.findings] == ([("PYSEC-2026-1", "critical")] if hit else [])
    assert (scan.targets, scan.skipped) == (1, 0)


def test_what_is_not_pinned_is_counted_as_not_looked_up(tmp_path: Path) -> None:
    scan = audited(tmp_path, "some-lib==1.5", "loose>=1", "# a comment", "-r other.txt")
    assert (scan.targets, scan.skipped) == (1, 1)
    assert [one.where for one in scan.findings] == ["loose>=1"]


@pytest.mark.parametrize("content", ["[]", "{", '[{"id": "X", "affected": [{"package": {"ecosystem": "npm", "name": "a"}}]}]'])
def test_a_database_that_says_nothing_of_python_has_not_audited_anything(tmp_path: Path, content: str) -> None:
    (tmp_path / "db.json").write_text(content)
    with pytest.raises(NotRun, match="database"):
        Dependencies().scan(Scanned(project=tmp_path, locked=("a==1",), database=tmp_path / "db.json"))


@pytest.mark.parametrize("lines", [(), ("loose>=1",)])
def test_nothing_pinned_is_no_clean_audit(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(NotRun):
        audited(tmp_path, *lines)


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_program_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    from mlpipeline.adapters.scanners.programs import answer

    child = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']);"
        " open(sys.argv[1], 'w').write(str(p.pid)); time.sleep(600)"
    )
    note = tmp_path / "pid"
    with pytest.raises(NotRun, match="did not end within"):
        answer([sys.executable, "-c", child, str(note)], folder=tmp_path, limit_seconds=5)
    state = Path(f"/proc/{note.read_text()}/stat")
    assert not state.exists() or state.read_text().rsplit(") ", 1)[1].startswith("Z")


def test_a_program_that_fails_says_so_in_its_last_words(tmp_path: Path) -> None:
    from mlpipeline.adapters.scanners.programs import answer

    with pytest.raises(NotRun, match="ended with 3: no network"):
        answer(
            [sys.executable, "-c", "import sys; sys.exit(print('no network', file=sys.stderr) or 3)"],
            folder=tmp_path,
            limit_seconds=60,
        )


def test_the_command_line_knows_the_verb() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlpipeline", "gate", "security", "--help"], capture_output=True, text=True, check=True
    )
    assert "vulnerabilities" in done.stdout


def said_by_pip_audit(monkeypatch: pytest.MonkeyPatch, *dependencies: Mapping[str, object]) -> Scan:
    said = json.dumps({"dependencies": dependencies, "fixes": []}).encode()
    monkeypatch.setattr("mlpipeline.adapters.scanners.dependencies.answer", lambda *_, **__: said)
    return Dependencies().scan(Scanned(project=Path("/"), locked=("a==1", "b==2")))


def test_pip_audit_that_looked_up_nothing_has_not_run_although_it_says_that_nothing_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it really answers, with exit code 0, where an index keeps no advisories."""
    unknown = [{"name": name, "skip_reason": "Dependency not found on PyPI"} for name in "ab"]
    with pytest.raises(NotRun, match="looked up none of 2 packages: Dependency not found"):
        said_by_pip_audit(monkeypatch, *unknown)


def test_what_pip_audit_passed_over_is_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"], "aliases": ["CVE-1"]}]}
    scan = said_by_pip_audit(monkeypatch, known, {"name": "b", "skip_reason": "not found"})
    assert (scan.targets, scan.skipped) == (1, 1)
    assert {(one.id, one.where) for one in scan.findings} == {("PYSEC-1", "a==1"), ("not-audited", "b")}


def test_a_gate_that_looked_at_another_model_does_not_count(world: World) -> None:
    """Somebody put a clean model there for the gate, and the one that was trained back for the package."""
    world.secure(**{name: ScannerRule(policy="off") for name in ("picklescan", "modelscan", "secrets")})
    (world.model / "notes.txt").write_text("not there when it was trained")
    looked_at = world.gate().evidence["model_digest"]
    (world.model / "notes.txt").unlink()
    gate_security.require(world.project.context(), world.run)
    again = world.project.context().runs.result(world.run.id, "gate-security")
    assert again is not None
    assert again.evidence["model_digest"] != looked_at
