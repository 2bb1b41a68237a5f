"""A sweep: several trainings with different parameters, beside each other, of which the best on validation rows is the candidate.

Each worker has a copy of the project and, where there are any, a GPU of its own. What a trial came to is kept in the run's
folder as soon as it ends, so that a sweep that was stopped goes on where it was; the best model so far is kept beside it.
Only the winner is ever judged on the holdout, and once.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import msgspec

from mlpipeline.adapters.git import committed
from mlpipeline.adapters.process import Outcome, interrupt, run_command
from mlpipeline.adapters.trials import copy_project, remove, take
from mlpipeline.config.sections.training import Sweep
from mlpipeline.core.search import Range, Value, draws, grid
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.record.files import write_atomically
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context

FOLDER = "sweep"
_OWN = ".mlpipeline"


class Trial(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one trial came to.

    Args:
        metric: On validation rows; absent when it has none.
        trouble: Why it has none.
        model_digest: Of the model it left.
    """

    number: int
    params: dict[str, Value]
    metric: float | None = None
    seconds: float = 0.0
    trouble: str = ""
    model_digest: str = ""
    metrics: dict[str, float] = {}


class Swept(msgspec.Struct, frozen=True):
    """The whole sweep."""

    trials: tuple[Trial, ...]
    winner: int

    @property
    def best(self) -> Trial:
        return next(trial for trial in self.trials if trial.number == self.winner)


class _Kept(msgspec.Struct):
    """``trials.json``: what is known of the sweep of these inputs."""

    inputs: str
    trials: list[Trial] = []
    best: int = -1


