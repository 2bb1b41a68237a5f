"""Beyond columns: history, contract, duplicates, labels, keys of other files, leakage, drift, databases, partitions."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from data_gate_world import NOW, context_of, gated, reason_of
from mlpipeline.core.release import Version
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.run import Run
from mlpipeline.verbs import data_reference

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def write(file: Path, query: str) -> Path:
    """The rows of a query as a file; ``i`` counts from 0 where it selects from ``range``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    form = "parquet" if file.suffix == ".parquet" else "csv, header"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{file}' (FORMAT {form})")
    return file


def rows(file: Path, count: int, more: str = "") -> Path:
    return write(file, f"SELECT i AS id, (hash(i) % 1000) / 10 AS x, ['a', 'b'][1 + i % 2] AS c{more} FROM range({count}) t(i)")


def test_volume_is_judged_by_the_median_of_earlier_passed_runs(tmp_path: Path) -> None:
    data = {"files": {"trips": {"path": "trips.csv", "history": {"at_least": 0.5, "at_most": 2}}}}
    file = tmp_path / "trips.csv"
    for number, count in enumerate((100, 120, 110)):
        rows(file, count)
        assert gated(tmp_path, data, run=f"2026022{number}-000000-1a2b3c4").verdict is PASS
    rows(file, 50)
    few = gated(tmp_path, data, run="20260224-000000-1a2b3c4")
    assert reason_of(few, "data.trips.volume").verdict is FAIL
    assert reason_of(few, "data.trips.volume").numbers == {"rows": 50, "median": 110, "runs": 3}
    again = gated(tmp_path, data, run="20260224-000000-1a2b3c4")
    assert reason_of(again, "data.trips.volume").numbers["runs"] == 3, "neither itself nor what failed is history"
    rows(file, 221)
    assert reason_of(gated(tmp_path, data, run="20260225-000000-1a2b3c4"), "data.trips.volume").verdict is FAIL


def test_the_newest_time_must_move_on_with_new_data(tmp_path: Path) -> None:
    rule = {"path": "t.csv", "freshness": {"within": "900d", "column": "at"}, "history": {"at_most": 9, "newer": True}}
    data = {"files": {"trips": rule}}
    file = tmp_path / "t.csv"
    file.write_text("at\n2026-02-01T10:00:00\n")
    assert gated(tmp_path, data, run="20260221-000000-1a2b3c4").verdict is PASS
    assert gated(tmp_path, data, run="20260222-000000-1a2b3c4").verdict is PASS, "the same data again is no step back"
    file.write_text("at\n2026-01-31T10:00:00\n")
    stale = gated(tmp_path, data, run="20260223-000000-1a2b3c4")
    assert reason_of(stale, "data.trips.newer").verdict is FAIL


@pytest.mark.parametrize(
    ("after", "allowed", "verdict", "says"),
    [
        ("SELECT 1 AS id, 'a' AS c, 2 AS more", "add", PASS, "more is new"),
        ("SELECT 1 AS id, 'a' AS c, 2 AS more", "none", FAIL, "more is new"),
        ("SELECT 1 AS id", "add", FAIL, "c is gone"),
        ("SELECT 'one' AS id, 'a' AS c", "add", FAIL, "id was INTEGER and is VARCHAR"),
    ],
)
def test_the_contract_says_how_columns_may_change(tmp_path: Path, after: str, allowed: str, verdict: Verdict, says: str) -> None:
    data = {"files": {"trips": {"path": "t.parquet", "evolution": allowed}}}
    write(tmp_path / "t.parquet", "SELECT 1 AS id, 'a' AS c")
    assert gated(tmp_path, data, run="20260221-000000-1a2b3c4").verdict is PASS
    write(tmp_path / "t.parquet", after)
    found = reason_of(gated(tmp_path, data), "data.trips.evolution")
    assert (found.verdict, says in found.summary) == (verdict, True), found


