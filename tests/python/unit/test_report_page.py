"""The page of a release: what it says first, that no value can become markup, and that Jenkins' policy leaves it whole."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason
from mlpipeline.reports.page import build
from mlpipeline.reports.plots import Line, TimePlot, interval_plot, nice_step, time_plot
from mlpipeline.reports.production import stages_of
from mlpipeline.reports.release import Release, standing_of
from release_sample import RUN, entries, offline, released, result, row, watched

VOID = {"meta", "link", "img", "br"}


class Seen(HTMLParser):
    """What a browser sees: elements in order, attributes, text; complains about elements that do not close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(release: Release) -> Seen:
    return Seen(build(release)["index.html"].decode())


FULL = Release(RUN, released(), watched(), entries())
TAKEN_BACK = Release(RUN, released(Verdict.FAIL), watched(Verdict.FAIL), entries())
STOPPED = Release(RUN, offline(Verdict.FAIL))
NOTHING = Release(RUN, {})
ALL = pytest.mark.parametrize(
    "release", [FULL, TAKEN_BACK, STOPPED, NOTHING], ids=["released", "taken-back", "stopped", "nothing"]
)


@ALL
def test_page_has_nothing_that_the_default_content_policy_blanks(release: Release) -> None:
    files = build(release)
    seen = page(release)
    assert not seen.of("script")
    assert not seen.of("style")
    for _, attributes in seen.elements:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert not any((value or "").startswith(("data:", "javascript:")) for value in attributes.values())
    for name, content in files.items():
        if name.endswith(".svg"):
            assert not re.search(rb"<style|style=|<script|data:|href", content), name


@ALL
def test_folder_is_complete_and_every_plot_has_words(release: Release) -> None:
    files = build(release)
    seen = page(release)
    images = seen.of("img")
    assert {str(image["src"]) for image in images} | {"index.html", "style.css"} == set(files)
    assert all(image["alt"] for image in images)
    for image in images:
        svg = ElementTree.fromstring(files[str(image["src"])])
        title = svg.find("{http://www.w3.org/2000/svg}title")
        assert title is not None
        assert title.text


@pytest.mark.parametrize(
    ("release", "words", "reason"),
    [
        (FULL, "Released", "users are on green"),
        (TAKEN_BACK, "Taken back", "errors: candidate 9.1 %"),
        (STOPPED, "Stopped at gate model", "worse than the allowed 0.01"),
        (NOTHING, "Nothing done yet", "no step"),
    ],
)
def test_the_verdict_and_its_reason_come_first(release: Release, words: str, reason: str) -> None:
    standing = standing_of(release)
    assert standing.words == words
    assert reason in standing.reason
    said = page(release).text
    assert said.index(words) < said.index("Candidate against champion")
    assert said.count(reason) >= 1


def test_every_way_a_release_can_stand_has_words() -> None:
    waiting = released() | {"approve": result("approve", Verdict.INCONCLUSIVE, "nobody approved yet")}
    assert standing_of(Release(RUN, waiting)).words == "Waiting for approval"
    rejected = released() | {"approve": result("approve", Verdict.FAIL, "rejected by grace")}
    assert standing_of(Release(RUN, rejected)).words == "Rejected"
    back = released() | {"rollback": result("rollback", Verdict.PASS, "users are on blue again")}
    assert standing_of(Release(RUN, back)).words == "Rolled back"
    unclear = offline() | {"gate-data": result("gate-data", Verdict.ERROR, "the file cannot be read")}
    assert standing_of(Release(RUN, unclear)).words == "No verdict at gate data"
    assert standing_of(Release(RUN, offline())).words == "Passed up to gate model"
    live = {verb: one for verb, one in released().items() if verb != "settle"}
    assert standing_of(Release(RUN, live)).words == "Live, not settled yet"
    out = live | {"switch": result("switch", Verdict.INCONCLUSIVE, "no verdict, monitoring was out")}
    assert standing_of(Release(RUN, out)).words == "No verdict in production"


def test_only_a_settled_release_is_green() -> None:
    verdicts = [standing_of(Release(RUN, results)).verdict for results in (offline(), released(), released(Verdict.FAIL), {})]
    assert verdicts == [Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE]


def test_a_reviewer_finds_numbers_lineage_and_data() -> None:
    said = page(FULL).text
    for expected in (
        "0.771",
        "0.725",
        "+0.0372 to +0.0551",
        "origin=JFK",
        "1a2b3c4d5e6f",
        "336,776",
        "grace",
        "7777777",
        "mirror",
    ):
        assert expected in said, expected


NASTY = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\x00\x1b'


