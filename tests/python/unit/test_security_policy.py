"""How findings become a verdict: thresholds, named ignores that end, scanners that did not run; and the files it leaves."""

from __future__ import annotations

import json
from datetime import date

import pytest

from mlpipeline.core.findings import Finding, Scan
from mlpipeline.core.security import Accepted, Rule, judge, judge_not_run, judge_nothing
from mlpipeline.core.verdict import Verdict
from mlpipeline.reports.sarif import Suppressed, sarif

TODAY = date(2026, 11, 21)
STRICT = Rule("fail", "high", "warn")
CVE = Finding("CVE-2026-1", "high", "torch==2.0", "runs code")
SMALL = Finding("B101", "low", "src/a.py:12", "assert")


def accepted(**more: object) -> Accepted:
    return Accepted(**{"id": "CVE-2026-1", "reason": "not reachable", "person": "mara", "expires": TODAY, **more})  # type: ignore[arg-type]


def scan(*findings: Finding) -> Scan:
    return Scan(tool="t", version="1", targets=3, findings=findings)


def test_a_finding_from_the_threshold_on_fails_and_a_lesser_one_is_told() -> None:
    judged = judge("code", scan(CVE, SMALL), STRICT, [], TODAY)
    assert judged.verdict is Verdict.FAIL
    assert judged.stopping == (CVE,)
    assert judged.told == (SMALL,)
    assert "CVE-2026-1 (high) in torch==2.0" in judged.summary


@pytest.mark.parametrize(("policy", "verdict"), [("fail", Verdict.FAIL), ("warn", Verdict.PASS)])
def test_policy_decides_whether_a_finding_stops(policy: str, verdict: Verdict) -> None:
    assert judge("code", scan(CVE), Rule(policy, "high", "warn"), [], TODAY).verdict is verdict  # type: ignore[arg-type]


def test_an_ignore_holds_on_its_last_day_and_not_on_the_next() -> None:
    assert judge("code", scan(CVE), STRICT, [accepted()], TODAY).verdict is Verdict.PASS
    late = judge("code", scan(CVE), STRICT, [accepted(expires=date(2026, 11, 20))], TODAY)
    assert late.verdict is Verdict.FAIL
    assert late.ignored == ()
    assert "expired on 2026-11-20" in late.summary


def test_a_newer_ignore_takes_over_from_an_expired_one() -> None:
    both = [accepted(expires=date(2026, 1, 1)), accepted(person="ada")]
    judged = judge("code", scan(CVE), STRICT, both, TODAY)
    assert judged.verdict is Verdict.PASS
    assert [one.by.person for one in judged.ignored] == ["ada"]


@pytest.mark.parametrize(
    ("id_", "where", "covers"),
    [
        ("B101", "", True),
        ("B101", "src/*", True),
        ("B101", "src/a.py", True),
        ("B101", "src/a.py:12", True),
        ("B101", "src/b.py", False),
        ("B10", "", False),
        ("b101", "", False),
    ],
)
def test_an_ignore_covers_what_it_names(id_: str, where: str, covers: bool) -> None:
    assert accepted(id=id_, where=where).covers(SMALL) is covers


@pytest.mark.parametrize(("not_run", "verdict"), [("warn", Verdict.PASS), ("fail", Verdict.FAIL)])
def test_a_scanner_that_did_not_run_is_told_so_and_policy_decides(not_run: str, verdict: Verdict) -> None:
    judged = judge_not_run("image", "trivy is not installed", Rule("fail", "high", not_run))  # type: ignore[arg-type]
    assert judged.verdict is verdict
    assert "not run" in judged.summary
    assert "clean" not in judged.summary


def test_nothing_to_look_at_is_no_missing_scanner() -> None:
    assert judge_nothing("skops", "there is no .skops file").verdict is Verdict.PASS


def test_sarif_names_tool_place_and_level_and_marks_what_was_accepted() -> None:
    document = json.loads(sarif({"code": scan(CVE, SMALL)}, {"code": [Suppressed(CVE, "not reachable (mara)")]}))
    (run,) = document["runs"]
    assert document["version"] == "2.1.0"
    assert run["tool"]["driver"]["name"] == "t"
    by_rule = {result["ruleId"]: result for result in run["results"]}
    assert by_rule["CVE-2026-1"]["suppressions"][0]["justification"] == "not reachable (mara)"
    assert by_rule["CVE-2026-1"]["level"] == "error"
    place = by_rule["B101"]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "src/a.py"}, "region": {"startLine": 12}}
    assert "suppressions" not in by_rule["B101"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["B101", "CVE-2026-1"]
    assert all(run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])