def test_duplicates_and_labels(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,0\n1,0\n,1\n,1\n2,0\n3,0\n4,\n")
    rule: dict[str, Any] = {"path": "t.csv", "duplicates_at_most": 0.2, "label": {"column": "y", "at_least": 0.34}}
    found = gated(tmp_path, {"files": {"t": rule}})
    assert reason_of(found, "data.t.duplicates").numbers["found"] == 2
    label = reason_of(found, "data.t.label")
    assert (label.verdict, label.numbers["rarest"], label.sample) == (FAIL, "1", ("0 (4x)", "1 (2x)"))
    (tmp_path / "t.csv").write_text("a,y\n1,0\n2,0\n")
    assert "has 1 class(es), only 0" in reason_of(gated(tmp_path, {"files": {"t": rule}}), "data.t.label").summary
    rule["label"] = {"column": "z"}
    assert "did you mean" not in reason_of(gated(tmp_path, {"files": {"t": rule}}), "data.t.label").summary


def test_keys_must_be_found_in_the_other_file(tmp_path: Path) -> None:
    (tmp_path / "trips.csv").write_text("carrier,n\nAA,1\nZZ,2\nZZ,3\n,4\n")
    (tmp_path / "carriers.csv").write_text("code,name\nAA,American\n")
    trips = {"path": "trips.csv", "references": [{"columns": ["carrier"], "file": "carriers", "their": ["code"]}]}
    found = gated(tmp_path, {"files": {"trips": trips, "carriers": {"path": "carriers.csv"}}})
    broken = reason_of(found, "data.trips.references.carriers.carrier")
    assert (broken.verdict, broken.numbers["found"], broken.sample) == (FAIL, 2, ("ZZ (2x)",))


def test_leakage_by_rows_entity_and_time(tmp_path: Path) -> None:
    write(
        tmp_path / "train.parquet",
        "SELECT i AS who, i * 2.5 AS x, DATE '2026-01-01' + CAST(i AS INTEGER) AS at FROM range(10) t(i)",
    )
    write(
        tmp_path / "test.csv",
        "SELECT i AS who, i * 2.5 AS x, DATE '2026-01-01' + CAST(i AS INTEGER) AS at FROM range(8, 12) t(i)",
    )
    files = {"train": {"path": "train.parquet"}, "test": {"path": "test.csv"}}
    pair = {"train": "train", "test": "test", "entity": ["who"], "time": "at"}
    found = gated(tmp_path, {"files": files, "leakage": [pair]})
    for kind in ("rows", "entity"):
        leak = reason_of(found, f"data.leakage.train.test.{kind}")
        assert (leak.verdict, leak.numbers["found"], leak.numbers["rows"]) == (FAIL, 2, 4)
    assert reason_of(found, "data.leakage.train.test.time").verdict is FAIL
    lenient = gated(tmp_path, {"files": files, "leakage": [{**pair, "at_most": 0.5, "time": ""}]})
    assert lenient.verdict is PASS


def test_drift_against_a_file_names_what_moved(tmp_path: Path) -> None:
    rows(tmp_path / "before.parquet", 3000, ", i % 3 AS steady")
    write(
        tmp_path / "now.parquet",
        "SELECT i AS id, (hash(i) % 1000) / 10 + 30 AS x, ['a', 'z'][1 + i % 2] AS c, i % 3 AS steady FROM range(3000) t(i)",
    )
    rule = {"path": "now.parquet", "drift": {"reference": "before.parquet", "ignore": ["id"]}}
    result = gated(tmp_path, {"files": {"trips": rule}})
    found = reason_of(result, "data.trips.drift.before.parquet")
    assert found.verdict is FAIL
    assert "2 of 3 columns drifted" in found.summary
    assert any(line.startswith("c:") and "new: z" in line and "vanished: b" in line for line in found.sample)
    told = result.evidence["drift"]["trips"]["before.parquet"]  # type: ignore[index]
    assert told["drifted"] == ["c", "x"]
    assert len(told["columns"][0]["before"]) == len(told["columns"][0]["labels"])
    json.dumps(result.evidence, allow_nan=False)


def test_drift_against_last_week_and_the_last_run_uses_what_those_kept(tmp_path: Path) -> None:
    drift = {"reference": ["champion", "last", "7d"], "ignore": ["id"], "no_reference": "inconclusive"}
    data = {"files": {"trips": {"path": "trips.parquet", "drift": {**drift, "no_reference": "pass"}}}}
    rows(tmp_path / "trips.parquet", 1000)
    first = gated(tmp_path, data, run="20260220-000000-1a2b3c4", now=NOW - timedelta(days=9))
    assert first.verdict is PASS
    assert "nothing was released yet" in reason_of(first, "data.trips.drift.champion").summary
    write(tmp_path / "trips.parquet", "SELECT i AS id, 500.0 AS x, 'a' AS c FROM range(1000) t(i)")
    later = gated(tmp_path, data)
    assert reason_of(later, "data.trips.drift.7d").verdict is FAIL
    assert reason_of(later, "data.trips.drift.last").verdict is FAIL


def test_evidently_judges_nothing_and_says_when_it_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(tmp_path / "before.parquet", 300)
    rows(tmp_path / "now.parquet", 300)
    rule = {"path": "now.parquet", "drift": {"reference": "before.parquet", "evidently": True}}
    monkeypatch.setitem(sys.modules, "evidently", None)
    absent = gated(tmp_path, {"files": {"t": rule}})
    assert (absent.verdict, "evidently is not installed" in reason_of(absent, "data.t.drift.evidently").summary) == (PASS, True)
    seen: list[int] = []
    monkeypatch.setattr(
        "mlpipeline.adapters.evidently.write", lambda before, now, place: seen.extend((before.num_rows, now.num_rows))
    )
    assert gated(tmp_path, {"files": {"t": rule}}).verdict is PASS
    assert seen == [300, 300]


def test_too_few_rows_and_changed_kinds(tmp_path: Path) -> None:
    rows(tmp_path / "before.parquet", 500)
    write(tmp_path / "now.parquet", "SELECT i AS id, 'text' || i AS x, 'a' AS c FROM range(500) t(i)")
    rule: dict[str, Any] = {"path": "now.parquet", "drift": {"reference": "before.parquet", "columns": ["x"]}}
    found = reason_of(gated(tmp_path, {"files": {"t": rule}}), "data.t.drift.before.parquet")
    assert (found.verdict, "x changed its kind" in found.summary) == (FAIL, True)
    rule["drift"]["min_rows"] = 501
    assert reason_of(gated(tmp_path, {"files": {"t": rule}}), "data.t.drift.before.parquet").verdict is INCONCLUSIVE
    rule["drift"]["columns"] = ["xx"]
    with pytest.raises(ConfigurationError, match="does not have"):
        gated(tmp_path, {"files": {"t": rule}})


def test_tables_of_databases_and_folders_of_partitions(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "data.db") as lite:
        lite.execute("CREATE TABLE trips (id INTEGER, km REAL, mixed)")
        lite.executemany("INSERT INTO trips VALUES (?, ?, ?)", [(1, 1.5, "a"), (2, None, 3), (2**60, 2, None)])
    with duckdb.connect(str(tmp_path / "data.duckdb")) as duck:
        duck.execute("CREATE TABLE trips AS SELECT i AS id FROM range(5) t(i)")
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT i AS id, 2020 + i % 3 AS year FROM range(9) t(i)) TO '{tmp_path / 'parts'}' "
            "(FORMAT parquet, PARTITION_BY (year))"
        )
    files = {
        "lite": {
            "path": "data.db",
            "table": "trips",
            "columns": {"id": "integer", "km": "number", "mixed": "string"},
            "expect": [{"column": "id", "unique": True}, {"column": "km", "not_null": True, "mostly": 0.5}],
        },
        "duck": {"path": "data.duckdb", "table": "trips", "expect": [{"rows_between": [5, 5]}]},
        "parts": {"path": "parts", "columns": {"year": "integer"}, "expect": [{"column": "year", "between": [2020, 2022]}]},
    }
    result = gated(tmp_path, {"files": files})
    assert result.verdict is PASS, result.reasons
    with pytest.raises(ConfigurationError, match="has no table 'trip'"):
        gated(tmp_path, {"files": {"lite": {"path": "data.db", "table": "trip"}}})


