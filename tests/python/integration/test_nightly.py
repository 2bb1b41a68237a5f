"""``nightly`` on fakes of the outside, with real files, a real git repository and the real ledger."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from fakes import Crash
from mlpipeline.config.sections.data import Data, DataFile
from mlpipeline.config.sections.night import DataDrift, Decay, LiveDrift, Nightly, Prune
from mlpipeline.config.values import Duration
from mlpipeline.core.traffic import TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import EnvironmentFault
from mlpipeline.ports import Sample
from mlpipeline.record.lease import Holder, Lease
from mlpipeline.record.result import Result
from mlpipeline.verbs import deploy, nightly, switch
from release_story import Story

NIGHT = 24 * 3600.0
AGES = DataDrift(file="new.csv", reference="old.csv", min_rows=100)


def table(path: Path, *, shift: float = 0.0, rows: int = 400, seed: int = 1, columns: str = "age,city") -> None:
    chance = random.Random(seed)
    names = columns.split(",")
    made = {
        "age": lambda: f"{chance.gauss(40 + shift, 10):.3f}",
        "city": lambda: chance.choice("ab" if not shift else "bc"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(made[name]() for name in names) for _ in range(rows)]
    path.write_text("\n".join([columns, *lines]) + "\n")


def story(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Story:
    """A service with one champion, its project's old and newest data side by side."""
    told = Story(folder, nightly=Nightly(**{"data": AGES, "prune": Prune(enabled=False), **settings}))  # type: ignore[arg-type]
    told.watch(monkeypatch)
    told.released()
    table(told.world.places.project / "old.csv")
    table(told.world.places.project / "new.csv", seed=2)
    return told


def night(told: Story) -> Result:
    told.world.clock.sleep(NIGHT)
    return nightly.run(told.context)


def drift(told: Story) -> None:
    table(told.world.places.project / "new.csv", shift=30, seed=3)


def test_steady_data_starts_nothing_and_is_journalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch)
    result = night(told)
    assert (result.verdict, result.evidence["retrain"]) == (Verdict.PASS, False)
    assert result.summary == "no retraining: data steady"
    entry = told.context.ledger.read()[-1]
    assert (entry.event, entry.facts["data"], entry.facts["retrain"]) == ("nightly", "steady", "no")


def test_drift_calls_for_a_retraining_on_the_second_night_not_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch)
    drift(told)
    first = night(told)
    assert first.evidence["retrain"] is False
    assert first.summary.startswith("no retraining yet, it takes more looks: data: 2 of 2 columns drifted")
    assert nightly.run(told.context).evidence["retrain"] is False, "the same night again is no second night"
    second = night(told)
    assert second.evidence["retrain"] is True
    assert "age" in str(second.evidence["reason"]) and "2 of the last 2 looks" in str(second.evidence["reason"])


def test_a_retraining_answers_the_looks_before_it_whatever_became_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch)
    drift(told)
    night(told)
    assert night(told).evidence["retrain"] is True
    assert night(told).evidence["retrain"] is True, "nothing was trained, so it is still due"
    told.context.note("train", verdict="pass", summary="trained, and the model gate refused it")
    assert night(told).evidence["retrain"] is False
    assert night(told).evidence["retrain"] is True


@pytest.mark.parametrize(("silence", "safe"), [(60.0, True), (0.0, False)])
def test_a_release_that_lost_its_worker_is_made_safe_where_that_is_wanted(
    silence: float, safe: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = story(tmp_path, monkeypatch, if_silent_for=Duration(silence))
    run = told.packaged()
    deploy.run(told.context, run)
    told.world.fuse.left = 2
    with pytest.raises(Crash):
        switch.run(told.context, run)
    told.world.fuse.left = -1
    plan = told.world.target.plan
    assert plan is not None and plan.share
    reasons = [reason for reason in night(told).reasons if reason.check == "nightly.resume"]
    assert (told.world.target.plan == TrafficPlan.all_to(plan.live)) is safe
    assert bool(reasons) is safe
    assert not safe or reasons[0].verdict is Verdict.PASS


def test_looks_at_an_earlier_champion_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch)
    drift(told)
    night(told)
    told.released()
    assert night(told).evidence["retrain"] is False