def test_values_from_outside_stay_text_wherever_they_stand() -> None:
    run = msgspec.structs.replace(RUN, id=NASTY, service=NASTY, commit=NASTY, reason=NASTY, requester=NASTY)
    numbers = (0.7, 0.7, 0.0, -0.1, 0.1)
    gate = result(
        "gate-model",
        Verdict.FAIL,
        NASTY,
        Reason(NASTY, Verdict.FAIL, NASTY, {NASTY: NASTY}, (NASTY,)),
        rows=3,
        label=NASTY,
        champion={"model_version": NASTY},
        metrics=[row(NASTY, numbers, NASTY), row(NASTY, numbers, "fail", NASTY)],
    )
    data = result("gate-data", Verdict.FAIL, NASTY, data_version={NASTY: NASTY}, files={NASTY: {"path": NASTY, "rows": NASTY}})
    linked = msgspec.structs.replace(data, links={NASTY: "javascript:alert(1)", "up": "../../x", "plot": "a.svg"})
    recorded = watched()
    plan = msgspec.structs.replace(recorded.plan, candidate=NASTY)
    looks = tuple(msgspec.structs.replace(look, stage=NASTY) for look in recorded.looks)
    release = Release(
        run,
        {"gate-data": linked, "gate-model": gate},
        msgspec.structs.replace(recorded, plan=plan, looks=looks),
        (),
        NASTY,
        {"a.svg": "a.svg"},
    )
    files = build(release)
    seen = Seen(files["index.html"].decode())
    assert not seen.of("script")
    assert {image["class"] for image in seen.of("img")} <= {"interval", "plot"}
    assert {anchor["href"] for anchor in seen.of("a")} == {"#step-gate-data", "#step-gate-model", "a.svg"}
    for name, content in files.items():
        if name.endswith(".svg"):
            assert b"<script" not in content
            ElementTree.fromstring(content)


JSON = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["rows", "champion", "metrics", "files", "stages", "approvals", "environment", "data_version", "digest"])


@settings(max_examples=30, deadline=None)
@given(evidence=st.dictionaries(KEYS, JSON, max_size=6))
def test_evidence_of_any_shape_makes_a_page(evidence: dict[str, object]) -> None:
    names = ("gate-data", "train", "gate-model", "package", "approve", "switch")
    page(Release(RUN, {verb: result(verb, Verdict.PASS, "fine", **evidence) for verb in names}, FULL.recorded))


def test_stages_follow_each_other_without_gaps() -> None:
    stages = stages_of(watched().looks)
    assert [stage.name for stage in stages] == ["mirror", "10 %", "50 %", "bake"]
    assert all(before.end == pytest.approx(after.start, abs=2.1) for before, after in pairwise(stages))


def test_the_decision_stands_in_the_plots() -> None:
    files = build(TAKEN_BACK)
    for name in ("traffic.svg", "errors.svg", "latency.svg", "ratio-1.svg"):
        assert b"decided: take it back" in files[name]
    assert "errors.svg" not in build(FULL)


def test_the_confidence_sequence_of_a_metric_is_plotted_where_it_excludes_something() -> None:
    files = build(TAKEN_BACK)
    assert b"lower bound" in files["ratio-1.svg"] and b"margin 2" in files["ratio-1.svg"]
    assert files["ratio-1.svg"].count(b"<polyline") >= 1
    assert "ratio-1.svg" not in build(FULL)


def points_of(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", " ".join(re.findall(r'points="([^"]*)"', svg)))]


def test_lines_stay_inside_the_plot_and_gaps_stay_gaps() -> None:
    nan = float("nan")
    svg = time_plot(TimePlot("Traffic", "r/s", [Line("one", [(0, 1), (1, 7), (2, nan), (3, 1e6), (4, 0)], "#000000")]))
    assert svg.count("<polyline") == 2
    assert all(62 <= x <= 984 and 64 <= y <= 256 for x, y in points_of(svg))


@pytest.mark.parametrize("numbers", [(0.0, 0.0, 0.0), (-0.5, -0.7, -0.3), (1e-9, -1e-9, 3e-9), (5e6, 4e6, 6e6)])
def test_intervals_fit_whatever_their_size(numbers: tuple[float, float, float]) -> None:
    svg = interval_plot(*numbers, margin=0.01, colour="#000000", title="t")
    assert all(0 <= float(value) <= 240 for value in re.findall(r'(?:x1|x2|cx)="([-\d.]+)"', svg))


@settings(max_examples=200)
@given(st.floats(1e-12, 1e12), st.integers(1, 12))
def test_steps_are_round_and_few(span: float, parts: int) -> None:
    step = nice_step(span, parts)
    assert span / step <= parts * 1.001
    assert span / step >= parts / 2.6


def test_a_plot_without_a_single_look_is_still_a_picture() -> None:
    ElementTree.fromstring(time_plot(TimePlot("Traffic", "r/s", [])))


def test_stylesheet_loads_nothing() -> None:
    content = build(NOTHING)["style.css"].decode()
    assert "url(" not in content
    assert "@import" not in content


def test_the_same_record_makes_the_same_bytes() -> None:
    assert build(FULL) == build(Release(RUN, released(), watched(), entries()))
