"""Drift on the page: said in words, drawn as pictures without script or style, and no value becomes markup."""

from __future__ import annotations

from xml.etree import ElementTree

import msgspec

from mlpipeline.core.drift import shifts
from mlpipeline.core.sketch import of_categories
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Result
from mlpipeline.reports.drift import drift, picture
from mlpipeline.reports.markup import Markup, element


def _result() -> Result:
    moved = shifts(
        {"<b>": of_categories({"a": 900, "old": 100})}, {"<b>": of_categories({"a": 500, "<script>alert(1)</script>": 500}, 10)}
    )
    columns = [msgspec.to_builtins(one) for one in moved]
    facts = {"reference": "run 1", "compared": 1, "columns": columns, "drifted": ["<b>"], "effect": 0.1, "false_alarms": 0.01}
    return Result(
        verb="gate-data", service="s", run="r", verdict=Verdict.FAIL, summary="", evidence={"drift": {"tr/ips": {"last": facts}}}
    )


def test_what_moved_is_told_and_drawn() -> None:
    kept: dict[str, Markup] = {}

    def plot(name: str, svg: Markup, description: str, class_: str) -> Markup:
        kept[name] = svg
        return element("img", src=name, alt=description, class_=class_)

    told = drift(_result(), plot)
    assert told is not None
    assert "tr/ips against run 1: 1 of 1 columns moved by at least 0.1" in told
    assert "&lt;b&gt;" in told and "new: &lt;script&gt;" in told and "vanished: old" in told
    assert list(kept) == ["drift-tr-ips-0-0.svg"]
    drawn = ElementTree.fromstring(kept["drift-tr-ips-0-0.svg"])
    tags = {one.tag.rsplit("}", 1)[-1] for one in drawn.iter()}
    assert tags == {"svg", "title", "rect", "text"}
    assert not any("style" in one.attrib or one.tag.endswith("script") for one in drawn.iter())


def test_nothing_is_told_where_nothing_was_compared() -> None:
    def plot(*_: object) -> Markup:
        raise AssertionError("there is nothing to draw")

    assert drift(None, plot) is None
    assert drift(msgspec.structs.replace(_result(), evidence={}), plot) is None


def test_strange_facts_do_not_break_the_page() -> None:
    assert "<svg" in picture({"labels": ["a"], "before": ["x"], "now": [None], "distances": 3}, drifted=False)
