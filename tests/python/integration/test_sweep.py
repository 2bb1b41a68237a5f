"""Sweeps: many trainings in copies of the project, one winner, chosen on what the training itself measured."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest

from mlpipeline.config.combinations import problems
from mlpipeline.config.sections.model_gate import ModelGate
from mlpipeline.config.sections.training import Between, Parameter, Sweep
from mlpipeline.config.values import Duration
from mlpipeline.core.search import Range, draws, grid
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.verbs import train
from small_project import SmallProject, TrackingRegistry

_TRAIN = """
import json, os, pathlib, shutil, sys, time, yaml
params = yaml.safe_load(pathlib.Path("params.yaml").read_text())
trees, seed = params["forest"]["trees"], params["seed"]
pathlib.Path(NOTES, str(os.environ["MLPIPELINE_TRIAL"])).write_text(
    json.dumps({"gpu": os.environ.get("CUDA_VISIBLE_DEVICES", ""), "folder": os.getcwd()}))
if trees == 13:
    sys.exit("an unlucky number")
assert not pathlib.Path("model").exists()
shutil.copytree(MADE, "model")
pathlib.Path("model", "trees.txt").write_text(str(trees))
pathlib.Path("metrics.json").write_text(json.dumps({"auc": float("nan") if trees == 0 else trees / 100 + seed / 1000}))
"""
TREES = Sweep(metric="auc", parameters={"forest.trees": Parameter(values=(10, 13, 30, 20))})


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    project = SmallProject(tmp_path)
    (tmp_path / "notes").mkdir()
    script = _TRAIN.replace("NOTES", repr(str(tmp_path / "notes"))).replace("MADE", repr(str(project.folder / "made")))
    (project.folder / "train.py").write_text(script)
    project.git("commit", "--quiet", "--all", "-m", "a training with parameters")
    project.configured(sweep=TREES)
    return project


def notes(project: SmallProject) -> dict[str, dict[str, str]]:
    return {file.name: json.loads(file.read_text()) for file in (project.folder.parent / "notes").iterdir()}


def test_the_best_on_validation_rows_is_the_candidate_and_every_trial_is_tracked(project: SmallProject) -> None:
    result = train.run(project.context(), project.run())
    assert result.verdict is Verdict.PASS
    assert (project.folder / "model" / "trees.txt").read_text() == "30"
    assert result.evidence["params"] == {"forest.trees": "30", "seed": "1"}
    assert result.evidence["metrics"] == {"auc": 0.301}
    swept = result.evidence["sweep"]
    assert isinstance(swept, dict)
    assert swept["winner"] == 2
    assert [trial["number"] for trial in swept["trials"]] == [0, 1, 2, 3]
    assert "an unlucky number" in swept["trials"][1]["trouble"]
    assert "best of 4 trials by auc" in result.summary
    assert (project.folder / "params.yaml").read_text() == "forest: {trees: 10}\nseed: 1\n", "the checkout stays as committed"
    assert not (project.places.work / "sweep").exists()
    assert isinstance(project.registry, TrackingRegistry)
    tracked = {tags["mlpipeline.trial"]: params for tags, _, params in project.registry.trainings if "mlpipeline.trial" in tags}
    assert {trial: params["forest.trees"] for trial, params in tracked.items()} == {"0": "10", "1": "13", "2": "30", "3": "20"}


def test_a_sweep_of_the_same_inputs_is_not_made_again(project: SmallProject) -> None:
    run = project.run()
    first = train.run(project.context(), run)
    for note in (project.folder.parent / "notes").iterdir():
        note.unlink()
    assert train.run(project.context(), run) == first
    assert not notes(project)


def test_a_sweep_that_was_stopped_goes_on_where_it_was(project: SmallProject) -> None:
    run = project.run()
    whole = train.run(project.context(), run)
    folder = project.context().runs.folder(run.id)
    kept = json.loads((folder / "sweep" / "trials.json").read_text())
    kept["trials"] = [trial for trial in kept["trials"] if trial["number"] != 3]
    (folder / "sweep" / "trials.json").write_text(json.dumps(kept))
    (folder / "trained.json").unlink()
    for note in (project.folder.parent / "notes").iterdir():
        note.unlink()
    again = train.run(project.context(), run)
    assert set(notes(project)) == {"3"}
    assert again.evidence["model_digest"] == whole.evidence["model_digest"]


def test_each_gpu_that_was_leased_has_a_worker_of_its_own(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPIPELINE_GPUS", "GPU-a,GPU-b")
    train.run(project.context(), project.run())
    seen = notes(project)
    folders = {note["gpu"]: note["folder"] for note in seen.values()}
    assert set(folders) <= {"GPU-a", "GPU-b"}
    assert all(folders[note["gpu"]] == note["folder"] for note in seen.values())


def test_a_metric_that_is_no_number_wins_nothing(project: SmallProject) -> None:
    project.configured(sweep=msgspec.structs.replace(TREES, parameters={"forest.trees": Parameter(values=(0, 13))}))
    with pytest.raises(Failed, match="none of 2 trials has a model and the metric auc"):
        train.run(project.context(), project.run())


def test_a_parameter_the_file_does_not_have_is_refused(project: SmallProject) -> None:
    project.configured(sweep=msgspec.structs.replace(TREES, parameters={"forest.tree": Parameter(values=(1, 2))}))
    with pytest.raises(ConfigurationError, match=r"'forest\.tree', which is not in params\.yaml") as caught:
        train.run(project.context(), project.run())
    assert "forest.trees" in caught.value.render()


def test_the_smaller_is_better_where_it_is_said(project: SmallProject) -> None:
    project.configured(sweep=msgspec.structs.replace(TREES, larger_is_better=False))
    assert train.run(project.context(), project.run()).evidence["params"] == {"forest.trees": "10", "seed": "1"}


def test_the_holdout_that_the_winner_wrote_is_the_one_that_judges(project: SmallProject) -> None:
    script = project.folder / "train.py"
    script.write_text(script.read_text() + "pathlib.Path('holdout.csv').write_text(f'rows of {trees}')\n")
    (project.folder / ".gitignore").write_text((project.folder / ".gitignore").read_text() + "holdout.csv\n")
    project.git("commit", "--quiet", "--all", "-m", "the training writes the holdout")
    project.config = msgspec.structs.replace(project.config, gate=ModelGate(holdout="holdout.csv", label="late"))
    train.run(project.context(), project.run())
    assert (project.folder / "holdout.csv").read_text() == "rows of 30"


def test_an_interrupt_ends_every_trial(project: SmallProject) -> None:
    script = project.folder / "train.py"
    script.write_text(script.read_text() + "time.sleep(600)\n")
    project.git("commit", "--quiet", "--all", "-m", "a training that takes long")
    project.configured(sweep=msgspec.structs.replace(TREES, workers=2), timeout=Duration(300))

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while len(notes(project)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        train.run(project.context(), project.run())
    assert not [
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(project.places.work / "sweep").encode() in _environment_of(entry)
    ]


def _environment_of(process: Path) -> bytes:
    try:
        return str((process / "cwd").readlink()).encode()
    except OSError:
        return b""


def test_draws_differ_keep_their_range_and_come_again_with_the_seed() -> None:
    choices: dict[str, tuple[str, ...] | Range] = {
        "rate": Range(1e-4, 1e-1, log=True),
        "depth": Range(2, 5, whole=True),
        "kind": ("a", "b"),
    }
    found = draws(choices, 40, seed=3)
    assert found == draws(choices, 40, seed=3) != draws(choices, 40, seed=4)
    assert len({json.dumps(one) for one in found}) == 40
    assert all(1e-4 <= float(one["rate"]) <= 1e-1 and one["depth"] in {2, 3, 4, 5} for one in found)
    below = sum(float(one["rate"]) < 10**-2.5 for one in found)
    assert 8 <= below <= 32
    assert len(draws({"kind": ("a", "b")}, 10, seed=0)) == 2
    assert grid({"a": (1, 2), "b": ("x", "y")}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        (Sweep(metric="auc"), "no parameters"),
        (Sweep(metric="auc", parameters={"a": Parameter()}), "either values or between"),
        (Sweep(metric="auc", parameters={"a": Parameter(between=Between(low=0, high=1))}), "a grid has no values"),
        (
            Sweep(metric="auc", search="random", parameters={"a": Parameter(between=Between(low=1, high=1))}),
            "low is not below high",
        ),
        (
            Sweep(metric="auc", search="random", parameters={"a": Parameter(between=Between(low=0, high=1, log=True))}),
            "above 0 with log",
        ),
        (Sweep(metric="auc", parameters={"a": Parameter(values=tuple(range(30)))}), "30 combinations"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_before_anything_is_trained(
    project: SmallProject, sweep: Sweep, words: str
) -> None:
    project.configured(sweep=sweep)
    assert words in " ".join(problem.what for problem in problems(project.config))