def test_a_column_that_is_gone_has_drifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, at_least=1)
    table(told.world.places.project / "new.csv", columns="age", seed=2)
    result = night(told)
    assert result.evidence["retrain"] is True
    assert "city is gone" in result.summary


def test_few_rows_and_a_missing_file_are_open_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, at_least=1)
    table(told.world.places.project / "new.csv", rows=20, shift=30)
    result = night(told)
    assert (result.verdict, result.evidence["retrain"]) == (Verdict.INCONCLUSIVE, False)
    assert "100 needed to tell" in result.summary
    (told.world.places.project / "new.csv").unlink()
    result = night(told)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "does not exist" in result.summary


def test_a_night_that_looks_at_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, data=DataDrift())
    assert night(told).verdict is Verdict.INCONCLUSIVE
    fresh = Story(tmp_path / "fresh", nightly=Nightly(data=AGES))
    result = nightly.run(fresh.context)
    assert (result.verdict, result.evidence["retrain"]) == (Verdict.INCONCLUSIVE, False)
    assert "released yet" in result.summary


def test_a_release_under_way_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlpipeline.verbs import deploy

    told = story(tmp_path, monkeypatch, at_least=1)
    drift(told)
    deploy.run(told.context, told.packaged())
    result = night(told)
    assert result.evidence["retrain"] is False
    assert "is under way" in result.summary


def git(project: Path, *words: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c"}
    return subprocess.run(
        ["git", *words], cwd=project, env={**os.environ, **who}, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_reference_is_the_data_of_the_champions_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = DataDrift(file="new.csv", min_rows=100)
    told = Story(
        tmp_path,
        data=Data(files={"people": DataFile(path="people.csv")}),
        nightly=Nightly(data=rule, at_least=1, prune=Prune(enabled=False)),
    )
    told.watch(monkeypatch)
    project = told.world.places.project
    table(project / "people.csv")
    git(project, "init", "--quiet")
    git(project, "add", "people.csv")
    git(project, "commit", "--quiet", "--message", "old")
    made = told.released()
    record = told.context.runs.folder(made.id) / "run.json"
    record.write_text(record.read_text().replace("c" * 40, git(project, "rev-parse", "HEAD")))
    # The file in the checkout moves on together with the newest data: only the commit knows what the champion saw.
    table(project / "people.csv", shift=30)
    table(project / "new.csv", shift=30, seed=4)
    assert night(told).evidence["retrain"] is True


LIVE = LiveDrift(enabled=True, window=Duration(3600), before=Duration(7200), min_predictions=100)


def predictions(told: Story, span: str, **classes: float) -> None:
    query = 'sum by (label) (increase(mlpipeline_predictions_total{service="iris",model_version="1",traffic="live"}' + f"{span}))"
    told.world.metrics.instants[query] = [Sample({"label": label}, value, 0.0) for label, value in classes.items()]


def test_live_predictions_are_compared_with_the_champions_own_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, data=DataDrift(), live=LIVE, at_least=1)
    predictions(told, "[7200s] offset 3600s", yes=500, no=500)
    predictions(told, "[3600s]", yes=260, no=240)
    assert night(told).summary == "no retraining: live steady"
    predictions(told, "[3600s]", yes=450, no=50)
    result = night(told)
    assert result.evidence["retrain"] is True
    assert "class yes: 50.0% before, 90.0% now" in result.reasons[0].sample


def test_live_numbers_are_compared_by_their_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, data=DataDrift(), live=LIVE, at_least=1)
    for span, counts in (("[7200s] offset 3600s", (400, 500, 500)), ("[3600s]", (50, 500, 500))):
        query = (
            'sum by (le) (increase(mlpipeline_prediction_value_bucket{service="iris",model_version="1",traffic="live"}'
            + f"{span}))"
        )
        told.world.metrics.instants[query] = [
            Sample({"le": le}, value, 0.0)
            for le, value in zip(("0.5", "+Inf", "1"), (counts[0], counts[2], counts[1]), strict=True)
        ]
    assert night(told).evidence["retrain"] is True


