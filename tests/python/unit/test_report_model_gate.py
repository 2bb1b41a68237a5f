"""What the page shows of the model gate: waivers on its first screen, what changed, and each check's bounds as a picture."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason, Result
from mlpipeline.reports.page import build
from mlpipeline.reports.release import Release
from release_sample import RUN, result, row

WAIVER = {
    "check": "metric.roc_auc.at_least",
    "checked": "metric.roc_auc.at_least",
    "who": "Grace <b>H</b>",
    "why": "the airport is closed",
    "until": "2026-04-01 00:00 UTC",
    "was": "fail",
    "summary": "roc_auc 0.58 is not at least 0.6",
}


def judged(**evidence: object) -> Result:
    reasons = (
        Reason("metric.roc_auc.at_least", Verdict.PASS, "roc_auc 0.58 is not at least 0.6; waived"),
        Reason("metric.roc_auc.no_worse_than_champion", Verdict.PASS, "better", {"margin": 0.01}),
    )
    slices = [row("roc_auc", (0.7, 0.69, 0.01, -0.02, 0.04), "pass", f"origin={name}") for name in ("EWR", "JFK")]
    numbers = row("roc_auc", (0.71, 0.70, 0.01, 0.002, 0.018), "pass")
    return result(
        "gate-model",
        Verdict.PASS,
        "better",
        *reasons,
        **{"rows": 5523, "label": "late", "metrics": [numbers, *slices], **evidence},
    )


def everything() -> Result:
    return judged(
        waivers=[WAIVER],
        changes=[
            {"what": "parameter forest.trees", "champion": "100", "candidate": "300"},
            {"what": "data data/flights.parquet", "champion": "md5:aaaa", "candidate": "md5:bbbb"},
        ],
        conditions=[
            {
                "clause": "n - o > 0.02 +/- 0.01",
                "estimate": 0.031,
                "low": 0.013,
                "high": 0.05,
                "rows": 9000,
                "labels": 810,
                "verdict": "pass",
            }
        ],
        fairness=[
            {
                "by": "origin",
                "measure": "equal_opportunity",
                "gap": 0.12,
                "low": 0.06,
                "high": 0.18,
                "limit": 0.05,
                "most": "EWR",
                "least": "JFK",
                "verdict": "fail",
            }
        ],
        importance={"metric": "roc_auc", "columns": [{"name": "hour", "share": 0.55}, {"name": "a" * 60, "share": 0.45}]},
        behaviour=[{"name": "later is later", "kind": "direction", "verdict": "pass", "summary": "0 of 500 rows do not follow"}],
    )


def page(gate: Result) -> dict[str, bytes]:
    return build(Release(RUN, {"gate-model": gate}))


def test_a_waiver_stands_in_the_banner_with_who_until_when_and_why() -> None:
    html = page(everything())["index.html"].decode()
    banner = html[html.index("<header") : html.index("</header>")]
    for words in ("Waived:", "the airport is closed", "2026-04-01 00:00 UTC", "roc_auc 0.58 is not at least 0.6"):
        assert words in banner
    assert "Grace &lt;b&gt;H&lt;/b&gt;" in banner


def test_an_expired_waiver_stands_there_too() -> None:
    late = Reason("waiver.metric.roc_auc.at_least", Verdict.ERROR, "the waiver of ada expired on 2026-01-01 00:00 UTC")
    html = page(result("gate-model", Verdict.FAIL, "no", late))["index.html"].decode()
    assert "Expired waiver:" in html[: html.index("</header>")]


def test_every_check_is_shown_with_its_bounds_as_a_picture_with_words() -> None:
    files = page(everything())
    html = files["index.html"].decode()
    assert {"condition-1.svg", "fairness-1.svg", "importance.svg", "slice-1.svg", "slice-2.svg"} <= set(files)
    for words in ("What changed since the champion", "forest.trees", "Agreed conditions", "Fairness", "later is later"):
        assert words in html
    assert "gap 0.12, between 0.06 and 0.18, limit 0.05" in html
    for name, content in files.items():
        if name.endswith(".svg"):
            assert content.startswith(b"<svg") or b"<svg" in content[:200]
            assert b"nan" not in content.lower()


def test_the_page_needs_no_script_and_is_well_formed() -> None:
    html = page(everything())["index.html"].decode()
    assert not re.search(r"<script|style=|data:|onclick", html)

    class Balanced(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in {"img", "meta", "link", "br"}:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Balanced()
    parser.feed(html)
    assert parser.open == []


def test_without_any_of_it_the_page_is_as_before() -> None:
    html = page(judged())["index.html"].decode()
    assert "Further checks" not in html
    assert "What changed" not in html


@pytest.mark.parametrize(
    "broken",
    [
        {"waivers": "none"},
        {"changes": [1, None]},
        {"fairness": [{}]},
        {"conditions": [{"verdict": "what"}]},
        {"importance": {"columns": [{}]}},
        {"importance": []},
        {"behaviour": [{"verdict": 3}]},
    ],
)
def test_evidence_of_another_version_breaks_no_page(broken: dict[str, object]) -> None:
    assert b"<html" in page(judged(**broken))["index.html"]
