"""A small real project for whoever releases it from outside of these tests: ``python make_small_project.py FOLDER``.

Real data (the breast cancer measurements that scikit-learn carries), a real training, a git repository with one commit,
everything as short as the worker allows. Prints where users will reach the service: a port that was free.

The training tells that it began with the file that ``TRAINING_BEGAN`` names, and ends only once the one that ``TRAINING_MAY_END``
names is there, so that somebody can be sure to do something in between.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer

from mlpipeline.hosting.machine import free_port
from tiny_model import requirements

COLUMNS = ("mean radius", "mean texture", "mean smoothness")
_TRAIN = """
import json, os, pathlib, time
began, may_end = os.environ.get("TRAINING_BEGAN"), os.environ.get("TRAINING_MAY_END")
if began:
    pathlib.Path(began).write_text("")
import mlflow.sklearn, pandas
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

strength = json.loads(pathlib.Path("params.json").read_text())["strength"]
rows = pandas.read_csv("rows.csv")
holdout = rows.iloc[::3]
kept = rows.drop(holdout.index)
holdout.to_csv("holdout.csv", index=False)
inputs = kept.drop(columns="benign")
model = make_pipeline(StandardScaler(), LogisticRegression(C=strength)).fit(inputs, kept["benign"])
mlflow.sklearn.save_model(
    model, "model", signature=infer_signature(inputs, model.predict(inputs)), input_example=inputs.head(3),
    pip_requirements=REQUIREMENTS, skops_trusted_types=["numpy.dtype"],
)
deadline = time.monotonic() + 180
while may_end and not pathlib.Path(may_end).exists():
    if time.monotonic() > deadline:
        raise SystemExit("nobody let the training end")
    time.sleep(0.05)
"""
_CONFIG = """
service: small
data:
  files:
    rows:
      path: rows.csv
      expect: [{{column: benign, in_set: [0, 1]}}, {{column: mean radius, not_null: true, between: [1, 50]}}]
train: {{command: '"{python}" train.py', timeout: 10m, params: ""}}
gate: {{holdout: holdout.csv, label: benign, resamples: 200, metrics: [{{metric: roc_auc, at_least: 0.9}}]}}
approval: {{required: true}}
target:
  local: {{port: {port}, ready_timeout: 5m, drain_timeout: 30s, threads: 1}}
rollout: {{mirror: 3s, steps: [50], step: 3s, bake: 3s, settle_switch: 60s}}
verify: {{interval: 500ms, min_requests: 10, latency: {{enabled: false}}}}
"""


def make(folder: Path) -> int:
    """Writes and commits the project; ``folder`` must not exist. Returns the port."""
    folder.mkdir(parents=True)
    port = free_port()
    found = load_breast_cancer(as_frame=True)
    found.frame[list(COLUMNS)].assign(benign=found.target).to_csv(folder / "rows.csv", index=False)
    (folder / "train.py").write_text(f"REQUIREMENTS = {list(requirements())!r}\n{_TRAIN}")
    (folder / "params.json").write_text('{"strength": 1.0}\n')
    (folder / "mlpipeline.yaml").write_text(_CONFIG.format(python=sys.executable, port=port))
    (folder / ".gitignore").write_text("model/\nholdout.csv\n.mlpipeline/\n")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "first")
    return port


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
