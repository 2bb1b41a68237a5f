"""Two data files counted over the same bins."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.adapters.duckdb.profile import agreement, compare
from mlpipeline.errors import ConfigurationError


def written(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines) + "\n")
    return file


def test_every_row_is_in_exactly_one_bin(tmp_path: Path) -> None:
    rows = [f"{number % 97},{'abc'[number % 3]},{'' if number % 5 else number}" for number in range(1000)]
    before = written(tmp_path / "before.csv", "number,letter,gaps", *rows)
    now = written(tmp_path / "now.csv", "number,letter,gaps", *rows[:300], "-5,new,", "1000,,7")
    found = compare(before, now)
    assert found.rows == (1000, 302)
    for old, new in found.columns.values():
        assert (sum(old), sum(new)) == (1000, 302)
        assert len(old) == len(new)
    assert found.columns["number"][0][:-1] == pytest.approx([100] * 10, abs=30), "deciles"
    assert found.columns["letter"] == ([334, 333, 333, 0, 0], [100, 100, 100, 1, 1])
    assert (found.columns["gaps"][0][-1], found.columns["gaps"][1][-1]) == (800, 241)


def test_the_same_files_give_the_same_counts(tmp_path: Path) -> None:
    rows = [f"{(number * 7919) % 1009}" for number in range(5000)]
    before, now = written(tmp_path / "a.csv", "x", *rows), written(tmp_path / "b.csv", "x", *reversed(rows))
    assert compare(before, now) == compare(before, now)
    assert compare(before, now).columns["x"][0] == compare(before, now).columns["x"][1]


def test_whole_numbers_and_doubles_are_the_same_values(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, values in (("whole.parquet", [1, 2, 2, 3]), ("gaps.parquet", [1.0, 2.0, None, 3.0])):
        pq.write_table(pa.table({"x": values}), tmp_path / name)
    old, new = compare(tmp_path / "whole.parquet", tmp_path / "gaps.parquet").columns["x"]
    assert (old, new) == ([2, 1, 1, 0, 0], [1, 1, 1, 0, 1])


def test_a_column_that_became_text_is_compared_as_text(tmp_path: Path) -> None:
    before = written(tmp_path / "a.csv", "x", *(str(number) for number in range(50)))
    now = written(tmp_path / "b.csv", "x", *(["unknown"] * 50))
    old, new = compare(before, now).columns["x"]
    assert sum(old[:20]) == 20 and new[20] == 50


def test_columns_that_are_gone_and_times(tmp_path: Path) -> None:
    before = written(tmp_path / "a.csv", "x,when,y", "1,2026-01-01 00:00:00,2")
    now = written(tmp_path / "b.csv", "x,when", "1,2026-02-01 00:00:00")
    found = compare(before, now)
    assert (list(found.columns), found.only_before) == (["x"], ("y",))
    assert list(compare(before, now, ["when"]).columns) == ["when"], "asked for"
    with pytest.raises(ConfigurationError, match="no column 'z'"):
        compare(before, now, ["z"])


def test_an_empty_column_and_quotes_in_names_and_values(tmp_path: Path) -> None:
    before = written(tmp_path / "a.csv", '"it""s",nothing', "it's,", "'; drop,")
    found = compare(before, before)
    assert found.columns['it"s'] == ([1, 1, 0, 0], [1, 1, 0, 0])
    assert found.columns["nothing"] == ([0, 2], [0, 2])


def test_agreement_of_truth_and_prediction(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", "label,prediction", "1,1.0", "2,2.5", ",3", "4,")
    assert agreement(file, "label", "prediction", "accuracy") == (0.5, 2)
    assert agreement(file, "label", "prediction", "mae") == (0.25, 2)
    words = written(tmp_path / "b.csv", "label,prediction", "a,a", "b,a")
    assert agreement(words, "label", "prediction", "accuracy") == (0.5, 2)
    with pytest.raises(ConfigurationError, match="no numbers"):
        agreement(words, "label", "prediction", "mae")
    with pytest.raises(ConfigurationError, match="no column 'truth'"):
        agreement(words, "truth", "prediction", "accuracy")
    with pytest.raises(ConfigurationError, match="does not exist"):
        agreement(tmp_path / "absent.csv", "label", "prediction", "accuracy")
