"""JUnit XML of results: well-formed for any value, with failures and errors told apart."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason, Result
from mlpipeline.reports.junit import junit
from release_sample import offline, result


def suite(made: Result) -> ElementTree.Element:
    found = ElementTree.fromstring(junit(made)).find("testsuite")
    assert found is not None
    return found


def test_each_reason_is_a_case() -> None:
    made = suite(offline(Verdict.FAIL)["gate-model"])
    assert [case.get("name") for case in made] == [
        "metric.roc_auc.no_worse_than_champion",
        "metric.roc_auc.slice.origin",
        "latency.p99",
    ]
    assert made.attrib["tests"] == "3"
    assert {case.get("classname") for case in made} == {"flights.gate-model"}


@pytest.mark.parametrize(
    ("verdict", "tag", "counts"),
    [
        (Verdict.PASS, None, ("0", "0")),
        (Verdict.FAIL, "failure", ("1", "0")),
        (Verdict.ERROR, "error", ("0", "1")),
        (Verdict.INCONCLUSIVE, "error", ("0", "1")),
    ],
)
def test_only_a_pass_is_a_pass(verdict: Verdict, tag: str | None, counts: tuple[str, str]) -> None:
    made = suite(result("gate-data", verdict, "a summary", Reason("data.rows", verdict, "3 rows", {"rows": 3}, ("row 7",))))
    (case,) = made
    assert (made.get("failures"), made.get("errors")) == counts
    assert [child.tag for child in case] == ([tag] if tag else [])
    if tag:
        assert case[0].get("message") == "3 rows"
        assert case[0].text == "3 rows\nrows: 3\nrow 7"


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_result_without_reasons_is_one_case_with_its_own_verdict(verdict: Verdict) -> None:
    made = suite(result("train", verdict, "it ended"))
    assert len(made) == 1
    assert len(made[0]) == (verdict is not Verdict.PASS)


def test_values_cannot_break_the_file() -> None:
    nasty = 'a\x00b\x1b[31m"><failure>]]>&\ud800'
    made = suite(result("gate-data", Verdict.FAIL, nasty, Reason(nasty, Verdict.FAIL, nasty, {}, (nasty,))))
    (case,) = made
    assert [child.tag for child in case] == ["failure"]
    assert '"><failure>]]>&' in (case.get("name") or "")