def test_results_are_kept_in_the_form_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\n1\n7\n9\n\n7\n")
    gated(tmp_path, {"files": {"t": {"path": "t.csv", "expect": [{"column": "x", "between": [0, 5]}]}}})
    kept = json.loads((tmp_path / ".mlpipeline/runs/20260301-000000-1a2b3c4/expectations/t.json").read_bytes())
    assert kept["statistics"]["unsuccessful_expectations"] == 1
    found = kept["results"][0]["result"]
    assert found["partial_unexpected_list"] == [7, 9, 7], "in the order of the rows"
    assert found["partial_unexpected_counts"] == [{"value": 7, "count": 2}, {"value": 9, "count": 1}]
    assert found["unexpected_percent"] == 75.0


def _git(project: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=project, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_drift_against_the_champion_reads_its_commit_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _git(tmp_path, "init", "-q")
    rows(tmp_path / "trips.parquet", 800)
    _git(tmp_path, "add", "trips.parquet")
    _git(tmp_path, "commit", "-qm", "trained on this")
    rule: dict[str, Any] = {"path": "trips.parquet", "drift": {"ignore": ["id"], "no_reference": "fail"}}
    data = {"files": {"trips": rule}}
    context = context_of(tmp_path, data)
    context.runs.create(Run("20260201-000000-abc", "flights", _git(tmp_path, "rev-parse", "HEAD"), "2026-02-01T00:00:00Z"))
    champion = Version("sha256:1", "bundles/1", model_version="3", run="20260201-000000-abc")
    monkeypatch.setattr(data_reference, "champion", lambda _: champion)
    write(tmp_path / "trips.parquet", "SELECT i AS id, 7.0 AS x, 'a' AS c FROM range(800) t(i)")
    first = reason_of(gated(tmp_path, data), "data.trips.drift.champion")
    assert (first.verdict, "the champion's data (version 3)" in first.summary) == (FAIL, True), first

    def gone(*_: object) -> Path:
        raise AssertionError("the champion's data was summed up already")

    monkeypatch.setattr(data_reference, "at_commit", gone)
    assert reason_of(gated(tmp_path, data), "data.trips.drift.champion").summary == first.summary
    monkeypatch.setattr(data_reference, "champion", lambda _: None)
    assert reason_of(gated(tmp_path, data), "data.trips.drift.champion").verdict is FAIL, "no_reference: fail"
