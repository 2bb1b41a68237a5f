"""The whole main job on real flights, with real parts: four releases in a fresh repository, users asking all the time.

1. A first model, learnt from January to March, goes live.
2. Summer: retrained on recent months it is better on the same rows; mirrored, stepped, switched, settled.
3. October: retrained again it is honestly worse than the champion; the model gate stops it.
4. December: a model that passes every offline gate but cannot answer flights with a gap in their weather, which only
   live traffic has; verification sees it and takes traffic back by itself.
5. ``mlpipeline history`` says who was live when.

Exits with 1 and says what went otherwise if any of the five did not happen as told.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flights import all_flights, requests_of
from traffic import Answer, Users

HERE = Path(__file__).resolve().parent
SERVICE = "flights"
PASS, FAIL = 0, 10


class WentOtherwise(Exception):
    """One of the acts did not end as the demo promises."""


def main() -> int:
    """Runs the five acts; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HERE.parent / "build" / "demo", help="made anew (default: build/demo)")
    parser.add_argument("--per-second", type=float, default=20.0, help="requests a second that users send (default: 20)")
    options = parser.parse_args()
    begun = time.monotonic()
    play = Play(options.folder.absolute(), options.per_second)
    try:
        with play.cleaned_up():
            play.perform()
    except WentOtherwise as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    print(f"\ndemo: all five acts went as told, in {time.monotonic() - begun:.0f} s")
    return 0