class Sweeping:
    """Runs what is left of a sweep.

    Args:
        environment: Of the training command.
        devices: GPUs that this call was given; empty: none.
        read: Gives the numbers of the metrics file in a folder, or raises Failed.
        digest: Of a model folder.
        log: Is told each finished trial once it is kept, in the main thread; a trial that was kept before is told again.
    """

    def __init__(
        self,
        context: Context,
        run: Run,
        *,
        inputs: str,
        environment: Mapping[str, str],
        devices: tuple[str, ...],
        read: Callable[[Path], dict[str, float]],
        digest: Callable[[Path], str],
        log: Callable[[Trial], None],
    ) -> None:
        sweep = context.config.train.sweep
        if sweep is None:
            raise ConfigurationError("train.sweep is not set")
        self._context, self._sweep, self._inputs = context, sweep, inputs
        self._environment, self._devices = dict(environment), devices
        self._read, self._digest, self._log = read, digest, log
        self._folder = context.runs.folder(run.id) / FOLDER
        self._copies = context.places.work / FOLDER
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._kept = self._known()

    def run(self) -> Swept:
        """Makes the trials that are missing, and puts the winner's model and files into the checkout.

        Raises:
            ConfigurationError: A parameter is not in the parameters file.
            Failed: No trial has a model and a metric.
        """
        plan = planned(self._sweep)
        self._check_names(plan)
        for trial in self._kept.trials:
            self._log(trial)
        done = {trial.number for trial in self._kept.trials}
        left = [number for number in range(len(plan)) if number not in done]
        self._say(f"{len(plan)} trials, {len(left)} to make, {self._workers(len(left))} at a time")
        try:
            self._make(plan, left)
        finally:
            remove(self._copies)
        if self._kept.best < 0:
            first = next((trial for trial in self._kept.trials if trial.trouble), None)
            raise Failed(
                f"none of {len(plan)} trials has a model and the metric {self._sweep.metric}",
                facts={"first trial": first.trouble if first else "", "logs": self._folder},
                tries=("read the logs", f"run it by hand: {self._context.config.train.command}"),
            )
        for path in self._outputs():
            take(self._folder / "best" / path, self._context.project / path)
        return Swept(tuple(sorted(self._kept.trials, key=lambda trial: trial.number)), self._kept.best)

    def _make(self, plan: list[dict[str, Value]], left: list[int]) -> None:
        workers = self._workers(len(left))
        free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for worker in range(workers):
            free.put(worker)
        with ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="trial") as pool:
            waiting: set[Future[Trial | None]] = {pool.submit(self._one, number, plan[number], free) for number in left}
            try:
                made = 0
                while waiting:
                    ended, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                    for future in ended:
                        if (trial := future.result()) is not None:
                            made += 1
                            self._log(trial)
                            self._say(_words(trial, self._sweep.metric))
                            self._context.console.progress("sweep", made, len(left))
            except BaseException:
                self._stop.set()
                for future in waiting:
                    future.cancel()
                for worker in range(workers):
                    interrupt(self._record(worker))
                raise

    def _one(self, number: int, params: dict[str, Value], free: queue.SimpleQueue[int]) -> Trial | None:
        """One trial in the copy of a worker that is free; nothing when the sweep was stopped meanwhile."""
        worker = free.get()
        try:
            if self._stop.is_set():
                return None
            folder = self._copies / f"worker-{worker}"
            self._prepare(folder, params)
            outcome = run_command(
                self._context.config.train.command,
                folder=folder,
                environment=self._surroundings(number, worker),
                log=self._folder / f"trial-{number}.log",
                record=self._record(worker),
                limit_seconds=self._context.config.train.timeout,
            )
            if self._stop.is_set():
                return None
            return self._keep(self._measured(number, params, folder, outcome), folder)
        finally:
            free.put(worker)

    def _prepare(self, folder: Path, params: dict[str, Value]) -> None:
        """A copy of the project with the trial's parameters and nothing that an earlier trial made."""
        train = self._context.config.train
        if not folder.is_dir():
            copy_project(self._context.project, folder, leave=(_OWN, train.model))
        for path in (train.model, train.metrics):
            remove(folder / path)
        content = _with(self._params(), params)
        import yaml

        write_atomically(folder / train.params, yaml.safe_dump(content, sort_keys=False).encode())

    def _measured(self, number: int, params: dict[str, Value], folder: Path, outcome: Outcome) -> Trial:
        trial = Trial(number, params, seconds=outcome.seconds)
        if outcome.kind != "done":
            words = {"hung": "did not end in time", "killed": f"was killed by {outcome.signal}"}
            last = outcome.tail[-1] if outcome.tail else "no output"
            ended = words.get(outcome.kind, f"failed with exit code {outcome.code}")
            return msgspec.structs.replace(trial, trouble=f"{ended}: {last[:300]}")
        model = folder / self._context.config.train.model
        if not (model / "MLmodel").is_file():
            return msgspec.structs.replace(trial, trouble="left no model")
        try:
            metrics = self._read(folder)
        except Failed as failure:
            return msgspec.structs.replace(trial, trouble=failure.what)
        value = metrics.get(self._sweep.metric)
        if value is None or not math.isfinite(value):
            known = ", ".join(sorted(metrics)) or "none"
            return msgspec.structs.replace(trial, trouble=f"no finite number {self._sweep.metric} among its metrics ({known})")
        return msgspec.structs.replace(trial, metric=value, metrics=metrics, model_digest=self._digest(model))

    def _keep(self, trial: Trial, folder: Path) -> Trial:
        """Notes the trial, and its files when it is the best so far: these first, so that a stop in between loses nothing."""
        with self._lock:
            best = next((one for one in self._kept.trials if one.number == self._kept.best), None)
            if trial.metric is not None and (best is None or self._beats(trial, best)):
                for path in self._outputs():
                    remove(self._folder / "best" / path)
                    take(folder / path, self._folder / "best" / path)
                self._kept.best = trial.number
            self._kept.trials.append(trial)
            write_atomically(self._folder / "trials.json", msgspec.json.format(msgspec.json.encode(self._kept)) + b"\n")
        return trial

    def _beats(self, one: Trial, other: Trial) -> bool:
        """Equal trials: the one that was planned first, whichever ended first."""
        if one.metric is None or other.metric is None:
            return one.metric is not None
        if one.metric == other.metric:
            return one.number < other.number
        return (one.metric > other.metric) == self._sweep.larger_is_better

    def _known(self) -> _Kept:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            kept = msgspec.json.decode((self._folder / "trials.json").read_bytes(), type=_Kept)
            if kept.inputs == self._inputs:
                return kept
        remove(self._folder)
        return _Kept(self._inputs)

    def _workers(self, left: int) -> int:
        return min(left, self._sweep.workers or max(1, len(self._devices)))

    def _surroundings(self, number: int, worker: int) -> dict[str, str]:
        environment = {**self._environment, "MLPIPELINE_TRIAL": str(number)}
        if self._devices:
            device = self._devices[worker % len(self._devices)]
            environment |= {"CUDA_VISIBLE_DEVICES": device, "MLPIPELINE_GPUS": device}
        return environment

    def _record(self, worker: int) -> Path:
        return self._context.places.work / f"trial-{worker}.json"

    def _outputs(self) -> list[str]:
        """What a trial makes that the release needs, from the project's folder."""
        train, gate = self._context.config.train, self._context.config.gate
        made = [train.model, train.metrics]
        if gate.holdout and not committed(self._context.project, self._context.project / gate.holdout):
            made.append(gate.holdout)
        return [path for path in made if path]

    def _params(self) -> object:
        import yaml

        file = self._context.project / self._context.config.train.params
        try:
            return yaml.safe_load(file.read_bytes())
        except (OSError, yaml.YAMLError) as error:
            raise ConfigurationError(
                "a sweep needs the parameters file", facts={"file": file, "found": error}, tries=("train.params: params.yaml",)
            ) from error

    def _check_names(self, plan: list[dict[str, Value]]) -> None:
        """A name the file does not have would be read by nobody, and all trials would be the same."""
        import difflib

        content = self._params()
        known = _names(content)
        for name in plan[0] if plan else ():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ConfigurationError(
                    f"train.sweep.parameters names {name!r}, which is not in {self._context.config.train.params}",
                    facts={"parameters": ", ".join(known[:20])},
                    tries=(f"did you mean {near[0]}?",) if near else ("add it to the file, so that the training reads it",),
                )

    def _say(self, text: str) -> None:
        self._context.console.say(f"sweep: {text}")


