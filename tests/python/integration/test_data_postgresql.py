"""Tables of a real PostgreSQL through the data gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_gate_world import gated, reason_of
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from postgresql_server import running_postgresql

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

_TABLES = """
CREATE TABLE trips AS SELECT i AS id, i % 7 AS hour, (i * 1.5)::float8 AS distance, (i / 10.0)::numeric(12, 2) AS price,
  CASE WHEN i % 10 = 0 THEN NULL ELSE 'town ' || i % 3 END AS town, i % 2 = 0 AS late,
  timestamptz '2026-02-28T00:00:00Z' + i * interval '1 second' AS at, date '2026-01-01' + i % 20 AS day
  FROM generate_series(1, 60000) i;
CREATE TABLE empty (id int, x float8);
CREATE TABLE odd (id uuid, tags text[], more jsonb, raw bytea, endless float8, large numeric);
INSERT INTO odd VALUES ('00000000-0000-0000-0000-000000000001', '{a,b}', '{"k": 1}', 'x', 'NaN', 12345678901234567890),
  ('00000000-0000-0000-0000-000000000002', NULL, NULL, NULL, 'Infinity', 1.5);
CREATE SCHEMA other;
CREATE VIEW other.late_trips AS SELECT * FROM trips WHERE late;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    import psycopg

    with running_postgresql() as address:
        with psycopg.connect(address, autocommit=True) as database:
            database.execute(_TABLES)
        yield address


def gate(project: Path, server: str, table: str, *expect: dict[str, Any], **more: Any) -> Any:
    return gated(project, {"files": {"t": {"path": server, "table": table, "expect": [*expect], **more}}})


def test_a_table_is_judged_like_a_file(tmp_path: Path, server: str) -> None:
    columns = {"id": "integer", "distance": "number", "price": "number", "town": "string", "late": "boolean", "at": "timestamp"}
    rules: list[dict[str, Any]] = [
        {"column": "id", "unique": True, "between": [1, 60000]},
        {"column": "hour", "in_set": [0, 1, 2, 3, 4, 5, 6]},
        {"column": "town", "matches": "^town [0-2]$"},
        {"rows_between": [60000, 60000]},
    ]
    result = gate(tmp_path, server, "trips", *rules, columns=columns)
    assert result.verdict is Verdict.PASS, [reason for reason in result.reasons if reason.verdict is not Verdict.PASS]
    assert result.evidence["files"]["t"]["rows"] == 60000
    assert result.evidence["files"]["t"]["engine"] == "duckdb"


def test_what_breaks_a_rule_is_counted_exactly(tmp_path: Path, server: str) -> None:
    result = gate(tmp_path, server, "trips", {"column": "town", "not_null": True}, {"column": "id", "between": [1, 59990]})
    assert reason_of(result, "data.t.expect_column_values_to_not_be_null.town").numbers["unexpected"] == 6000
    assert reason_of(result, "data.t.expect_column_values_to_be_between.id").numbers["unexpected"] == 10


def test_views_of_other_schemas_and_freshness(tmp_path: Path, server: str) -> None:
    fresh = {"within": "2d", "column": "at", "now": "2026-03-01T00:00:00Z"}
    result = gate(tmp_path, server, "other.late_trips", freshness=fresh)
    assert result.verdict is Verdict.PASS, result
    assert result.evidence["files"]["t"]["rows"] == 30000


def test_an_empty_table_and_one_that_is_not_there(tmp_path: Path, server: str) -> None:
    assert reason_of(gate(tmp_path, server, "empty"), "data.t.rows").verdict is Verdict.FAIL
    with pytest.raises(ConfigurationError, match="no table 'trip'"):
        gate(tmp_path, server, "trip")


def test_types_that_no_file_has_are_read_as_text_and_numbers_stay_numbers(tmp_path: Path, server: str) -> None:
    rules: list[dict[str, Any]] = [
        {"column": "id", "matches": "^0{8}-", "unique": True},
        {"column": "endless", "not_null": True},
    ]
    result = gate(tmp_path, server, "odd", *rules)
    assert reason_of(result, "data.t.expect_column_values_to_match_regex.id").verdict is Verdict.PASS
    assert reason_of(result, "data.t.expect_column_values_to_not_be_null.endless").numbers["unexpected"] == 1


def test_a_server_that_is_not_there_is_the_machines_fault_and_tells_no_password(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault) as raised:
        gate(tmp_path, f"postgresql://ada:secret@/x?host={tmp_path}", "trips")
    assert "secret" not in raised.value.render()
