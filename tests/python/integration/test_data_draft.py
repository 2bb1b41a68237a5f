"""``gate data --draft``: a suite that the data it was drafted from keeps, wide enough for its like, and never over another."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import duckdb
import pytest

from data_gate_world import context_of, gated
from mlpipeline.core.drafting import rounded
from mlpipeline.core.expectations import parse_suite
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.verbs.data_draft import draft

_ROWS = """SELECT i AS id, (hash(i + {seed}) % 1000) / 10 AS fare,
['AA', 'UA', 'DL'][1 + CAST(hash(i * 7 + {seed}) % 3 AS INTEGER)] AS carrier,
CASE WHEN i % 25 = 0 THEN NULL ELSE CAST(hash(i) % 5 AS INTEGER) END AS stops, i % 2 = 0 AS late, 'note ' || hash(i) AS note,
TIMESTAMP '2026-01-01' + INTERVAL (i) MINUTE AS at FROM range({rows}) t(i)"""


def _write(file: Path, seed: int, rows: int = 500) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({_ROWS.format(seed=seed, rows=rows)}) TO '{file}' (FORMAT parquet)")


def test_the_draft_passes_its_own_data_and_the_next_of_its_kind(tmp_path: Path) -> None:
    _write(tmp_path / "trips.parquet", seed=1)
    made = draft(context_of(tmp_path, {"files": {"trips": {"path": "trips.parquet"}}}))
    assert made.written == {"trips": "expectations/trips.json"}
    assert "nothing was released yet" in made.told[0]
    data = {"files": {"trips": {"path": "trips.parquet", "suite": "expectations/trips.json"}}}
    for seed in (1, 2, 3):
        _write(tmp_path / "trips.parquet", seed=seed, rows=450 + 50 * seed)
        assert gated(tmp_path, data).verdict is Verdict.PASS
    kinds = [check.type for check in parse_suite((tmp_path / "expectations/trips.json").read_bytes(), "drafted")]
    assert kinds.count("expect_column_to_exist") == 7
    assert {"expect_column_values_to_be_unique", "expect_column_values_to_be_in_set", "expect_column_mean_to_be_between"} <= set(
        kinds
    )


def test_the_draft_stops_data_of_another_kind(tmp_path: Path) -> None:
    _write(tmp_path / "trips.parquet", seed=1)
    draft(context_of(tmp_path, {"files": {"trips": {"path": "trips.parquet"}}}))
    with duckdb.connect() as connection:
        broken = "SELECT 1 AS id, fare * 1000 AS fare, 'ZZ' AS carrier, stops, late, note, t.at"
        connection.execute(
            f"COPY ({broken} FROM ({_ROWS.format(seed=1, rows=500)}) t) TO '{tmp_path / 'trips.parquet'}' (FORMAT parquet)"
        )
    found = gated(tmp_path, {"files": {"trips": {"path": "trips.parquet", "suite": "expectations/trips.json"}}})
    failed = {reason.check.split(".")[-1] for reason in found.reasons if reason.verdict is Verdict.FAIL}
    assert failed == {"id", "fare", "carrier"}


def test_a_suite_that_is_there_is_never_touched(tmp_path: Path) -> None:
    _write(tmp_path / "trips.parquet", seed=1)
    (tmp_path / "mine.json").write_text("mine")
    context = context_of(tmp_path, {"files": {"trips": {"path": "trips.parquet", "suite": "mine.json"}}})
    assert draft(context).kept == {"trips": "mine.json"}
    assert (tmp_path / "mine.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "rows"), [("a,b\n", 0), ("a,b\n1,\n", 1), ("a,b\n,\n,\n", 2)], ids=["empty", "one row", "all missing"]
)
def test_poor_data_still_makes_a_suite(tmp_path: Path, content: str, rows: int) -> None:
    (tmp_path / "t.csv").write_text(content)
    draft(context_of(tmp_path, {"files": {"t": {"path": "t.csv"}}}))
    suite = json.loads((tmp_path / "expectations/t.json").read_bytes())
    assert f"{rows} rows" in suite["notes"]
    assert parse_suite(json.dumps(suite).encode(), "drafted")


def test_nothing_configured_and_missing_data_are_told(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(ConfigurationError, match="no data files"):
        draft(context_of(tmp_path, {"files": {}}))
    with pytest.raises(ConfigurationError, match="no such data file"):
        draft(context_of(tmp_path, {"files": {"t": {"path": "missing.csv"}}}))


@pytest.mark.parametrize(
    ("value", "up", "expected"), [(1234.5, True, 1240), (1234.5, False, 1230), (-0.012345, False, -0.0124), (0, True, 0)]
)
def test_bounds_are_rounded_away_from_the_values(value: float, up: bool, expected: float) -> None:
    assert rounded(value, up=up) == pytest.approx(expected)
