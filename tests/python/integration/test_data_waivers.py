"""Waivers in the data gate, and numbers that a reader would round."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from data_gate_world import NOW, context_of, gated, reason_of
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.verbs import waive

DATA: dict[str, object] = {"files": {"trips": {"path": "trips.csv", "expect": [{"column": "x", "between": [0, 5]}]}}}
CHECK = "data.trips.expect_column_values_to_be_between.x"
RUN = "20260301-000000-1a2b3c4"


def write(project: Path, text: str = "x\n1\n9\n") -> None:
    (project / "trips.csv").write_text(text)


def waived(project: Path, check: str = CHECK) -> None:
    context = context_of(project, DATA)
    waive.run(context, context.runs.latest(), check=check, person="ada", why="known since May", until="2026-03-05")


def test_a_waived_check_passes_names_who_and_keeps_what_was_measured(tmp_path: Path) -> None:
    write(tmp_path)
    assert gated(tmp_path, DATA).verdict is Verdict.FAIL
    waived(tmp_path)
    result = gated(tmp_path, DATA, run="20260301-000001-1a2b3c4")
    reason = reason_of(result, CHECK)
    assert (result.verdict, reason.verdict) == (Verdict.PASS, Verdict.PASS)
    assert "waived until 2026-03-06 00:00 UTC by ada: known since May" in reason.summary
    assert reason.numbers["unexpected"] == 1
    (told,) = result.evidence["waivers"]  # type: ignore[misc]
    assert (told["checked"], told["was"], told["who"]) == (CHECK, "fail", "ada")


def test_an_expired_waiver_lets_nothing_pass_and_says_when_it_ended(tmp_path: Path) -> None:
    write(tmp_path)
    gated(tmp_path, DATA)
    waived(tmp_path)
    result = gated(tmp_path, DATA, run="20260310-000000-1a2b3c4", now=NOW + timedelta(days=9))
    assert result.verdict is Verdict.FAIL
    assert "expired on 2026-03-06" in reason_of(result, f"waiver.{CHECK}").summary


def test_data_that_cannot_be_read_is_waived_by_nobody(tmp_path: Path) -> None:
    write(tmp_path, "")
    gated(tmp_path, DATA)
    with pytest.raises(ConfigurationError, match="cannot be waived"):
        waived(tmp_path, "data.trips.readable")
    waived(tmp_path, "data.trips.r*")
    assert gated(tmp_path, DATA, run="20260301-000001-1a2b3c4").verdict is Verdict.FAIL


@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "1" + "0" * 40])
def test_integers_beyond_64_bits_are_an_error_and_never_rounded(tmp_path: Path, number: str) -> None:
    write(tmp_path, f"x\n1\n{number}\n")
    result = gated(tmp_path, DATA)
    summary = reason_of(result, "data.trips.readable").summary
    assert "integers beyond 64 bits" in summary
    assert result.verdict is Verdict.FAIL


def test_large_numbers_that_are_no_integers_and_the_largest_integer_are_read(tmp_path: Path) -> None:
    write(tmp_path, f"x,y\n1e300,{2**63 - 1}\n0.5,2\n")
    data: dict[str, object] = {"files": {"trips": {"path": "trips.csv", "columns": {"x": "number", "y": "integer"}}}}
    assert gated(tmp_path, data).verdict is Verdict.PASS
