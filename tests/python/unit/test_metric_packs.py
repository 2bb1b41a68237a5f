"""Metric packs against the exposition texts of their runtimes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import exposition
from fakes import FakeMetrics
from mlpipeline.config.load import load
from mlpipeline.config.sections.verification import Verify
from mlpipeline.core.judge import MetricPlan
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError
from mlpipeline.packs import PACKS, find
from mlpipeline.ports import Sample
from mlpipeline.verbs.looking import Reader, Roles

ROLES = Roles(candidate=Colour.GREEN, champion=Colour.BLUE)
COUNTING = sorted(set(PACKS) - {"dcgm"})
MIRRORED = {"serving", "envoy"}
LINE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\{(?P<labels>.*)\} (?P<value>\S+)$")


def samples(name: str, colour: str, at: float, factor: float) -> list[Sample]:
    label = find(name).colour_label
    found = []
    for line in exposition.text(name).splitlines():
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match, line
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
        labels |= {"__name__": match["name"], "service": "iris", label: colour, "job": "j", "instance": colour}
        found.append(Sample(labels, float(match["value"]) * factor, at))
    return found


class Recorded(FakeMetrics):
    """Two scrapes of both colours: one before anything happened, one with the counts of the file."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.at = name, 1000.0

    def instant(self, query: str, at: float | None = None) -> Sequence[Sample]:
        if query == "time()":
            return [Sample({}, self.at, self.at)]
        scrapes = [1000.0] if self.at == 1000.0 else [1000.0, 1010.0]
        return [
            sample
            for moment in scrapes
            for colour in ("blue", "green")
            for sample in samples(self.name, colour, moment, 0.0 if moment == 1000.0 else 1.0)
            if query.startswith(find(self.name).selector("iris"))
        ]


def counted(name: str, traffic: str) -> dict[str, tuple[int, int, int, int]]:
    source = Recorded(name)
    reader = Reader(source, "iris", ROLES, 2.0, name)
    scrapes = reader.scrapes(1000.0)
    objective = 10.0 if name == "vllm" else 0.25
    plans = [
        MetricPlan("errors", "", reader.error_source(scrapes), 0.0, 2.0),
        MetricPlan("latency", "", reader.main, 0.0, 2.0, bound=reader.bound(scrapes, objective)),
    ]
    reader.look("a", traffic, plans)  # type: ignore[arg-type]
    source.at = 1010.0
    look = reader.look("a", traffic, plans)  # type: ignore[arg-type]
    assert not look.missing
    return look.counts


@pytest.mark.parametrize("name", COUNTING)
def test_a_pack_counts_what_its_runtime_exposes(name: str) -> None:
    assert counted(name, "live") == {"errors": (1000, 20, 1000, 20), "latency": (1000, 40, 1000, 40)}


@pytest.mark.parametrize("name", sorted(MIRRORED))
def test_copies_are_counted_apart_where_the_runtime_tells_them_apart(name: str) -> None:
    assert counted(name, "mirror") == {"errors": (500, 5, 1000, 20), "latency": (500, 10, 1000, 40)}


class WithoutHistogram(Recorded):
    """Of one colour, as of a runtime that was started without it."""

    def instant(self, query: str, at: float | None = None) -> Sequence[Sample]:
        found = super().instant(query, at)
        return [one for one in found if one.labels.get("instance") == "blue" or "_bucket" not in one.labels["__name__"]]


def test_a_histogram_that_is_missing_is_named_with_what_to_do_and_what_the_other_colour_has() -> None:
    source = WithoutHistogram("triton")
    reader = Reader(source, "iris", ROLES, 2.0, "triton")
    with pytest.raises(ConfigurationError, match="nv_inference_first_response_histogram_ms_bucket of green does not") as caught:
        reader.bound(reader.scrapes(1000.0), 0.25)
    assert "buckets of blue" in caught.value.facts and "--metrics-config histogram_latencies=true" in caught.value.render()


@pytest.mark.parametrize("name", sorted(PACKS))
def test_every_series_of_a_pack_stands_in_the_exposition_of_its_runtime(name: str) -> None:
    text, pack = exposition.text(name), find(name)
    counted = (*(pack.errors.total[:1] if pack.errors else ()), *((pack.latency.series,) if pack.latency else ()))
    for series in counted:
        assert all(f"\n{one}{{" in text for one in series.names)
    for condition in pack.conditions:
        (metric,) = re.findall(r"([\w:]+)\{", condition.query.replace("{{", "").replace("}}", ""))
        assert f"\n{metric}{{" in text


def test_the_names_in_the_configuration_are_those_of_the_packs() -> None:
    assert get_args(get_type_hints(Verify)["pack"]) == tuple(PACKS)
    assert [find(name).name for name in PACKS] == list(PACKS)


def test_settings_of_a_pack_lie_below_the_projects_own(tmp_path: Path) -> None:
    (tmp_path / "mlpipeline.yaml").write_text(
        "service: iris\ntrain: {command: make}\nverify:\n  pack: vllm\n  latency: {margin: 4}\n"
    )
    loaded = load(tmp_path)
    rule = loaded.config.verify.latency
    assert (rule.objective, rule.margin, rule.tolerate) == (10.0, 4.0, 0.05)
    assert str(loaded.origins["verify.latency.objective"].layer) == "metric pack"
    assert str(loaded.origins["verify.latency.margin"].layer) == "file"


GUIDE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "verify-another-runtime.md"


def test_the_guide_names_every_pack() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", GUIDE.read_text("utf-8"), re.MULTILINE)[1:] == list(PACKS)


def test_every_configuration_of_the_guide_is_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(service: .*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "mlpipeline.yaml").write_text(block)
        assert load(tmp_path).config.verify.pack in PACKS
