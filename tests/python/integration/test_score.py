"""``mlpipeline score``: files predicted by a package in its own process, judged, and only then put in place."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batch_world import BatchWorld
from fakes import FakeConsole
from mlpipeline.config.load import load
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, Held
from mlpipeline.record import swap
from mlpipeline.verbs import batch as batches
from mlpipeline.verbs import lineage
from mlpipeline.verbs.wiring import make_context

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture
def world(tmp_path: Path) -> BatchWorld:
    made = BatchWorld(tmp_path)
    made.csv("in.csv", range(10))
    return made


def test_a_file_is_scored_with_the_champion_and_told_to_the_ledger(world: BatchWorld) -> None:
    result = world.score()
    assert result.verdict is Verdict.PASS, result
    assert world.answers()["prediction"] == [2.0 * value for value in range(10)]
    assert world.answers()["id"] == [f"0{value}" for value in range(10)]
    (entry,) = [entry for entry in world.ledger if entry.event == "score"]
    assert (entry.facts["digest"], entry.facts["model_version"], entry.facts["rows"]) == (world.digest, "7", "10")
    assert entry.facts["output_digest"] == batches.digest_of(world.project / "out.parquet")
    assert entry.facts["input_digest"] == batches.digest_of(world.project / "in.csv")


def test_the_lineage_of_answers_leads_to_their_model_and_data(world: BatchWorld) -> None:
    world.score()
    config = load(world.project, environment={}).config
    context = make_context(config, world.project, FakeConsole(), world.environment)
    told = str(lineage.run(context, what=batches.digest_of(world.project / "out.parquet")).evidence)
    assert world.digest in told
    assert batches.digest_of(world.project / "in.csv") in told


def test_the_same_again_does_nothing_and_the_same_elsewhere_gives_the_same_bytes(world: BatchWorld) -> None:
    world.score()
    first = (world.project / "out.parquet").read_bytes()
    assert "nothing to do" in world.score().summary
    assert len([entry for entry in world.ledger if entry.event == "score"]) == 1
    world.score(output="other.parquet")
    assert (world.project / "other.parquet").read_bytes() == first
    (world.project / "out.parquet").write_bytes(b"changed by hand")
    assert "replaced" in world.score().summary
    assert (world.project / "out.parquet").read_bytes() == first


def test_a_folder_of_partitions_becomes_a_folder_in_pieces_that_do_not_show(world: BatchWorld) -> None:
    world.csv("parts/day=1/a.csv", range(7))
    world.csv("parts/day=2/b.csv", [])
    world.csv("parts/day=2/c.csv", range(7, 12))
    world.score("parts", "whole")
    whole = {file.relative_to(world.project / "whole"): file.read_bytes() for file in (world.project / "whole").rglob("*.csv")}
    assert sorted(map(str, whole)) == ["day=1/a.csv", "day=2/b.csv", "day=2/c.csv"]
    assert whole[Path("day=2/c.csv")].splitlines()[1] == b'"00",7,"town 0",14'
    assert json.loads((world.project / "whole" / "_mlpipeline.json").read_text())["digest"] == world.digest
    world.configure("{piece_rows: 2}")
    world.score("parts", "pieces")
    pieces = {file.relative_to(world.project / "pieces"): file.read_bytes() for file in (world.project / "pieces").rglob("*.csv")}
    assert pieces == whole


def test_a_folder_is_replaced_as_a_whole(world: BatchWorld) -> None:
    world.csv("parts/a.csv", range(5))
    world.csv("parts/b.csv", range(5))
    world.score("parts", "out")
    (world.project / "parts" / "b.csv").unlink()
    world.score("parts", "out")
    assert [file.name for file in sorted((world.project / "out").iterdir())] == ["_mlpipeline.json", "a.csv"]
    assert not [file for file in world.project.iterdir() if file.name.startswith(".") and "mlpipeline-" in file.name]


@pytest.mark.parametrize(
    ("behaviour", "config", "check"),
    [
        ({"kind": "nan"}, "", "score.prediction.missing"),
        ({"kind": "infinite"}, "{missing_at_most: 0.5}", "score.prediction.missing"),
        ({}, "{between: [0, 10]}", "score.prediction.between"),
        ({"kind": "labels"}, "{classes: [late]}", "score.prediction.classes"),
        ({}, "{expect: [{column: prediction, between: [0, 10]}]}", "data.score.expect_column_values_to_be_between.prediction"),
    ],
)
def test_answers_that_fail_the_gate_leave_the_old_ones(
    world: BatchWorld, behaviour: dict[str, Any], config: str, check: str
) -> None:
    world.configure(config)
    world.crown(world.package(**behaviour))
    (world.project / "out.parquet").write_bytes(b"old")
    result = world.score()
    assert result.verdict is Verdict.FAIL
    assert [reason.check for reason in result.reasons if reason.verdict is Verdict.FAIL] == [check]
    assert "the old output stays" in result.summary
    assert (world.project / "out.parquet").read_bytes() == b"old"
    assert not swap.staged_place(world.project / "out.parquet").exists()


def test_answers_far_from_the_earlier_ones_do_not_replace_them(world: BatchWorld) -> None:
    world.csv("in.csv", [value / 10 for value in range(1000)])
    world.score()
    old = (world.project / "out.parquet").read_bytes()
    world.crown(world.package(factor=50.0))
    result = world.score()
    assert (result.verdict, result.reasons[0].check) == (Verdict.FAIL, "score.drift")
    assert (world.project / "out.parquet").read_bytes() == old
    world.configure("{drift: {verdict: pass}}")
    assert world.score().verdict is Verdict.PASS


def test_another_package_is_chosen_by_its_digest_and_a_quarantined_one_is_refused(world: BatchWorld) -> None:
    other = world.package(factor=3.0)
    world.score(model=other[:20])
    assert world.answers()["prediction"][1] == 3.0
    journal = json.loads(world.places.journal.read_text())
    journal["quarantined"] = {other: {"model_version": "8", "reason": "too many errors", "run": "r"}}
    world.places.journal.write_text(json.dumps(journal))
    with pytest.raises(Failed, match="quarantined"):
        world.score(model=other)


def test_several_columns_of_answers_are_named_after_their_own(world: BatchWorld) -> None:
    world.crown(world.package(kind="two"))
    world.score()
    assert world.answers()["prediction_high"][:2] == [1.0, 2.0]


def test_parquet_types_that_the_signature_does_not_want_are_refused(world: BatchWorld) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": ["a"], "city": ["b"]}), world.project / "in.parquet")
    with pytest.raises(Failed, match="column x is to be double and holds string"):
        world.score("in.parquet")
    pq.write_table(pa.table({"x": [2**60 + 1], "city": ["b"]}), world.project / "in.parquet")
    with pytest.raises(Failed, match="column x of the input holds a value that is no double"):
        world.score("in.parquet")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"id,x,city\n", "has no rows"),
        (b"id,y,city\n1,2,a\n", "column x is missing"),
        (b"id,x,city\n1,two,a\n", "cannot be read"),
        (b"id,x,city\n1,2,a\n1,2\n", "cannot be read"),
        (b"id,x,x,city\n1,2,3,a\n", "same name"),
        (b"id,x,city\n1,2,\xff\xfe\n", "cannot be read"),
        (gzip.compress(b"id,x,city\n" + bytes(range(256)) * 4, mtime=0)[:-30], "cannot be read"),
    ],
)
def test_bad_input_is_refused_by_name(world: BatchWorld, content: bytes, words: str) -> None:
    name = "bad.csv.gz" if content[:2] == b"\x1f\x8b" else "bad.csv"
    (world.project / name).write_bytes(content)
    (world.project / "out.parquet").write_bytes(b"old")
    with pytest.raises(Failed, match=words):
        world.score(name)
    assert (world.project / "out.parquet").read_bytes() == b"old"


def test_a_parquet_file_that_was_cut_off_is_refused(world: BatchWorld) -> None:
    world.score()
    (world.project / "cut.parquet").write_bytes((world.project / "out.parquet").read_bytes()[:-50])
    with pytest.raises(Failed, match="cannot be read"):
        world.score("cut.parquet", "new.parquet")


@pytest.mark.parametrize(
    ("source", "output", "words"),
    [
        ("", "out.parquet", "no input"),
        ("in.csv", "", "no output"),
        ("absent.csv", "out.parquet", "no such input"),
        ("in.csv", "in.csv", "the output is the input"),
        ("parts", "parts/out", "lies in it"),
        ("parts", "out.parquet", "names one file"),
        ("in.csv", "no/such/out.parquet", "folder of the output does not exist"),
        ("in.csv", "out.xlsx", "cannot be written as .xlsx"),
        ("in.csv", "precious", "did not write"),
    ],
)
def test_places_that_cannot_be_are_refused_before_anything_runs(world: BatchWorld, source: str, output: str, words: str) -> None:
    world.csv("parts/a.csv", range(3))
    world.csv("parts/b.csv", range(3))
    world.csv("precious/thesis.csv", range(3))
    with pytest.raises(ConfigurationError, match=words):
        world.score(source, output)
    assert (world.project / "precious" / "thesis.csv").is_file()


def test_without_a_champion_nothing_is_scored(world: BatchWorld) -> None:
    world.places.journal.unlink()
    with pytest.raises(ConfigurationError, match="no champion"):
        world.score()


@pytest.mark.parametrize(
    ("kind", "words"),
    [("raise", "no such rows"), ("exit", "ended its own process"), ("short", "9 predictions for 10 rows")],
)
def test_a_model_that_does_not_answer_leaves_the_old_output(world: BatchWorld, kind: str, words: str) -> None:
    world.crown(world.package(kind=kind))
    (world.project / "out.parquet").write_bytes(b"old")
    with pytest.raises(Failed, match=words):
        world.score()
    assert (world.project / "out.parquet").read_bytes() == b"old"
    assert [file.name for file in world.project.glob(".*.parquet")] == []


def test_a_model_that_hangs_is_ended(world: BatchWorld) -> None:
    world.configure("{timeout: 3s}")
    world.crown(world.package(kind="hang"))
    with pytest.raises(Failed, match="within 3 s"):
        world.score()


def test_a_full_disk_leaves_the_old_output(world: BatchWorld) -> None:
    """A limit of the size of files stands for the disk; the kernel's signal for it is ignored, as Python does."""
    world.csv("in.csv", range(20_000))
    (world.project / "out.csv").write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises((EnvironmentFault, Failed)) as raised:
            world.score("in.csv", "out.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "written" in str(raised.value) or "disk" in str(raised.value)
    assert (world.project / "out.csv").read_bytes() == b"old"
    assert not swap.staged_place(world.project / "out.csv").exists()


def test_two_workers_do_not_score_to_one_output(world: BatchWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlpipeline.verbs import score

    def meanwhile(*_: object) -> None:
        with pytest.raises(Held, match="another worker"):
            world.score()

    real = score._finish_earlier
    monkeypatch.setattr(
        score, "_finish_earlier", lambda *given: (monkeypatch.setattr(score, "_finish_earlier", real), meanwhile())
    )
    world.score()


def test_from_the_command_line_killed_at_any_moment_the_output_is_old_or_new(world: BatchWorld) -> None:
    """The worker dies at a swap: right before it, and right after it; the next call goes on from there."""
    world.csv("parts/a.csv", range(5))
    world.score("parts", "out")
    old = batches.digest_of(world.project / "out")
    world.csv("parts/a.csv", range(6))
    seen = []
    call = ("score", "--input", "parts", "--output", "out")
    for place in ("mlpipeline.verbs.batch_gate:summaries", "mlpipeline.record.swap:replace"):
        worker = subprocess.run(
            [sys.executable, str(Path(__file__).parents[1] / "dying_worker.py"), place, "", *call],
            cwd=world.project,
            env=world.environment,
            capture_output=True,
            check=False,
        )
        assert worker.returncode == -9, worker.stderr.decode()
        seen.append(batches.digest_of(world.project / "out"))
    assert seen[0] == old
    assert seen[1] != old
    assert len([entry for entry in world.ledger if entry.event == "score"]) == 1
    done = subprocess.run(
        [sys.executable, "-m", "mlpipeline", *call],
        cwd=world.project,
        env=world.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout
    assert world.ledger[-1].facts["output_digest"] == seen[1]
    assert [file.name for file in world.project.glob(".*mlpipeline-*")] == []
