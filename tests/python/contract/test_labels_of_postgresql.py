"""Late labels in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from mlpipeline.adapters.duckdb.labels import LabelFiles, labelled, newest
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from postgresql_server import running_postgresql

pytestmark = pytest.mark.real
T0 = 1772334000.0


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    import psycopg

    with running_postgresql() as uri:
        with psycopg.connect(uri) as database:
            database.execute("CREATE SCHEMA served")
            database.execute("CREATE TABLE served.answers (request_id text, colour text, prediction text, at timestamptz)")
            database.execute(
                "INSERT INTO served.answers VALUES "
                "('1', 'blue', 'late', '2026-03-01 03:00:00+00'), ('1', 'green', 'punctual', '2026-03-01 03:00:00+00'), "
                "('2', 'blue', 'late', '2026-03-01 04:00:10+01'), ('3', 'green', 'late', '2026-03-01 03:00:20+00')"
            )
            database.execute(
                "CREATE TABLE typed (request_id uuid, colour text, prediction numeric(6, 3), features jsonb, ip inet)"
            )
            database.execute("CREATE TABLE late (request_id uuid, label numeric(5, 2))")
            for number, features in enumerate(('{"a": 1}', '{"b": [1]}', "null")):
                made = UUID(int=number)
                database.execute("INSERT INTO typed VALUES (%s, 'blue', %s, %s, '::1')", (made, number + 0.5, features))
                database.execute("INSERT INTO late VALUES (%s, %s)", (made, number + 0.5 * (number < 2)))
            database.execute("CREATE TABLE arrived (request_id text, label text)")
            database.execute("INSERT INTO arrived VALUES ('1', 'late'), ('1', 'late'), ('2', 'punctual'), ('3', 'late')")
        yield uri


@pytest.fixture
def wanted(address: str) -> LabelFiles:
    return LabelFiles(predictions=address, predictions_table="served.answers", labels=address, labels_table="arrived", time="at")


def test_answers_and_labels_of_a_database_server_are_joined(wanted: LabelFiles, tmp_path: Path) -> None:
    assert labelled(tmp_path, wanted) == {"blue": (2, 1), "green": (2, 1)}


def test_moments_of_the_server_are_moments_whatever_their_zone(wanted: LabelFiles, tmp_path: Path) -> None:
    assert labelled(tmp_path, wanted, since=T0 + 5) == {"blue": (1, 1), "green": (1, 0)}
    assert labelled(tmp_path, wanted, until=T0 + 5) == {"blue": (1, 0), "green": (1, 1)}
    assert newest(tmp_path, wanted) == T0 + 20


def test_answers_in_files_have_their_labels_on_the_server(wanted: LabelFiles, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("request_id,colour,prediction\n1,blue,late\n3,green,punctual\n")
    beside = msgspec.structs.replace(wanted, predictions="answers.csv", predictions_table="", time="")
    assert labelled(tmp_path, beside) == {"blue": (1, 0), "green": (1, 1)}


def test_what_is_not_there_is_said(wanted: LabelFiles, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no table 'nothing'") as nothing:
        labelled(tmp_path, msgspec.structs.replace(wanted, labels_table="nothing"))
    assert "public.arrived" in nothing.value.render()
    with pytest.raises(ConfigurationError, match="no column 'y'"):
        labelled(tmp_path, msgspec.structs.replace(wanted, truth="y"))
    with pytest.raises(EnvironmentFault, match="cannot be read") as failed:
        labelled(tmp_path, msgspec.structs.replace(wanted, labels="postgresql://reader:secret@127.0.0.1:1/served"))
    assert "secret" not in str(failed.value.facts)


def test_columns_of_any_type_beside_and_ids_and_numbers_of_the_servers_own_types(wanted: LabelFiles, tmp_path: Path) -> None:
    typed = msgspec.structs.replace(wanted, predictions_table="typed", labels_table="late", time="")
    assert labelled(tmp_path, typed) == {"blue": (3, 1)}
    (tmp_path / "late.csv").write_text(f"request_id,label\n{UUID(int=1)},1.5\n")
    assert labelled(tmp_path, msgspec.structs.replace(typed, labels="late.csv", labels_table="")) == {"blue": (1, 0)}


def test_a_user_who_may_not_read_a_table_is_told_what_to_grant(wanted: LabelFiles, address: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(address) as database:
        database.execute("CREATE ROLE nobody_special LOGIN")
    other = wanted.labels.replace("ledger@", "nobody_special@") if "ledger@" in address else f"{address}&user=nobody_special"
    with pytest.raises(ConfigurationError, match="cannot be read") as refused:
        labelled(tmp_path, msgspec.structs.replace(wanted, labels=other))
    assert "permission denied for table arrived" in refused.value.render() and "GRANT SELECT" in refused.value.render()
