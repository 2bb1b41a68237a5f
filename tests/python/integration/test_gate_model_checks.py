"""``gate model`` beyond its own metrics, with scripts in the place of models: scorers, functions, conditions, groups, waivers."""

from __future__ import annotations

import csv
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gate_project import NO_WORSE, RUN, Project, Said, holdout, verdicts
from mlpipeline.config.sections.model_gate import (
    AgreedCondition,
    Behaviour,
    Fairness,
    Importance,
    MetricGate,
    ModelGate,
    NonInferiority,
    Reuse,
)
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Result
from mlpipeline.verbs import gate_model_plan, waive


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project's own Python, in which its functions run, is the one of these tests."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return Project(tmp_path)


@pytest.fixture
def said(project: Project) -> Said:
    """The candidate is right in 380 of 400 rows, the champion in 370."""
    said = Said(project)
    project.champion()
    labels = holdout()["state"].tolist()
    said.labels("ours", flipped(labels, range(20)))
    said.labels("theirs", flipped(labels, range(10, 40)))
    return said


def flipped(labels: list[str], rows: Any) -> list[str]:
    other = {"late": "punctual", "punctual": "late"}
    chosen = set(rows)
    return [other[label] if row in chosen else label for row, label in enumerate(labels)]


def metric_rows(result: Result) -> list[dict[str, Any]]:
    rows = result.evidence["metrics"]
    assert isinstance(rows, list)
    return rows


def test_a_scorer_of_scikit_learn_is_compared_with_the_champion(project: Project, said: Said) -> None:
    del said
    rule = MetricGate(metric="matthews_corrcoef", at_least=0.8, no_worse_than_champion=NonInferiority(margin=0.02))
    result = project.judge((rule,), resamples=100)
    from sklearn.metrics import matthews_corrcoef

    labels = holdout()["state"].tolist()
    (row,) = metric_rows(result)
    assert row["candidate"] == pytest.approx(matthews_corrcoef(labels, flipped(labels, range(20))))
    assert row["champion"] == pytest.approx(matthews_corrcoef(labels, flipped(labels, range(10, 40))))
    assert row["low"] < row["difference"] < row["high"]
    assert result.verdict is Verdict.PASS, result.summary


def test_a_function_of_the_project_gets_what_it_names_and_may_answer_one_number_per_row(project: Project, said: Said) -> None:
    del said
    (project.places.project / "measures.py").write_text(
        "def cost(y_true, y_pred, rows):\n"
        "    assert list(rows.columns) == ['distance', 'delay', 'hour', 'origin', 'state']\n"
        "    return (y_true != y_pred) * rows['distance'].to_numpy()\n"
        "def share(truth, said):\n"
        "    return float((truth == said).mean())\n"
    )
    rules = (
        MetricGate(metric="measures:cost", larger_is_better=False, no_worse_than_champion=NonInferiority(margin=50.0)),
        MetricGate(metric="measures:share", at_least=0.9, slices=("origin", "distance > 1500")),
    )
    result = project.judge(rules, resamples=200)
    assert result.verdict is Verdict.PASS, [reason.summary for reason in result.reasons]
    frame, labels = holdout(), holdout()["state"].tolist()
    wrong = np.array(labels) != np.array(flipped(labels, range(20)))
    cost, share, *slices = metric_rows(result)
    assert cost["candidate"] == pytest.approx(float((wrong * frame["distance"]).mean()))
    assert cost["difference"] > 0
    assert share["candidate"] == 0.95
    assert [row["slice"] for row in slices] == ["origin=EWR", "origin=JFK", "distance > 1500"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('no such luck')", "it raised RuntimeError: no such luck"),
        ("return float('nan')", "returned nan"),
        ("return None", "returned nothing"),
        ("return 'good'", "no number"),
        ("return [1.0, 2.0]", "shape (2,) for 400 rows"),
        ("import os; os._exit(7)", "exit 7"),
    ],
)
def test_a_metric_that_raises_or_is_no_number_fails_with_its_own_words(
    project: Project, said: Said, body: str, words: str
) -> None:
    del said
    (project.places.project / "measures.py").write_text(f"def bad(y_true, y_pred):\n    {body}\n")
    result = project.judge((MetricGate(metric="measures:bad", at_least=0.1),))
    assert result.verdict is Verdict.FAIL
    assert words in result.summary


