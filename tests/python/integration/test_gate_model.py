"""``gate model`` with real MLflow models in a process of their own, and with processes that end badly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gate_project import CHAMPION, NO_WORSE, RUN, Project, fake_python, holdout, verdicts
from mlpipeline.config.sections.model_gate import Latency, MetricGate, ModelGate, NonInferiority
from mlpipeline.config.sections.packaging import Package
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.ports import Observed
from mlpipeline.verbs import model_judging
from tiny_model import save_tiny_model


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.real
def test_first_release_is_judged_by_thresholds_slices_and_latency(project: Project) -> None:
    save_tiny_model(project.model)
    metrics = (
        MetricGate(metric="roc_auc", at_least=0.8, no_worse_than_champion=NonInferiority(margin=0.01), slices=("origin",)),
        MetricGate(metric="log_loss", at_most=0.6),
    )
    result = project.judge(metrics, positive="late", latency=Latency(p99=60.0, predictions=5))
    assert result.verdict is Verdict.PASS, result.summary
    assert verdicts(result) == dict.fromkeys(
        (
            "latency.p99",
            "metric.roc_auc.at_least",
            "metric.roc_auc.no_worse_than_champion",
            "metric.roc_auc.slice.origin",
            "metric.log_loss.at_most",
        ),
        Verdict.PASS,
    )
    evidence = result.evidence
    assert (evidence["rows"], evidence["label"], evidence["holdout_uses"]) == (400, "state", 1)
    assert "champion" not in evidence
    rows = evidence["metrics"]
    assert isinstance(rows, list)
    assert [row.get("slice") for row in rows] == [None, "origin=EWR", "origin=JFK", None]
    assert evidence["latency"]["predictions"] == 5  # type: ignore[index]
    assert project.context(ModelGate()).runs.result(RUN.id, "gate-model") == result


@pytest.mark.real
def test_champion_is_scored_once_per_holdout_and_an_unchanged_call_does_no_work(project: Project) -> None:
    save_tiny_model(project.model)
    project.champion()
    result = project.judge(NO_WORSE)
    assert result.verdict is Verdict.PASS, result.summary
    (row,) = result.evidence["metrics"]  # type: ignore[misc]
    assert row["low"] <= row["difference"] <= row["high"]
    assert result.evidence["champion"] == {"digest": CHAMPION, "model_version": "7"}
    assert project.asked == ["the candidate", "the champion"]

    assert project.judge(NO_WORSE) == result
    assert project.asked == ["the candidate", "the champion"]

    project.trained("sha256:" + "b" * 64)
    again = project.judge(NO_WORSE)
    assert project.asked == ["the candidate", "the champion", "the candidate"]
    (first,), (second,) = result.evidence["metrics"], again.evidence["metrics"]  # type: ignore[misc]
    assert (second["candidate"], second["champion"]) == (first["candidate"], first["champion"])
    assert second["confidence"] > first["confidence"] > 0.95, "each comparison on one holdout is judged harder"
    assert again.evidence["holdout_uses"] == 2


@pytest.mark.real
def test_a_metric_of_probabilities_may_be_added_after_the_champion_was_scored(project: Project) -> None:
    project.champion()
    save_tiny_model(project.model)
    project.judge(NO_WORSE)
    ranked = MetricGate(metric="roc_auc", no_worse_than_champion=NonInferiority(margin=0.05))
    result = project.judge((*NO_WORSE, ranked))
    assert result.verdict is Verdict.PASS, [reason.summary for reason in result.reasons]


@pytest.mark.real
def test_a_model_that_raises_on_a_row_is_stopped_with_its_own_words(project: Project) -> None:
    save_tiny_model(project.model, broken=True)
    frame = holdout()
    frame.loc[5, "delay"] = np.nan
    project.write(frame)
    result = project.judge()
    assert result.verdict is Verdict.FAIL
    assert result.reasons[0].check == "candidate.scoring"
    assert "cannot predict the holdout: ValueError" in result.summary


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os._exit(3)", "exit 3"),
        ("os.kill(os.getpid(), 11)", "crashed with SIGSEGV"),
        ("pass", "before the predictions were complete"),
        ("answer(['late'] * 3)", "3 predictions for 400 rows"),
        ("answer([''] * 400)", "400 of 400 are NaN or empty"),
        ("answer(['on time'] * 400)", "no prediction is one of the labels"),
    ],
)
def test_a_candidate_that_gives_no_usable_answer_fails_and_says_how(project: Project, code: str, words: str) -> None:
    save_tiny_model(project.model)
    project.python = fake_python(project.folder, code)
    result = project.judge()
    assert result.verdict is Verdict.FAIL
    assert words in result.summary


def test_a_candidate_may_import_what_the_package_will_hold_and_nothing_else(project: Project) -> None:
    save_tiny_model(project.model)
    folder = project.places.project
    (folder / "features").mkdir()
    (folder / "features" / "__init__.py").write_text("")
    (folder / "secret.py").write_text("")
    labels = json.dumps(holdout()["state"].tolist())
    found = "from importlib.util import find_spec\nassert find_spec('secret') is None\nassert find_spec('features')\n"
    project.python = fake_python(project.folder, f"{found}answer({labels})")
    assert project.judge(package=Package(include=("features",))).verdict is Verdict.PASS
    with pytest.raises(ConfigurationError, match=r"package\.include is not in the project"):
        project.judge(package=Package(include=("../home",)), seed=1)


def test_a_hanging_candidate_is_ended_at_the_limit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny_model(project.model)
    project.python = fake_python(
        project.folder, f"Path({str(project.folder / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(600)"
    )
    monkeypatch.setattr(model_judging, "SCORING_LIMIT", 2.0)
    result = project.judge()
    assert result.verdict is Verdict.FAIL
    assert "did not predict the holdout in 2 s" in result.summary
    started = project.folder / "pid"
    assert not started.exists() or not Path(f"/proc/{started.read_text()}").exists()


def test_a_killed_scoring_is_no_verdict_on_the_model(project: Project) -> None:
    save_tiny_model(project.model)
    project.python = fake_python(project.folder, "os.kill(os.getpid(), 9)")
    with pytest.raises(EnvironmentFault, match="ended with SIGKILL"):
        project.judge()


def test_a_champion_that_cannot_be_scored_is_an_error_and_not_the_candidates_fault(project: Project) -> None:
    save_tiny_model(project.model)
    project.champion()
    good = json.dumps(holdout()["state"].tolist())
    code = f"answer({good}) if request['model'].endswith('project/model') else os._exit(9)"
    project.python = fake_python(project.folder, code)
    result = project.judge(NO_WORSE)
    assert result.verdict is Verdict.ERROR
    assert verdicts(result) == {"champion.scoring": Verdict.ERROR, "metric.accuracy.no_worse_than_champion": Verdict.ERROR}


def test_a_worse_candidate_is_stopped_with_the_numbers(project: Project) -> None:
    save_tiny_model(project.model)
    project.champion()
    labels = holdout()["state"].tolist()
    worse = ["late"] * 60 + labels[60:]
    code = f"answer({json.dumps(worse)} if request['model'].endswith('project/model') else {json.dumps(labels)})"
    project.python = fake_python(project.folder, code)
    result = project.judge(NO_WORSE)
    (row,) = result.evidence["metrics"]  # type: ignore[misc]
    wrong = sum(label != "late" for label in labels[:60])
    assert result.verdict is Verdict.FAIL
    assert row["difference"] == pytest.approx(-wrong / 400)
    assert row["high"] < 0
    assert "worse than the allowed 0.05" in result.summary


def test_a_missing_champion_fails_when_the_policy_says_so(project: Project) -> None:
    save_tiny_model(project.model)
    project.python = fake_python(project.folder, f"answer({json.dumps(holdout()['state'].tolist())})")
    assert project.judge(NO_WORSE, no_champion="fail").verdict is Verdict.FAIL
    assert project.judge(NO_WORSE, no_champion="pass").verdict is Verdict.PASS


def test_nobody_is_called_champion_while_the_router_is_down(project: Project) -> None:
    save_tiny_model(project.model)
    project.champion()
    project.observed = Observed(project.observed.colours, None, "down")
    with pytest.raises(EnvironmentFault, match="router is down") as caught:
        project.judge(NO_WORSE)
    assert "mlpipeline rollback" in caught.value.render()


def test_a_live_colour_nobody_knows_anything_of_is_not_no_champion(project: Project) -> None:
    save_tiny_model(project.model)
    project.champion()
    project.observed = Observed({}, project.observed.plan)
    with pytest.raises(EnvironmentFault, match="of which the target knows nothing"):
        project.judge(NO_WORSE, no_champion="pass")


def test_labels_of_one_class_leave_no_area_to_judge(project: Project) -> None:
    save_tiny_model(project.model)
    project.write(holdout().assign(state="late"))
    project.python = fake_python(project.folder, "answer(['late'] * 400)")
    result = project.judge((MetricGate(metric="roc_auc", at_least=0.5),))
    assert result.verdict is Verdict.FAIL
    assert "needs" in result.summary


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ({"label": "lateness"}, "no column 'lateness', the label"),
        ({"metrics": (MetricGate(metric="accuracy", at_least=0.5, slices=("airport",)),)}, "no column 'airport', the slice"),
        ({"metrics": (MetricGate(metric="acuracy", at_least=0.5),)}, "no metric 'acuracy'"),
        ({"metrics": (MetricGate(metric="accuracy"),)}, "has no rule"),
        ({"metrics": ()}, "no rule"),
        ({"holdout": "other.parquet"}, "does not exist"),
        ({"positive": "Late"}, "'Late' is none of the labels"),
        ({"metrics": (MetricGate(metric="mae", at_most=0.5),)}, "the label is text"),
    ],
)
def test_a_gate_that_does_not_fit_the_holdout_is_a_configuration_error(
    project: Project, gate: dict[str, Any], words: str
) -> None:
    save_tiny_model(project.model)
    with pytest.raises(ConfigurationError, match=words):
        project.judge(**gate)
    assert project.asked == []


@pytest.mark.parametrize(("content", "words"), [(b"PAR1 and then nothing", "cannot be read"), (b"", "cannot be read")])
def test_a_corrupt_holdout_is_told_apart(project: Project, content: bytes, words: str) -> None:
    (project.places.project / "holdout.parquet").write_bytes(content)
    with pytest.raises(ConfigurationError, match=words):
        project.judge()


def test_a_holdout_without_rows_is_refused(project: Project) -> None:
    project.write(holdout().head(0))
    with pytest.raises(ConfigurationError, match="has no rows"):
        project.judge()


def test_a_holdout_without_a_label_in_some_rows_is_refused(project: Project) -> None:
    frame = holdout()
    frame.loc[[3, 4], "state"] = None
    project.write(frame)
    with pytest.raises(ConfigurationError, match="2 of 400 rows of the holdout have no label"):
        project.judge()


def test_without_a_holdout_there_is_no_gate_and_the_result_says_so(project: Project) -> None:
    result = project.judge(holdout="")
    assert result.verdict is Verdict.PASS
    assert "no model gate" in result.summary