def test_windows_that_prometheus_forgot_are_kept_as_summaries_and_added_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = LiveDrift(enabled=True, window=Duration(NIGHT), before=Duration(2 * NIGHT), min_predictions=100)
    told = story(tmp_path, monkeypatch, data=DataDrift(), live=rule, at_least=1)
    for yes, no in ((300, 300), (200, 200)):
        predictions(told, f"[{NIGHT:.0f}s]", yes=yes, no=no)
        night(told)
    predictions(told, f"[{NIGHT:.0f}s]", yes=450, no=50)
    result = night(told)
    found = result.evidence["looks"]["live"]  # type: ignore[index]
    assert found["numbers"]["predictions_before"] == 1000
    assert found["numbers"]["effect"] == pytest.approx(0.4)
    assert result.evidence["retrain"] is True
    kept = sorted((told.world.places.state / "windows").rglob("*.sketch"))
    assert len(kept) == 3
    assert all(file.stat().st_size < 2000 for file in kept)
    kept[1].write_bytes(b"damaged")
    again = night(told).evidence["looks"]["live"]  # type: ignore[index]
    assert again["numbers"]["predictions_before"] == 1100, "all but the damaged one"
    assert night(told).evidence["looks"]["live"]["numbers"]["predictions_before"] == 1000, "what is too old is gone"  # type: ignore[index]


def test_a_silent_or_absent_prometheus_is_no_drift_and_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, data=DataDrift(), live=LIVE, at_least=1)
    result = night(told)
    assert (result.verdict, result.evidence["retrain"]) == (Verdict.INCONCLUSIVE, False)
    assert "0 predictions now" in result.summary
    told.world.metrics.unreachable = True
    result = night(told)
    assert (result.verdict, result.evidence["retrain"]) == (Verdict.INCONCLUSIVE, False)
    assert "cannot be reached" in result.summary


def test_one_broken_look_does_not_hide_what_another_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, live=LIVE, at_least=1)
    told.world.metrics.unreachable = True
    drift(told)
    result = night(told)
    assert (result.verdict, result.evidence["retrain"]) == (Verdict.INCONCLUSIVE, True)
    assert result.summary.startswith("retrain: data")


def test_late_labels_show_decay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Decay(labels="late.csv", at_least=0.8, min_rows=10)
    told = story(tmp_path, monkeypatch, data=DataDrift(), accuracy=rule, at_least=1)
    file = told.world.places.project / "late.csv"
    file.write_text("label,prediction\n" + "a,a\n" * 18 + "a,b\n" * 2 + ",b\n" * 50)
    assert night(told).evidence["retrain"] is False
    file.write_text("label,prediction\n" + "a,a\n" * 10 + "a,b\n" * 10)
    result = night(told)
    assert result.evidence["retrain"] is True
    assert "accuracy is 0.5 over 20 rows, at least 0.8 wanted" in result.summary
    file.write_text("label,prediction\n" + "a,b\n" * 5)
    assert night(told).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("answers", "retrain", "verdict"),
    [
        ([0.9], False, Verdict.PASS),
        ([0.4], True, Verdict.PASS),
        ([float("nan")], False, Verdict.INCONCLUSIVE),
        ([], False, Verdict.INCONCLUSIVE),
        ([0.4, 0.4], False, Verdict.INCONCLUSIVE),
    ],
)
def test_accuracy_by_a_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[float], retrain: bool, verdict: Verdict
) -> None:
    rule = Decay(query='accuracy{service="{{service}}",version="{{version}}"}', at_least=0.8)
    told = story(tmp_path, monkeypatch, data=DataDrift(), accuracy=rule, at_least=1)
    told.world.metrics.instants['accuracy{service="iris",version="1"}'] = [Sample({}, value, 0.0) for value in answers]
    result = night(told)
    assert (result.evidence["retrain"], result.verdict) == (retrain, verdict)