def test_generated_text_is_judged_by_a_function_alone(project: Project) -> None:
    said = Said(project)
    project.champion()
    frame = holdout().assign(state=[f"flight {row} was on time" for row in range(400)])
    project.write(frame)
    said.labels("ours", [f"Flight {row} was on time." for row in range(400)])
    said.labels("theirs", ["I do not know"] * 400)
    (project.places.project / "measures.py").write_text(
        "def overlap(y_true, y_pred):\n"
        "    words = lambda text: set(text.lower().strip('.').split())\n"
        "    return [len(words(a) & words(b)) / len(words(a) | words(b)) for a, b in zip(y_true, y_pred)]\n"
    )
    rule = MetricGate(metric="measures:overlap", at_least=0.9, better_than_champion=True)
    result = project.judge((rule,))
    assert result.verdict is Verdict.PASS, result.summary


def test_a_ranking_is_drawn_by_query(project: Project) -> None:
    said = Said(project)
    project.champion()
    random = np.random.default_rng(3)
    frame = holdout().assign(state=random.integers(0, 4, 400).astype(float), query=np.repeat(np.arange(40), 10))
    project.write(frame)
    relevance = frame["state"].to_numpy()
    said.labels("ours", (relevance + random.normal(0, 0.5, 400)).tolist())
    said.labels("theirs", (relevance + random.normal(0, 3.0, 400)).tolist())
    rule = MetricGate(metric="ndcg", by="query", top=5, at_least=0.9, better_than_champion=True)
    result = project.judge((rule,))
    assert result.verdict is Verdict.PASS, result.summary
    (row,) = metric_rows(result)
    assert 0 < row["low"] < row["difference"]


def test_each_comparison_on_a_holdout_is_judged_harder_and_a_repetition_is_none(project: Project, said: Said) -> None:
    del said
    confidences = []
    for number in range(3):
        project.trained("sha256:" + f"{number}" * 64)
        result = project.judge(NO_WORSE)
        again = project.judge(NO_WORSE, resamples=2001 if number == 5 else 2000)
        assert again.evidence["holdout_budget"] == result.evidence["holdout_budget"]
        confidences.append(metric_rows(result)[0]["confidence"])
        assert result.evidence["holdout_budget"] == {"comparison": number + 1, "budget": 50, "left": 49 - number}
    assert 0.95 < confidences[0] < confidences[1] < confidences[2] < 1
    budget = next(reason for reason in result.reasons if reason.check == "holdout.budget")
    assert "comparison 3 of 50" in budget.summary
    looser = (MetricGate(metric="accuracy", no_worse_than_champion=NonInferiority(margin=0.2)),)
    assert project.judge(looser).evidence["holdout_budget"]["comparison"] == 4  # type: ignore[index]


@pytest.mark.parametrize(("policy", "verdict"), [("inconclusive", "inconclusive"), ("fail", "fail"), ("warn", "pass")])
def test_a_holdout_that_is_used_up_judges_nobody_any_more(project: Project, said: Said, policy: Any, verdict: str) -> None:
    del said
    reuse = Reuse(budget=1, used_up=policy)
    assert project.judge(NO_WORSE, reuse=reuse).verdict is Verdict.PASS
    project.trained("sha256:" + "b" * 64)
    result = project.judge(NO_WORSE, reuse=reuse)
    assert str(result.verdict) == verdict, result.summary
    assert "used up" in next(reason.summary for reason in result.reasons if reason.check == "holdout.budget")


def test_an_expression_no_row_meets_is_never_ignored(project: Project, said: Said) -> None:
    del said
    rule = MetricGate(metric="accuracy", at_least=0.5, slices=("origin == 'XXX'",))
    result = project.judge((rule,))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "has 0 rows" in result.summary


def test_a_slice_that_is_neither_column_nor_expression_is_refused(project: Project, said: Said) -> None:
    del said
    for text in ("distance >", "__import__('os').system('true')", "airport == 'JFK'", "distance > 'far'"):
        with pytest.raises(ConfigurationError, match=r"the slice|the holdout has no column"):
            project.judge((MetricGate(metric="accuracy", at_least=0.5, slices=(text,)),))