def planned(sweep: Sweep) -> list[dict[str, Value]]:
    """The parameters of every trial, in the order of their numbers."""
    if sweep.search == "grid":
        return grid({name: parameter.values for name, parameter in sweep.parameters.items()})
    choices: dict[str, tuple[Value, ...] | Range] = {}
    for name, parameter in sweep.parameters.items():
        between = parameter.between
        choices[name] = (
            Range(between.low, between.high, log=between.log, whole=between.whole) if between is not None else parameter.values
        )
    return draws(choices, sweep.trials, sweep.seed)


def _with(content: object, params: Mapping[str, Value]) -> object:
    plain = msgspec.json.decode(msgspec.json.encode(content, enc_hook=str))
    for name, value in params.items():
        place = plain
        *parents, last = name.split(".")
        for part in parents:
            place = place[part]
        place[last] = value
    return plain


def _names(content: object, prefix: str = "") -> list[str]:
    if not isinstance(content, dict):
        return []
    found = []
    for key, value in content.items():
        name = f"{prefix}{key}"
        found += _names(value, f"{name}.") if isinstance(value, dict) else [name]
    return found


def _words(trial: Trial, metric: str) -> str:
    params = ", ".join(f"{name}={value}" for name, value in trial.params.items())
    came = f"{metric} {trial.metric:.6g}" if trial.metric is not None else trial.trouble
    return f"trial {trial.number} ({params}): {came} ({trial.seconds:.1f} s)"
