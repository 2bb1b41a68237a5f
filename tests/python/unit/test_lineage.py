"""What came of what, in both directions, from the record and the ledger."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from mlpipeline.config.sections.rollout import Approval
from mlpipeline.core.lineage import Happened, Made, graph, layers, matching, told
from mlpipeline.errors import ConfigurationError
from mlpipeline.reports.lineage_plot import lineage_plot
from mlpipeline.verbs import approve, lineage, report
from proven_release import Proven

DATA, COMMIT, MODEL, PACKAGE = f"md5:{'1' * 32}", "c" * 40, f"sha256:{'2' * 64}", f"sha256:{'3' * 64}"
ONE = Made(
    "r1", COMMIT, False, {"rows.csv": DATA}, MODEL, PACKAGE, {"img": f"sha256:{'4' * 64}"}, "7", (("ada", "better"),), "commit"
)
TWO = Made("r2", "d" * 40, True, {"rows.csv": DATA}, f"sha256:{'5' * 64}", f"sha256:{'6' * 64}", version="8")
LIVE = Happened("live", 9, "2026-03-01T03:12:00Z", PACKAGE, "7", "100 % of users")
ALL = graph([ONE, TWO], [LIVE, Happened("rolled-back", 11, "2026-03-01T04:00:00Z", PACKAGE, detail="errors")])


def names(text: str, *, back: bool) -> set[str]:
    (key,) = matching(ALL, text)
    lines = list(told(ALL, key))
    cut = next(index for index, line in enumerate(lines) if line.startswith("  leads to"))
    part = lines[1:cut] if back else lines[cut:]
    return {line.split()[0] + " " + line.split()[1] for line in part if line.startswith("    ")}


def test_package_comes_from_commit_and_data_and_leads_to_users() -> None:
    assert names(PACKAGE, back=True) == {f"model {MODEL}", "run r1", f"commit {COMMIT}", f"data {DATA}"}
    assert names(PACKAGE, back=False) == {
        "version 7",
        f"image sha256:{'4' * 64}",
        "decision ada,",
        "live entry",
        "event rolled-back,",
    }


def test_data_leads_to_everything_that_was_made_of_it() -> None:
    after = names("1111", back=False)
    assert {"run r1", "run r2", "version 7", "version 8", "live entry"} <= after
    assert names("1111", back=True) == set()


def test_version_comes_from_its_own_run_alone() -> None:
    assert {"run r2", f"commit {'d' * 40}"} <= names("8", back=True)
    assert "run r1" not in names("8", back=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cccc", [("commit", COMMIT)]),
        (PACKAGE, [("package", PACKAGE)]),
        ("sha256:3333", [("package", PACKAGE)]),
        (f"MD5:{'1' * 8}", [("data", DATA)]),
        ("7", [("version", "7")]),
        ("r2", [("run", "r2")]),
        ("333", []),
        ("", []),
        ("zzzz", []),
    ],
)
def test_what_is_meant_is_found_by_name_or_first_digits(text: str, found: list[tuple[str, str]]) -> None:
    assert matching(ALL, text) == found


def test_around_leaves_out_what_has_nothing_to_do_with_it() -> None:
    around = ALL.around([("version", "8")])
    assert {key for key in around.nodes if key[0] == "run"} == {("run", "r2")}
    assert [{node.kind for node in layer} for layer in layers(around)] == [
        *({"commit", "data"}, {"run"}, {"model"}, {"package"}, {"version"})
    ]


def test_picture_draws_every_node_and_needs_no_style() -> None:
    svg = str(lineage_plot(ALL, ("run", "r1"), "what came of <run> r1"))
    root = ElementTree.fromstring(svg)
    kinds = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert kinds.count("g") == len(ALL.nodes)
    assert kinds.count("path") == len(ALL.edges)
    assert not re.search(r"<style|style=|<script|href|data:[a-z]+/", svg)


def test_picture_of_very_many_says_what_it_leaves_out() -> None:
    many = graph([Made(f"r{number}", COMMIT) for number in range(40)])
    svg = str(lineage_plot(many, ("commit", COMMIT), "many"))
    assert "28 more are not drawn" in svg


# --- the verb -------------------------------------------------------------------------------------------------------


@pytest.fixture
def proven(tmp_path: Path) -> Proven:
    made = Proven(tmp_path, approval=Approval(required=True))
    made.deployed()
    approve.run(made.context, made.run, person="ada", why="better", digest=made.digest)
    made.context.note("register", run="r1", facts={"model_version": "3", "digest": made.digest})
    made.context.note("live", run="r1", facts={"colour": "green", "digest": made.digest, "model_version": "3", "share": "100"})
    return made


@pytest.mark.parametrize("what", ["3", "cccc", "1111", "r1"])
def test_each_end_of_the_line_leads_to_the_other(proven: Proven, what: str) -> None:
    text = "\n".join(lineage.find(proven.context, what=what).lines())
    back = {f"commit {'c' * 40}", f"data md5:{'1' * 32} (rows.csv)"} if what in {"3", "r1"} else set()
    on = {"version 3", "live entry"} | (set() if what == "3" else {"decision ada"})
    for part in {proven.digest} | back | on:
        assert part in text, (part, text)


def test_asking_leaves_no_entry(proven: Proven) -> None:
    entries = len(proven.context.ledger.read())
    result = lineage.run(proven.context, what="3")
    assert result.summary == "version 3"
    assert {"kind": "package", "name": proven.digest, "detail": ""} in result.evidence["nodes"]  # type: ignore[operator]
    assert len(proven.context.ledger.read()) == entries


def test_what_pruning_removed_is_still_known(proven: Proven) -> None:
    """The copies beside the package say what the runs of the checkout said."""
    before = lineage.find(proven.context, what=proven.digest)
    shutil.rmtree(proven.world.places.runs)
    assert lineage.find(proven.context, what=proven.digest).edges == before.edges


def test_the_ledger_alone_still_knows_digests_and_versions(proven: Proven) -> None:
    shutil.rmtree(proven.world.places.runs)
    shutil.rmtree(proven.world.places.attestations)
    text = "\n".join(lineage.find(proven.context, what="3").lines())
    assert proven.digest in text and "live entry" in text


def test_unknown_name_is_told(proven: Proven) -> None:
    with pytest.raises(ConfigurationError, match="nothing is known as 'zzzz'") as caught:
        lineage.find(proven.context, what="zzzz")
    assert "package sha256:" in caught.value.facts["known"]
    with pytest.raises(ConfigurationError, match="lineage of what"):
        lineage.find(proven.context)


def test_report_has_the_picture_and_what_is_said_of_the_package(proven: Proven) -> None:
    report.run(proven.context, proven.run)
    folder = proven.context.runs.folder("r1") / "report"
    page = (folder / "index.html").read_text()
    assert 'src="lineage.svg"' in page and 'href="sbom.cdx.json"' in page and 'href="provenance.dsse.json"' in page
    assert proven.digest.removeprefix("sha256:")[:12] in (folder / "lineage.svg").read_text()
    assert (folder / "sbom.cdx.json").read_bytes() == (proven.place / "sbom.cdx.json").read_bytes()