def test_slices_may_fail_only_on_a_loss_that_is_shown(project: Project) -> None:
    said = Said(project)
    project.champion()
    frame = holdout(4000).assign(group=np.arange(4000) % 40)
    project.write(frame)
    labels = frame["state"].tolist()
    said.labels("theirs", flipped(labels, range(0, 4000, 7)))
    said.labels("ours", flipped(labels, range(3, 4000, 7)))
    rule = MetricGate(metric="accuracy", no_worse_than_champion=NonInferiority(margin=0.02), slices=("group",))
    strict = project.judge((rule,))
    assert verdicts(strict)["metric.accuracy.slice.group"] is Verdict.FAIL
    shown = project.judge((rule,), slice_verdict="shown")
    assert verdicts(shown)["metric.accuracy.slice.group"] is Verdict.PASS
    harmed = [row for row in range(4000) if row % 40 == 3]
    said.labels("ours", flipped(labels, {*range(3, 4000, 7)} | {*harmed}))
    project.trained("sha256:" + "b" * 64)
    worse = project.judge((rule,), slice_verdict="shown")
    found = next(reason for reason in worse.reasons if reason.check == "metric.accuracy.slice.group")
    assert found.verdict is Verdict.FAIL
    assert found.numbers["worst"] == "group=3"
    assert found.numbers["not_passed"] == 1


def test_entities_that_repeat_widen_the_interval(project: Project) -> None:
    said = Said(project)
    project.champion()
    frame = pd.concat([holdout()] * 5, ignore_index=True).assign(user=list(range(400)) * 5)
    project.write(frame)
    labels = frame["state"].tolist()
    said.labels("ours", flipped(labels[:400], range(20)) * 5)
    said.labels("theirs", flipped(labels[:400], range(10, 40)) * 5)
    (alone,) = metric_rows(project.judge(NO_WORSE))
    (together,) = metric_rows(project.judge(NO_WORSE, cluster="user"))
    assert together["difference"] == alone["difference"]
    assert together["high"] - together["low"] > 1.8 * (alone["high"] - alone["low"])


CONDITION = "n - o > -0.05 +/- 0.05 /\\ d < 0.3 +/- 0.05"


def test_an_agreed_condition_needs_labels_only_where_the_models_disagree(project: Project, said: Said) -> None:
    frame = holdout()
    disagree = [*range(10), *range(20, 40)]
    frame.loc[[row for row in range(400) if row not in disagree], "state"] = None
    labels = holdout()["state"].tolist()
    project.write(frame)
    del said, labels
    condition = AgreedCondition(condition=CONDITION, reliability=0.9, adaptivity="none", steps=2)
    result = project.judge((), conditions=(condition,))
    assert result.verdict is Verdict.PASS, result.summary
    first, second = result.evidence["conditions"]  # type: ignore[misc]
    assert (first["rows"], first["labels"]) == (400, 30)
    assert (second["rows"], second["labels"]) == (400, 0)


def test_classes_that_no_labelled_row_has_are_still_told_apart(project: Project) -> None:
    said = Said(project)
    project.champion()
    frame = holdout().assign(state=[None] * 399 + ["a"])
    project.write(frame)
    said.labels("ours", ["b"] * 100 + ["a"] * 300)
    said.labels("theirs", ["c"] * 100 + ["a"] * 300)
    condition = AgreedCondition(condition="d < 0.1 +/- 0.02", reliability=0.9, adaptivity="none", steps=2)
    result = project.judge((), conditions=(condition,))
    assert result.verdict is Verdict.FAIL
    (clause,) = result.evidence["conditions"]  # type: ignore[misc]
    assert clause["estimate"] == 0.25


def test_without_enough_labels_the_third_value_and_the_plan_which_to_add(project: Project, said: Said) -> None:
    del said
    frame = holdout()
    frame.loc[frame.index > 0, "state"] = None
    project.write(frame)
    condition = AgreedCondition(condition=CONDITION, reliability=0.9, adaptivity="none", steps=2)
    gate: dict[str, Any] = {"conditions": (condition,), "positive": ""}
    result = project.judge((), **gate)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "--plan" in result.summary
    context = project.context(ModelGate(holdout="holdout.parquet", label="state", **gate))
    planned = gate_model_plan.run(context, RUN, interpreter=lambda _, subject: project.python(subject))
    with (project.places.run(RUN.id) / "label-first.csv").open() as file:
        rows = [int(row["row"]) for row in csv.DictReader(file)]
    assert rows
    assert set(rows) < {*range(1, 10), *range(20, 40)}
    assert planned.evidence["label_first"] == rows
    assert "Bennett" in planned.summary