class Play:
    """The repository, its service and its users."""

    def __init__(self, folder: Path, per_second: float) -> None:
        self.folder = folder
        self.repository = folder / "flights"
        self.per_second = per_second
        self.users: Users | None = None
        tools = Path(sys.executable).parent
        self.environment = os.environ | {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "MLPIPELINE_HOME": str(folder / "state"),
            "DVC_NO_ANALYTICS": "1",
            "OMP_WAIT_POLICY": "passive",  # a training whose idle threads spin would starve the service beside it
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "demo",
            "GIT_AUTHOR_EMAIL": "demo@example.org",
            "GIT_COMMITTER_NAME": "demo",
            "GIT_COMMITTER_EMAIL": "demo@example.org",
        }

    def perform(self) -> None:
        """All acts, in order."""
        say("Preparing a fresh git and DVC repository with the flights of 2013")
        flights = self.prepare()

        act(1, "The first release: learnt from January to March")
        self.release(expected=PASS, why="there is no champion yet, and all gates are met")
        self.start_users(requests_of(flights, 6, 2000))

        act(2, "Summer has come: retrained on March to May, judged on June")
        self.change(train_months=[3, 4, 5], holdout_month=6)
        better = self.release(expected=PASS, why="the retrained model is better on the same rows")
        print_metrics(better, "roc_auc")
        if difference(better, "roc_auc") <= 0:
            raise WentOtherwise("the retrained model of act 2 was not better on the same rows")
        self.expect_live(better)

        act(3, "October: retrained on July to September, judged on October")
        self.users_ask(requests_of(flights, 10, 2000))
        self.change(train_months=[7, 8, 9], holdout_month=10)
        worse = self.release(expected=FAIL, why="the retrained model is worse than the champion")
        print_metrics(worse, "roc_auc")
        if worse["gate-model"]["verdict"] != "fail" or "switch" in worse:
            raise WentOtherwise("act 3 was to be stopped by the model gate, before any traffic moved")
        self.expect_live(better)

        act(4, "December: a learner that cannot answer flights with a gap in their weather")
        self.users_ask(requests_of(flights, 12, 2000))
        self.change(train_months=[3, 4, 5, 9, 10, 11], holdout_month=12, learner="gradient-boosting")
        decided = len(self.answers)
        broken = self.release(expected=FAIL, why="it fails on users' requests, and only there")
        print_metrics(broken, "roc_auc")
        if broken["gate-model"]["verdict"] != "pass" or broken["switch"]["verdict"] != "fail":
            raise WentOtherwise("act 4 was to pass the model gate and to be taken back by verification")
        self.expect_live(better)

        act(5, "Who was live when")
        history = self.mlpipeline("history", capture=True)
        print(history)
        for event in ("settled", "quarantined"):
            if event not in history:
                raise WentOtherwise(f"the history does not name the event {event!r}")
        self.stop_users()
        self.summary(broken, self.answers[decided:])

    def prepare(self) -> Any:
        """Makes the repository as a data scientist would, and lets ``mlpipeline init`` prepare it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.repository / "data").mkdir(parents=True)
        flights = all_flights()
        flights.to_parquet(self.repository / "data" / "flights.parquet", index=False)
        for name in ("prepare.py", "train.py", "params.yaml", "dvc.yaml"):
            shutil.copy(HERE / "project" / name, self.repository / name)
        self.shell("git", "init", "--quiet", "--initial-branch=main")
        self.shell("dvc", "init", "--quiet")
        self.shell("dvc", "add", "--quiet", "data/flights.parquet")
        self.mlpipeline("init")
        # What init wrote is a start; a team then says what its data and its model must keep.
        shutil.copytree(HERE / "project" / "checks", self.repository / "checks")
        shutil.copy(HERE / "project" / "mlpipeline.yaml", self.repository / "mlpipeline.yaml")
        with (self.repository / "mlpipeline.yaml").open("a") as file:
            file.write(f"\ntarget:\n  local: {{port: {free_port()}, threads: 2}}\n")
        self.shell("git", "add", "--all")
        self.shell("git", "commit", "--quiet", "--message", "Flights, a model and a pipeline")
        return flights

    def change(self, *, train_months: list[int], holdout_month: int, learner: str = "hist-gradient-boosting") -> None:
        """Commits new parameters, as the nightly job or a data scientist would."""
        prepare = {"train_months": train_months, "holdout_month": holdout_month}
        (self.repository / "params.yaml").write_text(
            json.dumps({"prepare": prepare, "train": {"learner": learner}}, indent=2) + "\n"
        )
        self.shell(
            "git", "commit", "--quiet", "--all", "--message", f"Learn from months {train_months}, judge on month {holdout_month}"
        )

    def release(self, *, expected: int, why: str) -> dict[str, Any]:
        """``mlpipeline run``; returns the results of its verbs by name."""
        status = self.mlpipeline("run", check=False)
        runs = sorted((self.repository / ".mlpipeline" / "runs").iterdir())
        results = {file.stem: json.loads(file.read_text()) for file in (runs[-1] / "results").glob("*.json")}
        if status != expected:
            raise WentOtherwise(f"this release was to end with exit {expected} because {why}; it ended with {status}")
        say(f"As told: exit {status}, {why}. Report: {runs[-1] / 'report' / 'index.html'}")
        self.report = runs[-1] / "report" / "index.html"
        return results

    def start_users(self, bodies: list[bytes]) -> None:
        """From here on users ask all the time."""
        port = self.configuration_port()
        self.users = Users("127.0.0.1", port, self.per_second, bodies)
        self.users.start()
        say(f"Users now send {self.per_second:g} requests a second to port {port}, and do so until the end")

    def configuration_port(self) -> int:
        """The port in this repository's configuration."""
        import yaml

        return int(yaml.safe_load((self.repository / "mlpipeline.yaml").read_text())["target"]["local"]["port"])

    def users_ask(self, bodies: list[bytes]) -> None:
        """Users ask about flights of another month."""
        if self.users is not None:
            self.users.ask_about(bodies)

    def stop_users(self) -> None:
        """No more requests."""
        if self.users is not None:
            self.users.stop()

    @property
    def answers(self) -> list[Answer]:
        """All answers so far."""
        return self.users.answers if self.users else []

    def expect_live(self, released: dict[str, Any]) -> None:
        """Users must be answered by the colour of that release, and by it alone."""
        colour = released["deploy"]["evidence"]["colour"]
        seen = len(self.answers)
        deadline = time.monotonic() + 60
        while len(self.answers) < seen + 20 and time.monotonic() < deadline:
            time.sleep(0.1)
        colours = {answer.colour for answer in self.answers[seen + 5 :]}
        if colours != {colour}:
            raise WentOtherwise(f"users were to be answered by {colour} alone, but were by {sorted(colours) or 'nobody'}")
        say(f"Users are answered by {colour} alone")

    def summary(self, broken: dict[str, Any], last: Sequence[Answer]) -> None:
        """The figures, from what users saw; raises when a request was lost that the broken model did not answer itself."""
        colour = broken["deploy"]["evidence"]["colour"]
        failed = [answer for answer in self.answers if answer.status != 200]
        lost = [answer for answer in failed if answer.colour != colour or answer not in last]
        rollback = broken["switch"]["evidence"].get("rollback", {})
        switches = self.history_count("live")
        by_model = f" ({len(failed) - len(lost)} of these answered by the broken model itself)" if failed else ""
        print(f"\nsummary: {len(self.answers)} requests sent, {len(failed)} failed{by_model}, {switches} moves of traffic;")
        print(f"         last answer of the broken model {rollback.get('old_last_seconds', 0):.2f} s after the decision")
        print(f"report:  {self.report}")
        if lost:
            raise WentOtherwise(f"{len(lost)} requests failed that the broken model did not answer, such as {lost[0]}")

    def history_count(self, event: str) -> int:
        """How often the ledger names an event."""
        lines = (self.folder / "state" / "services" / SERVICE / "ledger.jsonl").read_text().splitlines()
        return sum(json.loads(line)["event"] == event for line in lines)

    def shell(self, *command: str) -> None:
        """A command in the repository; a failure ends the demo."""
        done = subprocess.run(command, cwd=self.repository, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise WentOtherwise(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")

    def mlpipeline(self, *arguments: str, check: bool = True, capture: bool = False) -> Any:
        """The worker; its exit status, or what it printed with ``capture``."""
        sys.stdout.flush()
        command = [str(Path(sys.executable).parent / "mlpipeline"), *arguments]
        done = subprocess.run(
            command,
            cwd=self.repository,
            env=self.environment,
            text=True,
            check=False,
            stdout=subprocess.PIPE if capture else None,
        )
        if check and done.returncode:
            raise WentOtherwise(f"mlpipeline {' '.join(arguments)} ended with exit {done.returncode}")
        return done.stdout if capture else done.returncode

    @contextmanager
    def cleaned_up(self) -> Iterator[None]:
        """Whatever happens: users stop, and what serves them is ended."""
        try:
            yield
        finally:
            self.stop_users()
            self.shut_down()

    def shut_down(self) -> None:
        """Ends the service's processes; the folder with reports and ledger stays."""
        if (self.repository / "mlpipeline.yaml").is_file():
            self.mlpipeline("stop", check=False)


def difference(results: dict[str, Any], metric: str) -> float:
    """Candidate minus champion, over all rows."""
    return float(row_of(results, metric)["difference"])


def row_of(results: dict[str, Any], metric: str) -> dict[str, Any]:
    """The model gate's figures of a metric over all rows."""
    rows = results["gate-model"]["evidence"]["metrics"]
    return next(row for row in rows if row["name"] == metric and "slice" not in row)


def print_metrics(results: dict[str, Any], metric: str) -> None:
    """Candidate beside champion."""
    row = row_of(results, metric)
    interval = f"[{row['low']:+.4f}, {row['high']:+.4f}]"
    say(f"{metric} on the same rows: candidate {row['candidate']:.4f}, champion {row['champion']:.4f}, difference {interval}")


def free_port() -> int:
    """A port nobody listens on right now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def act(number: int, title: str) -> None:
    """A heading."""
    print(f"\n=== {number}. {title}", flush=True)


def say(text: str) -> None:
    """A line of the demo itself."""
    print(f"--- {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
