"""Holdouts that no models can be judged by: each is told in words of the file, and nothing is blamed on the candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gate_project import ACCURACY, Project, Said, holdout, verdicts
from mlpipeline.config.sections.model_gate import Fairness, MetricGate
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError

SMALL = 40


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    Said(project).labels("ours", ["late"] * SMALL)
    return project


def of_accuracy(*slices: str) -> tuple[MetricGate, ...]:
    return (MetricGate(metric="accuracy", at_least=0.1, slices=slices, min_rows=1),)


@pytest.mark.parametrize("value", [{"part": 1}, [1, 2]], ids=["record", "list"])
@pytest.mark.parametrize(
    ("column", "gate", "what"),
    [
        ("state", {}, "label"),
        ("who", {"cluster": "who"}, "entity"),
        ("who", {"stratify": "who"}, "stratum"),
        ("who", {"metrics": of_accuracy("who")}, "slice"),
        ("who", {"metrics": of_accuracy("who > 1")}, "slice"),
        ("who", {"fairness": (Fairness(by="who", demographic_parity=0.1),)}, "groups"),
        ("hour", {}, "input of the candidate"),
    ],
)
def test_a_nested_column_is_told_with_what_it_was_for(
    project: Project, column: str, gate: dict[str, Any], what: str, value: object
) -> None:
    project.write(holdout(SMALL).assign(**{column: [value] * SMALL}))
    with pytest.raises(ConfigurationError, match=f"column '{column}', the {what}.*lists or records"):
        project.judge(**{"metrics": ACCURACY, **gate})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("late", "sp\u00e4t").encode("latin-1"), "not UTF-8"),
        (lambda text: text.encode("utf-16"), "not UTF-8"),
        (lambda text: text.replace("delay", "hour", 1).encode(), "same name"),
        (lambda text: text.encode()[:-20] + b',"JFK\n', "cannot be read"),
        (lambda _: b"\0" * 400, "no rows"),
    ],
    ids=["latin-1", "utf-16", "two columns of one name", "a quote that never ends", "zero bytes"],
)
def test_text_that_is_no_table_is_refused(project: Project, change: Any, words: str) -> None:
    (project.places.project / "holdout.csv").write_bytes(change(holdout(SMALL).to_csv(index=False)))
    with pytest.raises(ConfigurationError, match=words):
        project.judge(holdout="holdout.csv")


def test_a_label_with_one_class_lets_nobody_pass(project: Project) -> None:
    project.write(holdout(SMALL).assign(state="late"))
    result = project.judge()
    assert result.verdict is Verdict.INCONCLUSIVE
    assert verdicts(result)["metric.accuracy.at_least"] is Verdict.PASS
    assert "whoever always says so is right" in result.summary
