"""What a newcomer reads when the data cannot be judged: the file, what is wrong with it, and never a pass that is none."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from data_gate_world import gated
from mlpipeline.core.verdict import Verdict


def test_a_verdict_that_is_none_is_not_summed_up_as_passed(tmp_path: Path) -> None:
    for name in ("before", "now"):
        pd.DataFrame({"a": [1.0, 2.0]}).to_parquet(tmp_path / f"{name}.parquet")
    result = gated(tmp_path, {"files": {"d": {"path": "now.parquet", "drift": {"reference": "before.parquet"}}}})
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.summary.startswith("1 of 2 data checks tell nothing: d: 2 rows now and 2 before")


def test_values_that_are_no_times_are_counted_beside_the_newest(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("at\n2026-02-28 00:00:00\n02/28/2026 10h\n")
    rule = {"path": "t.csv", "freshness": {"within": "2d", "column": "at"}}
    (found,) = [one for one in gated(tmp_path, {"files": {"d": rule}}).reasons if one.check == "data.d.freshness"]
    assert found.verdict is Verdict.PASS
    assert "1 values of at do not read as times" in found.summary
    assert found.numbers["no_times"] == 1


def test_a_line_of_megabytes_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1," + "x" * 2_500_000 + "\n")
    assert "longer than 2 MB" in gated(tmp_path, {"files": {"d": {"path": "t.csv"}}}).summary


def test_nothing_else_is_asked_of_a_file_without_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    result = gated(tmp_path, {"files": {"d": {"path": "t.csv", "expect": [{"column": "a", "mean_between": [0, 1]}]}}})
    assert result.verdict is Verdict.FAIL
    assert result.evidence["files"]["d"]["engine"] == "schema"  # type: ignore[index]
    assert any("there are no rows" in reason.summary for reason in result.reasons)


def test_a_column_that_became_nested_has_drifted_and_one_that_is_gone_is_told(tmp_path: Path) -> None:
    rows = 200
    numbers = [float(number) for number in range(rows)]
    pd.DataFrame({"a": numbers, "b": numbers, "c": numbers}).to_parquet(tmp_path / "before.parquet")
    pd.DataFrame({"a": [{"k": number} for number in numbers], "b": numbers}).to_parquet(tmp_path / "now.parquet")
    result = gated(tmp_path, {"files": {"d": {"path": "now.parquet", "drift": {"reference": "before.parquet"}}}})
    assert result.verdict is Verdict.FAIL
    assert "a changed its kind" in result.summary
    assert "no longer there: c" in result.summary


def test_files_without_a_column_in_common_are_not_said_to_have_no_rows(tmp_path: Path) -> None:
    for name, column in (("before", "a"), ("now", "b")):
        pd.DataFrame({column: range(200)}).to_parquet(tmp_path / f"{name}.parquet")
    result = gated(tmp_path, {"files": {"d": {"path": "now.parquet", "drift": {"reference": "before.parquet"}}}})
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "no column that could be compared" in result.summary
