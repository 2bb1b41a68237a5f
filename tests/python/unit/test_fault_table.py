"""The table of faults says nothing that no test shows, and its figures are those that were measured."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROWS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "faults.json").read_text("utf-8"))
MEASURED: dict[str, Any] = json.loads((ROOT / "bench" / "faults.json").read_text("utf-8"))

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["fault"])


@rows
def test_each_row_names_tests_that_exist(row: dict[str, Any]) -> None:
    assert row["tests"]
    for named in row["tests"]:
        path, _, test = named.partition("::")
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, named


@rows
def test_each_row_says_what_it_costs_or_was_measured(row: dict[str, Any]) -> None:
    assert row["fault"]
    assert row["does"]
    if "measured" in row:
        assert "lost" not in row, "a figure is measured or argued, not both"
        assert all(row["measured"] in kind["stories"] for kind in MEASURED.values())
    else:
        assert row["lost"]
        assert row["recovers"]


def test_what_was_measured_is_what_the_stories_are() -> None:
    from fault_stories import HARMED, UNHARMED

    shown = {row["measured"] for row in ROWS if "measured" in row}
    assert shown == {*HARMED, *UNHARMED}
    for kind, found in MEASURED.items():
        lost = {name: found["stories"][name]["lost"] for name in UNHARMED}
        assert not any(lost.values()), f"{kind}: {lost}"
        assert all(one["kept"] and one["requests"] > one["kept"] for one in found["stories"].values())
