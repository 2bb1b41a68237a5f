"""The nightly look at the champion's own accuracy over time, by labels that came late."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mlpipeline.config.sections.night import DataDrift, Decay, Nightly, Prune
from mlpipeline.config.values import Duration
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Result
from mlpipeline.verbs import nightly
from release_story import Story

DAY = 24 * 3600


def night(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    recent: float,
    rows: int = 600,
    version: str = "1",
    rule: Decay | None = None,
) -> Result:
    """The champion was wrong in 10 % of its answers before, and in ``recent`` of those of the last week."""
    rule = rule or Decay(labels="labels.csv", predictions="answers.csv", drop=0.05, recent=Duration(7 * DAY))
    told = Story(folder, nightly=Nightly(data=DataDrift(), accuracy=rule, at_least=1, prune=Prune(enabled=False)))
    told.watch(monkeypatch)
    told.released()
    chance = random.Random(1)
    answers, labels = ["request_id,model_version,prediction,time"], ["request_id,label"]
    for number in range(2 * rows):
        wrong = chance.random() < (recent if number >= rows else 0.1)
        day = 1 if number < rows else 25
        answers.append(f"{number},{version},{'no' if wrong else 'yes'},2026-03-{day:02} 03:00:00")
        labels.append(f"{number},yes")
    project = told.world.places.project
    project.mkdir(parents=True, exist_ok=True)
    (project / "answers.csv").write_text("\n".join(answers) + "\n")
    (project / "labels.csv").write_text("\n".join(labels) + "\n")
    told.world.clock.sleep(DAY)
    return nightly.run(told.context)


@pytest.mark.parametrize(("recent", "retrain"), [(0.1, False), (0.3, True)])
def test_the_champions_decay_over_time_starts_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recent: float, retrain: bool
) -> None:
    result = night(tmp_path, monkeypatch, recent=recent)
    assert (result.verdict, result.evidence["retrain"]) == (Verdict.PASS, retrain)
    (reason,) = [reason for reason in result.reasons if reason.check.endswith("accuracy")]
    assert "of 600 recent answers" in reason.summary
    assert "5.00% is decay" in reason.summary


@pytest.mark.parametrize("few", [{"rows": 50}, {"version": "7"}])
def test_too_few_answers_of_the_champion_itself_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: dict[str, object]
) -> None:
    result = night(tmp_path, monkeypatch, recent=0.9, **few)  # type: ignore[arg-type]
    assert result.evidence["retrain"] is False
    assert any("needed to tell" in reason.summary for reason in result.reasons)


@pytest.mark.parametrize(("recent", "retrain"), [(0.1, False), (0.5, True)])
def test_answers_joined_with_their_labels_are_held_to_a_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recent: float, retrain: bool
) -> None:
    floor = Decay(labels="labels.csv", predictions="answers.csv", at_least=0.8)
    result = night(tmp_path, monkeypatch, recent=recent, rule=floor)
    assert (result.verdict, result.evidence["retrain"]) == (Verdict.PASS, retrain)
    assert any("over 1200 rows, at least 0.8 wanted" in reason.summary for reason in result.reasons)
    other = night(tmp_path / "other", monkeypatch, recent=recent, rule=floor, version="7")
    assert any("0 rows have their truth" in reason.summary for reason in other.reasons)
