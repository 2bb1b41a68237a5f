"""What the pipeline costs beside the bare commands: every verb of two releases, timed as a user's calls, in one run.

The project is the demo's without DVC; the bare commands are its two scripts, in the same folder. The
second release meets a champion and users, so it is mirrored and stepped. Mirror, step and bake take as long as the
configuration says; that time is planned, and told apart from what the worker adds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "demo"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))

from flights import all_flights, requests_of

from constant_load import ConstantLoad
from tutorial_page import free_port

PROJECT = Path(__file__).resolve().parent.parent / "demo" / "project"
TOOLS = Path(sys.executable).parent
BARE = "rm -rf model && python prepare.py && python train.py"
VERBS = ("gate data", "train", "gate model", "package", "register", "deploy", "approve", "switch", "settle", "report")
STAGE_SECONDS = 3
CONFIG = """
service: overhead
data:
  files:
    flights:
      path: data/flights.parquet
      suite: checks/flights.json
      expect: [{{column: month, between: [1, 12]}}]
train: {{command: "{bare}", metrics: metrics.json}}
gate:
  holdout: data/holdout.parquet
  label: late
  metrics: [{{metric: roc_auc, at_least: 0.5, no_worse_than_champion: {{margin: 0.1}}}}]
rollout: {{mirror: {stage}s, steps: [50], step: {stage}s, bake: {stage}s, control: 20}}
verify: {{interval: 1s, min_requests: 10, latency: {{enabled: false}}}}
target: {{local: {{port: {port}, threads: 1}}}}
"""


class Project:
    """A fresh repository and a state folder of its own; what it starts is ended by ``stop``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "flights"
        (self.folder / "data").mkdir(parents=True)
        self.port = free_port()
        self.environment = os.environ | {
            "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
            "MLPIPELINE_HOME": str(folder / "state"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            # Threads that wait for each other on a busy machine would measure its scheduler.
            "OMP_NUM_THREADS": "1",
        }
        flights = all_flights()
        self.bodies = requests_of(flights[flights["month"] == 4].dropna(), 4, 500)
        flights.to_parquet(self.folder / "data" / "flights.parquet", index=False)
        for name in ("prepare.py", "train.py"):
            shutil.copy(PROJECT / name, self.folder / name)
        self.learns_from(1)
        shutil.copytree(PROJECT / "checks", self.folder / "checks")
        (self.folder / ".gitignore").write_text("data/\nmodel/\nmetrics.json\n.mlpipeline/\n")
        (self.folder / "mlpipeline.yaml").write_text(CONFIG.format(bare=BARE, stage=STAGE_SECONDS, port=self.port))
        self.run("git", "init", "--quiet")

    def run(self, *command: str) -> float:
        """Wall seconds of a command; its failure ends the measurement."""
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with exit {done.returncode}\n{done.stdout}{done.stderr}")
        return time.perf_counter() - begun

    def worker(self, verb: str) -> float:
        """Wall seconds of one verb, with the start of its process."""
        return self.run(str(TOOLS / "mlpipeline"), *verb.split())

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "--quiet", "-m", message)

    def learns_from(self, month: int) -> None:
        """Writes the parameters; another month makes another model."""
        prepare = {"train_months": [month], "holdout_month": 4}
        learner = {"learner": "hist-gradient-boosting"}
        (self.folder / "params.yaml").write_text(json.dumps({"prepare": prepare, "train": learner}) + "\n")

    def planned_seconds(self) -> float:
        """How long the newest switch watched its stages, as its own result says."""
        newest = max((self.folder / ".mlpipeline" / "runs").iterdir())
        evidence = json.loads((newest / "results" / "switch.json").read_text())["evidence"]
        return float(sum(stage["seconds"] for stage in evidence["stages"] if stage["seconds"]))


def release(project: Project, column: str, seconds: dict[str, dict[str, float]]) -> None:
    """All verbs in order, and packaging once more when there is nothing to do."""
    for verb in VERBS:
        seconds.setdefault(verb, {})[column] = project.worker(verb)
        if verb == "package":
            seconds.setdefault("package, unchanged", {})[column] = project.worker(verb)
    planned = project.planned_seconds()
    if planned:
        seconds["switch"][column] -= planned
        seconds["watched stages"] = {column: planned}


def measured(project: Project) -> tuple[float, dict[str, dict[str, float]]]:
    """Seconds of the bare commands, the better of two, and of each verb by release."""
    project.commit("Flights and a model")
    seconds: dict[str, dict[str, float]] = {}
    try:
        before = project.run("sh", "-c", BARE)
        release(project, "first", seconds)
        bare = min(before, project.run("sh", "-c", BARE))
        with ConstantLoad(f"http://127.0.0.1:{project.port}", project.bodies, rate=30.0, keep_alive=2, fresh=1) as load:
            project.learns_from(2)
            project.commit("Learn from another month")
            release(project, "second", seconds)
            seconds["rollback"] = {"second": project.worker("rollback")}
        if load.failed:
            raise SystemExit(f"{load.failed} of {load.sent} requests failed: {load.failures}")
    finally:
        project.worker("stop")
    return bare, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bare, seconds = measured(Project(Path(folder)))
    print(f"bare commands ({BARE}): {bare:.1f} s = 1.00\n")
    print(f"{'verb':<20}{'first release':>22}{'second, with users':>22}")
    for verb, by_release in seconds.items():
        cells = (f"{by_release[name]:9.2f} s {by_release[name] / bare:6.2f} x" if name in by_release else "" for name in COLUMNS)
        print(f"{verb:<20}" + "".join(f"{cell:>22}" for cell in cells))
    print(f"{'all but the stages':<20}" + "".join(f"{total(seconds, name, bare):>22}" for name in COLUMNS))
    print(f"\nThe pipeline's own share of a second release, training aside: {own_share(seconds) / bare:.2f} x the bare commands")


COLUMNS = ("first", "second")
NOT_OF_A_RELEASE = ("package, unchanged", "watched stages", "rollback")


def of_release(seconds: dict[str, dict[str, float]], column: str) -> float:
    return sum(found.get(column, 0.0) for verb, found in seconds.items() if verb not in NOT_OF_A_RELEASE)


def total(seconds: dict[str, dict[str, float]], column: str, bare: float) -> str:
    found = of_release(seconds, column)
    return f"{found:9.2f} s {found / bare:6.2f} x"


def own_share(seconds: dict[str, dict[str, float]]) -> float:
    return of_release(seconds, "second") - seconds["train"]["second"]


if __name__ == "__main__":
    main()
