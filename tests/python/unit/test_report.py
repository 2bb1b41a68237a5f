"""The verb ``report``: a page and JUnit files of whatever the run has, written again as the run goes on."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from fakes import FakeWorld
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason, Result
from mlpipeline.verbs import report
from mlpipeline.verbs.context import Context
from release_sample import RUN, offline, released, result, watched


@pytest.fixture
def context(tmp_path: Path) -> Context:
    made = FakeWorld(tmp_path, RUN.service).context()
    made.runs.create(RUN)
    return made


def given(context: Context, results: dict[str, Result]) -> Path:
    for one in results.values():
        context.runs.write(one)
    return context.runs.folder(RUN.id)


def test_a_run_stopped_at_a_gate_has_a_page_and_a_failing_case(context: Context) -> None:
    folder = given(context, offline(Verdict.FAIL))
    made = report.run(context, RUN)
    assert made.verdict is Verdict.PASS
    assert made.summary.startswith("Stopped at gate model")
    assert "Stopped at gate model" in (folder / made.links["report"]).read_text()
    suites = {file.stem: ElementTree.parse(file).getroot()[0] for file in (folder / made.links["junit"]).iterdir()}
    assert set(suites) == {"gate-data", "train", "gate-model"}
    assert {name: suite.get("failures") for name, suite in suites.items()} == {"gate-data": "0", "train": "0", "gate-model": "1"}


def test_the_page_of_a_later_call_has_no_files_of_the_earlier_one(context: Context) -> None:
    folder = given(context, released(Verdict.FAIL))
    (folder / "evidence.json").write_bytes(msgspec.json.encode(watched(Verdict.FAIL)))
    report.run(context, RUN)
    assert (folder / "report" / "errors.svg").is_file()
    given(context, released())
    (folder / "evidence.json").write_bytes(msgspec.json.encode(watched()))
    report.run(context, RUN)
    page = (folder / "report" / "index.html").read_text()
    files = {file.name for file in (folder / "report").iterdir()}
    assert "Released" in page
    assert "errors.svg" not in files
    assert all(name in page for name in files - {"index.html"})


def test_what_the_page_links_to_lies_in_its_own_folder(context: Context) -> None:
    folder = given(context, offline())
    train = context.runs.result(RUN.id, "train")
    assert train is not None
    targets = {"log": "train.log", "up": "../run-0/secret.json", "gone": "gone.txt", "large": "large.json"}
    context.runs.write(msgspec.structs.replace(train, links=targets))
    (folder / "train.log").write_bytes(b"first" + b"." * report.ATTACHED_BYTES + b"last")
    (folder / "large.json").write_bytes(b"0" * (report.ATTACHED_BYTES + 1))
    (folder.parent / "run-0").mkdir()
    (folder.parent / "run-0" / "secret.json").write_text("{}")
    report.run(context, RUN)
    page = (folder / "report" / "index.html").read_text()
    assert {link for link in re.findall('href="([^"]*)"', page) if not link.startswith("#")} == {"style.css", "train.log.txt"}
    log = (folder / "report" / "train.log.txt").read_bytes()
    assert log.endswith(b"last")
    assert len(log) == report.ATTACHED_BYTES


@pytest.mark.parametrize("content", [b"", b"{", b'{"looks": 3}', b"\x00\x01"])
def test_damaged_evidence_is_told_on_the_page(context: Context, content: bytes) -> None:
    folder = given(context, released())
    (folder / "evidence.json").write_bytes(content)
    report.run(context, RUN)
    assert "the evidence of production cannot be read" in (folder / "report" / "index.html").read_text()


def verified() -> Result:
    """What the verb ``verify`` writes when it watched on its own."""
    said = result("verify", Verdict.FAIL, "harm seen", Reason("verify.errors", Verdict.FAIL, "errors: 70 of 900"))
    return msgspec.structs.replace(said, evidence={"file": "verify-evidence.json"})


def test_what_verify_watched_on_its_own_is_drawn_where_no_release_was_watched(context: Context) -> None:
    folder = given(context, {"verify": verified()})
    (folder / "verify-evidence.json").write_bytes(msgspec.json.encode(watched(Verdict.FAIL)))
    report.run(context, RUN)
    page = (folder / "report" / "index.html").read_text()
    drawn = {file.name for file in (folder / "report").glob("*.svg")}
    assert {"verify-traffic.svg", "verify-latency.svg", "verify-ratio-1.svg"} <= drawn and all(name in page for name in drawn)
    assert "Watched by verify" in page and "errors: 70 of 900" in page and "Failed verify" in page
    assert "No user traffic" not in page and "In production" not in page and "Nothing done yet" not in page


def test_what_verify_watched_and_what_the_release_watched_stand_under_headings_of_their_own(context: Context) -> None:
    folder = given(context, released() | {"verify": verified()})
    for name in ("evidence.json", "verify-evidence.json"):
        (folder / name).write_bytes(msgspec.json.encode(watched()))
    report.run(context, RUN)
    page = (folder / "report" / "index.html").read_text()
    production, alone = page[page.index("In production") :].split("Watched by verify", 1)
    assert "traffic.svg" in production and "errors: 70 of 900" not in production
    assert "verify-traffic.svg" in alone and "errors: 70 of 900" in alone


def test_damaged_evidence_of_verify_is_told_on_the_page(context: Context) -> None:
    folder = given(context, {"verify": verified()})
    (folder / "verify-evidence.json").write_bytes(b"{")
    report.run(context, RUN)
    assert "the evidence of verify cannot be read" in (folder / "report" / "index.html").read_text()


def test_a_changed_ledger_is_told_on_the_page(context: Context) -> None:
    given(context, offline())
    context.note("live", run=RUN.id, facts={"colour": "green"})
    context.note("settled", run=RUN.id)
    ledger = context.places.ledger
    ledger.write_bytes(ledger.read_bytes().replace(b"green", b"azure"))
    with pytest.raises(Exception, match="the ledger was changed"):
        context.ledger.read()
    folder = context.runs.folder(RUN.id)
    with pytest.raises(Exception, match="the ledger was changed"):
        report.run(context, RUN)
    assert "the ledger was changed after it was written" in (folder / "report" / "index.html").read_text()


def test_the_report_is_no_step_of_the_release(context: Context) -> None:
    folder = given(context, offline())
    report.run(context, RUN)
    report.run(context, RUN)
    assert "step-report" not in (folder / "report" / "index.html").read_text()
    assert not (folder / "junit" / "report.xml").exists()
