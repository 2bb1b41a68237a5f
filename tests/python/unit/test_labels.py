"""Late labels joined by request id."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mlpipeline.adapters.duckdb import databases
from mlpipeline.adapters.duckdb.label_doubts import doubts
from mlpipeline.adapters.duckdb.labels import LabelFiles, known, labelled, newest
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.ports import LabelledAnswers

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


def joined(folder: Path, answers: str, labels: str, **fields: str) -> LabelFiles:
    (folder / "answers.csv").write_text(answers)
    (folder / "labels.csv").write_text(labels)
    return LabelFiles(predictions="answers.csv", labels="labels.csv", **fields)  # type: ignore[arg-type]


def strange(folder: Path, wanted: LabelFiles, now: float = T0 + 60) -> str:
    return " | ".join(doubts(folder, wanted, groups=["blue", "green"], now=now))


ONE = "request_id,colour,prediction\n1,blue,1\n2,blue,0\n3,green,1\n"


@pytest.mark.parametrize(
    ("answers", "labels", "expected"),
    [
        (ONE, "request_id,label\n1.0,1.0\n2.0,1.0\n,0\n", {"blue": (2, 1)}),
        (ONE, "request_id,label\n1,1\n2,1\n3,n.a.\n", {"blue": (2, 1), "green": (1, 1)}),
        (ONE, "request_id,label\n1,yes\n2,no\n3,no\n", {"blue": (2, 0), "green": (1, 1)}),
        ("request_id,colour,prediction\n1,blue,True\n2,blue,False\n", "request_id,label\n1,true\n2,other\n", {"blue": (2, 1)}),
    ],
)
def test_ids_and_values_written_in_two_ways_are_the_same(
    tmp_path: Path, answers: str, labels: str, expected: dict[str, tuple[int, int]]
) -> None:
    assert labelled(tmp_path, joined(tmp_path, answers, labels)) == expected


@pytest.mark.parametrize(
    "time",
    ["2026-03-01T04:00:10+01:00", "2026-02-28 21:30:10-0530", "2026-03-01T03:00:10Z", "2026-03-01 03:00:10", "1772334010"],
)
@pytest.mark.parametrize("beside", ["", "3,blue,a,soon\n"])
def test_a_moment_is_one_whatever_its_zone_and_however_its_column_is_read(tmp_path: Path, time: str, beside: str) -> None:
    answers = f"request_id,colour,prediction,at\n1,blue,a,{time}\n{beside}"
    wanted = joined(tmp_path, answers, "request_id,label\n1,a\n", time="at")
    if beside and time.isdigit():
        return  # one column of numbers and of words holds no times
    assert newest(tmp_path, wanted) == T0 + 10
    assert labelled(tmp_path, wanted, since=T0 + 9) == {"blue": (1, 0)}
    assert labelled(tmp_path, wanted, since=T0 + 11) == {}


def test_what_is_known_of_a_group_is_of_its_newest_day_with_labels(files: LabelFiles, tmp_path: Path) -> None:
    assert known(tmp_path, files, "blue") == LabelledAnswers(2, 1, 60.0, 0.0)
    assert known(tmp_path, files, "green") == LabelledAnswers(2, 1, 60.0, 10.0)
    assert known(tmp_path, files, "red") == LabelledAnswers(0, 0)
    days = "".join(
        f"{number},blue,{said},{at}T03:00:00\n"
        for number, said, at in ((1, "a", "2026-01-01"), (2, "a", "2026-03-01"), (3, "b", "2026-03-02"))
    )
    wanted = joined(tmp_path, f"request_id,colour,prediction,at\n{days}", "request_id,label\n1,b\n2,a\n3,a\n", time="at")
    assert known(tmp_path, wanted, "blue") == LabelledAnswers(2, 1, 86400.0, 0.0)


TIMED = "request_id,colour,prediction,at\n1,blue,a,{}\n"
NAMED = "request_id,colour,prediction\n{}"
CLASSES = "".join(f"{number},blue,Late\n" for number in range(30))
ARRIVED = "".join(f"{number},late\n" for number in range(30))


@pytest.mark.parametrize(
    ("answers", "labels", "time", "words"),
    [
        (NAMED.format("1,blue,a\n2,green,a\n"), "req-1,a\n", "", "labels have 'req-1', answers '1', '2'"),
        (NAMED.format("1,B,a\n2,G,a\n"), "1,a\n", "", "has 'B', 'G', never 'blue' or 'green'"),
        (NAMED.format("1,blue,a\n"), "1,a\n1,b\n", "", "1 requests have labels that differ and do not count, such as '1'"),
        (NAMED.format("1,blue,a\n1,blue,b\n"), "1,a\n", "", "1 requests have answers that differ"),
        (NAMED.format(CLASSES), ARRIVED, "", "none of the 30 labelled answers is right: predictions are 'Late', labels 'late'"),
        (TIMED.format("2026-03-01T08:00:00"), "1,a\n", "at", "from the future, 2026-03-01T08:00:00"),
        (TIMED.format("2026-02-28T22:00:00"), "1,a\n", "at", "the newest answer is 5.0 h old"),
        (TIMED.format("1772334000123"), "1,a\n", "at", "is it milliseconds?"),
        (TIMED.format("yesterday"), "1,a\n", "at", "'yesterday' in column 'at' is no time"),
        (NAMED.format("1,blue,a\n2,green,a\n"), "1,a\n1,a\n", "", ""),
        (TIMED.format("2026-03-01T03:00:30Z"), "", "at", ""),
    ],
)
def test_what_makes_labels_silent_or_all_wrong_is_said_with_examples(
    tmp_path: Path, answers: str, labels: str, time: str, words: str
) -> None:
    found = strange(tmp_path, joined(tmp_path, answers, f"request_id,label\n{labels}", time=time))
    assert words in found if words else not found


def test_a_request_that_was_labelled_in_two_ways_counts_for_nobody(tmp_path: Path) -> None:
    wanted = joined(tmp_path, ONE, "request_id,label\n1,1\n1,0\n2,0\n3,1\n3,1\n")
    assert labelled(tmp_path, wanted) == {"blue": (1, 0), "green": (1, 0)}


def test_a_database_that_is_being_written_is_no_damage(tmp_path: Path) -> None:
    joined(tmp_path, ONE, "")
    database = sqlite3.connect(tmp_path / "truth.db")
    database.execute("CREATE TABLE arrived (request_id TEXT, label TEXT)")
    database.commit()
    database.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(EnvironmentFault, match="being written"):
            labelled(tmp_path, LabelFiles(predictions="answers.csv", labels="truth.db", labels_table="arrived"))
    finally:
        database.close()


def test_a_damaged_file_of_labels_is_no_fault_of_a_candidate(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"the labels cannot be read: the data file is empty"):
        labelled(tmp_path, joined(tmp_path, ONE, ""))


def test_a_missing_column_is_told_with_its_file_and_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no column 'request_id'") as caught:
        labelled(tmp_path, joined(tmp_path, ONE, "requestid,label\n1,1\n"))
    told = caught.value.render()
    assert "labels.csv" in told and "request: requestid" in told


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://reader:se/cret@127.0.0.1:1/db",
        "postgresql://reader:se@cret@127.0.0.1:1/db",
        "postgresql://reader:se%cret@127.0.0.1:1/db",
        "postgresql://reader:se?cret@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=reader&password=secret",
        "postgresql://reader:secret@127.0.0.1:x/db",
        "postgresql://reader:secret@127.0.0.1:1/db?sslmod=none",
        "postgresql://reader:secret$NOT_SET@127.0.0.1:1/db",
        "mysql://reader:secret@127.0.0.1/db",
    ],
)
def test_no_error_tells_a_password(tmp_path: Path, address: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises((ConfigurationError, EnvironmentFault)) as caught:
        labelled(tmp_path, LabelFiles(predictions=address, predictions_table="answers"))
    told = caught.value.render()
    assert "cret" not in told and "127.0.0.1" in told


def test_a_password_of_a_variable_may_have_any_character() -> None:
    address = databases.filled(
        "postgresql://$WHO:${PASSWORD}@$HOST/db", {"WHO": "reader", "PASSWORD": "a/b@c%d%40", "HOST": "h:1"}
    )
    assert address == "postgresql://reader:a%2Fb%40c%25d%40@h:1/db"
    assert databases.filled("postgresql://$LOGIN@h/db", {"LOGIN": "reader:x"}) == "postgresql://reader:x@h/db"