def bundle(told: Story, lock: str, *, days: float, name: str = "x") -> Path:
    """A package that needs this environment, both so many days old."""
    from mlpipeline.adapters.bundle import File, Manifest

    manifest = Manifest(files=(File(name, "0" * 64, 1, "0644"),), lock=f"sha256:{lock * 64}", python="3.11")
    places = told.world.places
    folder, environment = places.bundles / manifest.digest.removeprefix("sha256:"), places.environments / (lock * 64)
    for made in (folder, environment):
        made.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_bytes(manifest.encoded())
    at = told.world.clock.now().timestamp() - days * NIGHT
    for path in (folder / "manifest.json", folder, environment):
        os.utime(path, (at, at))
    return folder


def test_pruning_removes_what_nothing_needs_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, prune=Prune(runs=2))
    needed = bundle(told, "a", days=-10)
    told.released(f"sha256:{needed.name}")
    told.world.clock.sleep(100 * NIGHT)
    young = bundle(told, "b", days=2)
    forgotten = bundle(told, "c", days=90)
    shared = bundle(told, "a", days=90, name="y")
    calls = told.world.places.work / "calls"
    (calls / "1-train").mkdir(parents=True)
    os.utime(calls / "1-train", (0, 0))
    result = nightly.run(told.context)
    environments = {path.name[0] for path in told.world.places.environments.iterdir()}
    assert (needed.exists(), young.exists(), forgotten.exists(), shared.exists()) == (True, True, False, False)
    assert environments == {"a", "b"}
    assert not (calls / "1-train").exists()
    assert result.evidence["pruned"]["bundles"] == 2  # type: ignore[index]
    assert not list(told.world.places.home.glob(".old-*"))


def test_old_runs_go_and_those_of_champion_and_previous_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, prune=Prune(runs=1))
    made = [told.packaged() for _ in range(3)]
    last = told.released()
    told.world.clock.sleep(100 * NIGHT)
    result = nightly.run(told.context)
    assert list(result.evidence["pruned"]["runs"]) == [run.id for run in made]  # type: ignore[index]
    assert [run.id for run in told.context.runs.all()] == ["run-001", last.id]


def test_a_package_of_another_service_or_of_a_running_process_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, prune=Prune())
    other = Story(tmp_path)
    other.world.places = type(other.world.places)(project=tmp_path / "other", home=told.world.places.home, service="other")
    other.watch(monkeypatch)
    kept = bundle(told, "d", days=90)
    other.released(f"sha256:{kept.name}")
    serving = bundle(told, "e", days=90)
    process = subprocess.Popen(["/bin/sh", "-c", "read _", "--model", str(serving / "model")], stdin=subprocess.PIPE)
    try:
        nightly.run(told.context)
        assert kept.exists() and serving.exists()
        lease = Lease(other.world.places.lease)
        lease.acquire(Holder(pid=1, host="h", user="u", run="r", since="now"))
        free = bundle(told, "f", days=90)
        result = nightly.run(told.context)
        assert free.exists()
        assert "a worker is at work on other" in str(result.evidence["pruned"])
        lease.release()
        nightly.run(told.context)
        assert not free.exists()
    finally:
        process.communicate(b"\n", timeout=60)


def test_pruning_that_fails_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch, prune=Prune())
    journal = told.world.places.state.parent / "other" / "release.json"
    journal.parent.mkdir()
    journal.write_text("{")
    old = bundle(told, "a", days=90)
    result = nightly.run(told.context)
    assert (result.verdict, old.exists()) == (Verdict.PASS, True)
    assert "journal cannot be read" in result.reasons[-1].summary


def test_a_broken_ledger_is_told_and_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = story(tmp_path, monkeypatch)
    ledger = told.world.places.ledger
    ledger.write_text(ledger.read_text().replace("live", "lives", 1))
    with pytest.raises(EnvironmentFault, match="ledger"):
        nightly.run(told.context)
