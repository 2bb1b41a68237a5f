"""Two data files side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipeline.adapters.duckdb import sketches
from mlpipeline.adapters.duckdb.profile import agreement, compare, summed_up
from mlpipeline.errors import ConfigurationError


def written(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines) + "\n")
    return file


def test_every_row_is_counted_on_both_sides(tmp_path: Path) -> None:
    rows = [f"{number % 97},{'abc'[number % 3]},{'' if number % 5 else number}" for number in range(1000)]
    before = written(tmp_path / "before.csv", "number,letter,gaps", *rows)
    now = written(tmp_path / "now.csv", "number,letter,gaps", *rows[:300], "-5,new,", "1000,,7")
    found = compare(summed_up(before), now)
    assert found.rows == (1000, 302)
    for name, old in found.before.items():
        new = found.now[name]
        assert (old.rows, new.rows, old.edges) == (1000, 302, new.edges)
        assert sum(new.counts or new.groups) == new.present
    assert found.now["letter"].values == {"a": 100, "b": 100, "c": 100, "new": 1}
    assert (found.before["gaps"].missing, found.now["gaps"].missing, found.now["letter"].missing) == (800, 241, 1)


def test_the_same_rows_in_any_order_are_the_same_summary(tmp_path: Path) -> None:
    rows = [f"{(number * 7919) % 1009}" for number in range(5000)]
    before, now = written(tmp_path / "a.csv", "x", *rows), written(tmp_path / "b.csv", "x", *reversed(rows))
    assert summed_up(before) == summed_up(now)


@pytest.mark.parametrize("sample", [10, 20_000])
def test_a_long_reference_is_sampled_for_its_grid_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    monkeypatch.setattr(sketches, "_KEPT", 10)
    monkeypatch.setattr(sketches, "_SAMPLE", sample)
    file = written(tmp_path / "a.csv", "x,c", *(f"{(number * 7919) % 10007},{number % 3}" for number in range(30_000)))
    found = summed_up(file)
    assert found == summed_up(file), "the same sample each time"
    assert (found["x"].rows, sum(found["x"].counts)) == (30_000, 30_000), "every row is counted"
    assert len(found["x"].edges) >= 10
    assert (found["x"].low, found["x"].high) == (0, 10006)


def test_whole_numbers_and_doubles_are_the_same_values(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, values in (("whole.parquet", [1, 2, 2, 3]), ("gaps.parquet", [1.0, 2.0, None, 3.0])):
        pq.write_table(pa.table({"x": values}), tmp_path / name)
    found = compare(summed_up(tmp_path / "whole.parquet"), tmp_path / "gaps.parquet")
    assert (found.before["x"].counts, found.now["x"].counts, found.now["x"].missing) == ((1, 2, 1, 0), (1, 1, 1, 0), 1)


def test_a_column_that_became_text_is_of_another_kind(tmp_path: Path) -> None:
    before = written(tmp_path / "a.csv", "x", *(str(number) for number in range(50)))
    now = written(tmp_path / "b.csv", "x", *(["unknown"] * 50))
    found = compare(summed_up(before), now)
    assert (found.before["x"].kind, found.now["x"].kind) == ("number", "category")


def test_columns_that_are_gone_and_times(tmp_path: Path) -> None:
    before = written(tmp_path / "a.csv", "x,when,y", "1,2026-01-01 00:00:00,2")
    now = written(tmp_path / "b.csv", "x,when", "1,2026-02-01 00:00:00")
    found = compare(summed_up(before), now)
    assert (list(found.now), found.only_before) == (["x"], ("y",))
    assert list(compare(summed_up(before, ["when"]), now).now) == ["when"], "asked for"
    with pytest.raises(ConfigurationError, match="no column 'z'"):
        summed_up(before, ["z"])


def test_an_empty_column_and_quotes_in_names_and_values(tmp_path: Path) -> None:
    before = written(tmp_path / "a.csv", '"it""s",nothing', "it's,", "'; drop,")
    found = compare(summed_up(before), before)
    assert found.now['it"s'].values == {"it's": 1, "'; drop": 1}
    assert found.now["nothing"].missing == 2


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