def test_groups_that_are_treated_differently_are_shown_or_excluded_or_neither(project: Project) -> None:
    said = Said(project)
    frame = holdout(4000)
    project.write(frame)
    labels = frame["state"].to_numpy()
    unfair = np.where(frame["origin"] == "JFK", "late", labels)
    said.labels("ours", unfair.tolist())
    rule = Fairness(by="origin", demographic_parity=0.2, equal_opportunity=0.02, equalised_odds=0.2)
    result = project.judge((), fairness=(rule,), positive="late")
    assert verdicts(result) == {
        "fairness.origin.demographic_parity": Verdict.FAIL,
        "fairness.origin.equal_opportunity": Verdict.PASS,
        "fairness.origin.equalised_odds": Verdict.FAIL,
    }
    assert "too small to judge: LGA" in result.reasons[0].summary
    said.labels("ours", labels.tolist())
    project.trained("sha256:" + "b" * 64)
    few = project.judge((), fairness=(Fairness(by="origin", demographic_parity=0.03),), positive="late")
    assert few.verdict is Verdict.INCONCLUSIVE


def test_with_more_than_two_classes_each_is_the_positive_one_in_turn(project: Project) -> None:
    said = Said(project)
    frame = holdout(4000)
    frame["state"] = np.where(frame["delay"] < 0, "early", frame["state"])
    project.write(frame)
    labels = frame["state"].to_numpy()
    said.labels("ours", np.where((frame["origin"] == "JFK") & (labels == "early"), "late", labels).tolist())
    rule = Fairness(by="origin", demographic_parity=0.1, equal_opportunity=0.1)
    result = project.judge((), fairness=(rule,), positive="")
    assert set(verdicts(result).values()) == {Verdict.FAIL}
    assert "in being called early" in next(one.summary for one in result.reasons if "opportunity" in one.check)
    assert "all classes" in result.reasons[0].summary


RULE_OF_DELAY = "answer(['late' if value > 15 else 'punctual' for value in columns()['delay']])"


def test_what_the_model_rests_on_is_found_by_shuffling(project: Project) -> None:
    said = Said(project)
    said.says("ours", RULE_OF_DELAY)
    gate = Importance(max_share=0.6, must_matter=("delay", "hour"), must_not_matter=("distance",), rows=300)
    result = project.judge((MetricGate(metric="accuracy", at_least=0.5),), importance=gate)
    assert verdicts(result)["importance.max_share"] is Verdict.FAIL
    assert verdicts(result)["importance.must_matter.delay"] is Verdict.PASS
    assert verdicts(result)["importance.must_matter.hour"] is Verdict.FAIL
    assert verdicts(result)["importance.must_not_matter.distance"] is Verdict.PASS


