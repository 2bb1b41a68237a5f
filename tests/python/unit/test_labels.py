"""Late labels joined by request id."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mlpipeline.adapters.duckdb.labels import LabelFiles, labelled, newest
from mlpipeline.errors import ConfigurationError

ANSWERS = """request_id,colour,prediction,at
1,blue,late,2026-03-01T03:00:00
1,green,punctual,2026-03-01T03:00:00
2,blue,late,2026-03-01T03:00:10
3,green,late,2026-03-01T03:00:20
4,green,late,2026-03-01T03:00:30
5,green,,2026-03-01T03:00:40
"""
LABELS = "request_id,label\n1,late\n1,late\n2,punctual\n3,late\n9,late\n4,\n5,late\n"
T0 = 1772334000.0


@pytest.fixture
def files(tmp_path: Path) -> LabelFiles:
    (tmp_path / "answers.csv").write_text(ANSWERS)
    (tmp_path / "labels.csv").write_text(LABELS)
    return LabelFiles(predictions="answers.csv", labels="labels.csv", time="at")


def test_each_answer_with_a_label_counts_once_for_whoever_gave_it(files: LabelFiles, tmp_path: Path) -> None:
    assert labelled(tmp_path, files) == {"blue": (2, 1), "green": (2, 1)}


def test_only_the_time_that_is_asked_for(files: LabelFiles, tmp_path: Path) -> None:
    assert labelled(tmp_path, files, since=T0 + 5) == {"blue": (1, 1), "green": (1, 0)}
    assert labelled(tmp_path, files, until=T0 + 5) == {"blue": (1, 0), "green": (1, 1)}
    assert newest(tmp_path, files) == T0 + 40


def test_labels_of_a_database(files: LabelFiles, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "truth.db") as database:
        database.execute("CREATE TABLE arrived (request_id TEXT, label TEXT)")
        database.executemany("INSERT INTO arrived VALUES (?, ?)", [("1", "late"), ("2", "late")])
    database.close()
    wanted = LabelFiles(predictions="answers.csv", labels="truth.db", labels_table="arrived")
    assert labelled(tmp_path, wanted) == {"blue": (2, 0), "green": (1, 1)}


def test_one_file_with_both_and_numbers_within_a_tolerance(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("request_id,colour,prediction,label\n1,blue,1.04,1.0\n2,blue,1.2,1.0\n3,green,0,0\n")
    wanted = LabelFiles(predictions="all.csv", tolerance=0.1)
    assert labelled(tmp_path, wanted) == {"blue": (2, 1), "green": (1, 0)}


@pytest.mark.parametrize(
    ("change", "words"),
    [({"predictions": "none.csv"}, "do not exist"), ({"labels": "none.csv"}, "do not exist"), ({"truth": "y"}, "no column 'y'")],
)
def test_what_is_not_there_is_said(files: LabelFiles, tmp_path: Path, change: dict[str, str], words: str) -> None:
    import msgspec

    with pytest.raises(ConfigurationError, match=words):
        labelled(tmp_path, msgspec.structs.replace(files, **change))


def test_a_server_needs_the_name_of_a_table_and_the_variables_of_its_address(tmp_path: Path) -> None:
    server = LabelFiles(predictions="postgresql://reader:$LABELS_PASSWORD@db/serving")
    with pytest.raises(ConfigurationError, match="table of the predictions is not named"):
        labelled(tmp_path, server)
    with pytest.raises(ConfigurationError, match="LABELS_PASSWORD"):
        labelled(tmp_path, LabelFiles(predictions=server.predictions, predictions_table="answers"))