def test_behaviour_is_tested_from_a_file(project: Project) -> None:
    said = Said(project)
    said.says(
        "ours",
        "delay = columns()['delay']\nscore = 1 / (1 + np.exp(-(delay - 15) / 5))\n"
        "labels = ['late', 'punctual']\n"
        "answer([labels[int(one <= 0.5)] for one in score], np.column_stack([score, 1 - score]), labels)",
    )
    tests = {
        "tests": [
            {"name": "distance does not matter", "kind": "invariance", "change": {"distance": {"multiply": 2}}},
            {"name": "delay does not matter", "kind": "invariance", "change": {"delay": {"add": 30}}, "tolerance": 0.01},
            {
                "name": "later is later",
                "kind": "direction",
                "change": {"delay": {"add": 5}},
                "expect": "increases",
                "rows": "delay < 50",
            },
            {"name": "no one", "kind": "invariance", "change": {"hour": {"set": 3}}, "rows": "delay > 10000"},
            {"name": "plain cases", "kind": "minimum", "cases": [{"input": {"delay": 500.0}, "expect": "late"}]},
        ]
    }
    (project.places.project / "behaviour.yaml").write_text(json.dumps(tests))
    metrics = (MetricGate(metric="roc_auc", at_least=0.5),)
    result = project.judge(metrics, behaviour=Behaviour(file="behaviour.yaml"), positive="late")
    found = {check: verdict for check, verdict in verdicts(result).items() if check.startswith("behaviour.")}
    assert found == {
        "behaviour.distance does not matter": Verdict.PASS,
        "behaviour.delay does not matter": Verdict.FAIL,
        "behaviour.later is later": Verdict.PASS,
        "behaviour.no one": Verdict.INCONCLUSIVE,
        "behaviour.plain cases": Verdict.PASS,
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("tests: []", "cannot be read"),
        ("tests: [{name: a, kind: invarianc}]", "cannot be read"),
        ("tests: [{name: a, kind: invariance}]", "needs change"),
        ("tests: [{name: a, kind: direction, change: {delay: {add: 1}}}]", "direction needs expect"),
        ("tests: [{name: a, kind: invariance, change: {delai: {add: 1}}}]", "no column 'delai'"),
        ("tests: [{name: a, kind: invariance, change: {delay: {add: 1, set: 2}}}]", "one of set, add and multiply"),
        ("\t", "cannot be read"),
    ],
)
def test_a_file_of_tests_that_is_not_understood_is_refused(project: Project, said: Said, content: str, words: str) -> None:
    del said
    (project.places.project / "behaviour.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        project.judge(behaviour=Behaviour(file="behaviour.yaml"))


def test_size_and_memory_have_limits(project: Project, said: Said) -> None:
    del said
    result = project.judge(max_size="1KB", max_memory="60MB")
    assert verdicts(result)["model.size"] is Verdict.FAIL
    assert verdicts(result)["model.memory"] is Verdict.PASS
    assert result.evidence["memory_bytes"] == 50_000_000


@pytest.mark.parametrize(("policy", "verdict"), [("error", Verdict.ERROR), ("pass", Verdict.PASS), ("fail", Verdict.FAIL)])
def test_a_champion_that_cannot_be_used_is_what_was_declared(project: Project, said: Said, policy: Any, verdict: Verdict) -> None:
    said.says("theirs", "os._exit(9)")
    assert project.judge(NO_WORSE, champion_unusable=policy).verdict is verdict


@pytest.mark.parametrize(("policy", "verdict"), [("error", Verdict.ERROR), ("pass", Verdict.PASS), ("fail", Verdict.FAIL)])
def test_a_column_only_the_champion_needs_is_what_was_declared(
    project: Project, said: Said, policy: Any, verdict: Verdict
) -> None:
    del said
    description = project.model / "MLmodel"
    description.write_text(
        description.read_text()
        .replace('\\"name\\": \\"hour\\"', '\\"name\\": \\"origin\\"')
        .replace('"name": "hour"', '"name": "origin"')
    )
    project.write(holdout().drop(columns="hour"))
    result = project.judge(NO_WORSE, champion_lacks_column=policy)
    assert result.verdict is verdict, result.summary
    assert "no column hour" in " ".join(reason.summary for reason in result.reasons)
    with pytest.raises(ConfigurationError, match="no column 'hour'"):
        project.judge(NO_WORSE)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "f1", "roc_auc", "mae"])
def test_one_row_proves_nothing(project: Project, metric: str) -> None:
    said = Said(project)
    project.champion()
    project.write(holdout().assign(state=1.0).head(1))
    for who in ("ours", "theirs"):
        said.says(who, "answer([1.0], [[0.1, 0.9]], [0.0, 1.0])" if metric in {"log_loss", "roc_auc"} else "answer([1.0])")
    rule = MetricGate(metric=metric, no_worse_than_champion=NonInferiority(margin=0.05))
    result = project.judge((rule,))
    assert result.verdict in {Verdict.FAIL, Verdict.ERROR}, result.summary


def test_labels_no_number_can_hold_are_refused(project: Project, said: Said) -> None:
    del said
    with_large = holdout().assign(state=np.arange(400) + 2**53 + 1)
    project.write(with_large)
    with pytest.raises(ConfigurationError, match=r"integers beyond 2\^53"):
        project.judge()
    project.write(holdout().assign(state=[np.inf, *[1.0] * 399]))
    with pytest.raises(ConfigurationError, match="1 of 400 labels of the holdout are infinite"):
        project.judge((MetricGate(metric="mae", at_most=1.0),))


def test_columns_of_one_name_are_refused(project: Project, said: Said) -> None:
    del said
    import pyarrow
    import pyarrow.parquet

    columns = [pyarrow.array([1.0, 2.0])] * 3
    table = pyarrow.Table.from_arrays([*columns, pyarrow.array(["late", "late"])], names=["distance", "delay", "delay", "state"])
    pyarrow.parquet.write_table(table, project.places.project / "holdout.parquet")
    with pytest.raises(ConfigurationError, match=r"same name|cannot be read"):
        project.judge()


# --- waivers ------------------------------------------------------------------------------------------------------------


def day(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


TOO_HIGH = (MetricGate(metric="accuracy", at_least=0.99),)


def waived(project: Project, gate: Any = None, **words: Any) -> Result:
    context = project.context(ModelGate(**(gate or {})))
    return waive.run(
        context, RUN, **{"check": "metric.accuracy.at_least", "person": "ada", "why": "known", "until": day(3), **words}
    )


def test_a_waived_check_passes_and_says_who_until_when_and_why(project: Project, said: Said) -> None:
    del said
    assert project.judge(TOO_HIGH).verdict is Verdict.FAIL
    waived(project, why="the airport is closed")
    result = project.judge(TOO_HIGH)
    assert result.verdict is Verdict.PASS
    assert "waived until" in result.summary
    assert "by ada: the airport is closed" in result.summary
    (used,) = result.evidence["waivers"]  # type: ignore[misc]
    assert (used["who"], used["was"], used["checked"]) == ("ada", "fail", "metric.accuracy.at_least")
    entry = next(entry for entry in project.context(ModelGate()).ledger.read() if entry.event == "waived")
    assert entry.facts["why"] == "the airport is closed"
    context = project.context(ModelGate())
    assert not waive.lapsed(context, RUN, "gate-model")
    waived(project, revoke=True)
    assert waive.lapsed(context, RUN, "gate-model")
    assert project.judge(TOO_HIGH).verdict is Verdict.FAIL


def test_an_expired_waiver_is_told_and_helps_nobody(project: Project, said: Said) -> None:
    del said
    context = project.context(ModelGate())
    until = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    context.note("waived", facts={"check": "metric.*.at_least", "who": "ada", "why": "then", "until": until})
    result = project.judge(TOO_HIGH)
    assert result.verdict is Verdict.FAIL
    assert "the waiver of ada expired on" in result.summary
    late = next(reason for reason in result.reasons if reason.check == "waiver.metric.accuracy.at_least")
    assert late.verdict is Verdict.ERROR
    assert "mlpipeline waive" in late.summary


def test_a_waiver_of_one_model_is_none_for_the_next(project: Project, said: Said) -> None:
    del said
    project.judge(TOO_HIGH)
    waived(project, this_model=True)
    assert project.judge(TOO_HIGH).verdict is Verdict.PASS
    project.trained("sha256:" + "b" * 64)
    assert project.judge(TOO_HIGH).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"person": ""}, "name of a person"),
        ({"person": "Jenkins"}, "no person"),
        ({"why": " "}, "needs a reason"),
        ({"until": ""}, "needs an end"),
        ({"until": "soon"}, "no ISO date"),
        ({"until": "2020-01-01"}, "expired already"),
        ({"until": "2999-12-31"}, "at most 366 days"),
        ({"check": "*"}, "no gate at all"),
        ({"check": "candidate.scoring"}, "cannot be waived"),
        ({"check": "metric.acuracy.at_least"}, "no check 'metric.acuracy.at_least'"),
    ],
)
def test_a_waiver_without_person_reason_end_or_check_is_refused(
    project: Project, said: Said, words: dict[str, str], match: str
) -> None:
    del said
    if "check" in words:
        project.judge(TOO_HIGH)
    with pytest.raises(ConfigurationError, match=match):
        waived(project, **words)


def test_what_could_not_be_measured_cannot_be_waived(project: Project, said: Said) -> None:
    said.says("ours", "os._exit(9)")
    context = project.context(ModelGate())
    context.note("waived", facts={"check": "*", "who": "ada", "why": "then", "until": f"{day(3)}T00:00:00+00:00"})
    assert project.judge().verdict is Verdict.FAIL
