"""``train``: runs the project's training command and records what it made, of what, and where."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlpipeline.adapters import environment as environments
from mlpipeline.adapters.bundle import Digests, folder_digest
from mlpipeline.adapters.git import Checkout, checkout
from mlpipeline.adapters.mlflow import check_reachable, read_model, tracking_uri
from mlpipeline.adapters.process import Outcome, run_command
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.record.files import write_atomically
from mlpipeline.record.result import Number, Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.leftover import refuse_leftover, written

if TYPE_CHECKING:
    from mlpipeline.verbs.sweep import Trial

VERB = "train"
LOG = "train.log"
_OUTSIDE = frozenset({"SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"})
"""Signals that come from somebody else; a program that crashes dies of others."""
_FULL_BYTES = 1_000_000
"""With less free space than this on the project's disk a failed training says nothing about the model."""


class Trained(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a finished training made, kept in the run's folder before it is logged: a lost server loses no training.

    Args:
        inputs: Digest of everything it was made of.
        before: ``sha256:...`` of the model that stood there before; empty when there was none.
        gpu: What it took from the GPUs it was given, as :class:`mlpipeline.adapters.gpu.GpuUse`; empty without any.
        sweep: What a sweep tried and which trial won, for the evidence; empty without one.
    """

    inputs: str
    model_digest: str
    seconds: float
    environment: dict[str, str] = {}
    before: str = ""
    gpu: dict[str, object] = {}
    sweep: dict[str, object] = {}


def run(context: Context, run: Run) -> Result:
    """Trains unless the model of exactly these inputs is there already.

    Raises Failed when the training failed, hung, or left no model that can be served (the result says so too),
    EnvironmentFault when it was killed from outside or MLflow cannot be reached, ConfigurationError without a commit.
    """
    started = context.clock.monotonic()
    state = _checked_out(context, run)
    versions = _data_version(context, run)
    inputs = _inputs(context, state, versions)
    digests = Digests(context.places.work / "digests-model.json")
    trained = _known(context, run, inputs, digests)
    previous = context.runs.result(run.id, VERB)
    if trained is not None and previous is not None and previous.verdict is Verdict.PASS:
        context.console.say(f"train: nothing to do, the model of these inputs is there: {trained.model_digest[:19]}")
        return previous
    check_reachable(tracking_uri(context.config.tracking, context.places))
    try:
        if trained is None:
            trained = _train(context, run, inputs, digests, tags=_tags(context, run, state, versions))
        return _record(context, run, started, state, versions=versions, trained=trained)
    except Failed as failure:
        reason = Reason(
            check="train", verdict=Verdict.FAIL, summary=failure.what, sample=tuple(failure.render(VERB).splitlines())
        )
        context.finish(run, VERB, started, [reason], evidence=_lineage(state, versions), links=_links(context, run))
        raise


def model_folder(context: Context) -> Path:
    """Where the training leaves the model."""
    return context.project / context.config.train.model


def _train(context: Context, run: Run, inputs: str, digests: Digests, *, tags: Mapping[str, str]) -> Trained:
    """Runs the command. Whatever earlier results said of another model no longer holds."""
    from mlpipeline.adapters.gpu import Meter

    folder = model_folder(context)
    before = folder_digest(folder, digests) if _filled(folder) else ""
    stood = written(folder)
    _note(context, run).unlink(missing_ok=True)
    surroundings = _environment(context, run)
    train = context.config.train
    context.console.say(f"train: {train.command}")
    if train.sweep is not None:
        return _sweep(context, run, inputs, digests, tags=tags, before=before)
    with Meter(surroundings) as meter:
        outcome = run_command(
            train.command,
            folder=context.project,
            environment=surroundings,
            log=context.runs.folder(run.id) / LOG,
            record=context.places.work / "train.json",
            limit_seconds=train.timeout,
            say=context.console.say,
        )
    _judge(context, run, outcome)
    read_model(folder)
    digest = folder_digest(folder, digests)
    facts = {"command": train.command, "log": context.runs.folder(run.id) / LOG}
    refuse_leftover(context, stood, inputs=inputs, model_digest=digest, facts=facts)
    trained = Trained(
        inputs=inputs,
        model_digest=digest,
        seconds=outcome.seconds,
        environment=environments.fingerprint(surroundings, context.project),
        before=before,
        gpu=msgspec.to_builtins(meter.use) if meter.use else {},
    )
    digests.save()
    context.runs.drop_results_after(run.id, VERB)
    write_atomically(_note(context, run), msgspec.json.encode(trained))
    return trained


def _sweep(context: Context, run: Run, inputs: str, digests: Digests, *, tags: Mapping[str, str], before: str) -> Trained:
    """Makes the trials and leaves the winner's model where a single training would."""
    from mlpipeline.adapters.gpu import Meter, chosen
    from mlpipeline.verbs.sweep import Sweeping

    surroundings, began = _environment(context, run), context.clock.monotonic()
    base = _params(context)

    def log(trial: Trial) -> None:
        own = {"mlpipeline.trial": str(trial.number), **({"mlpipeline.trouble": trial.trouble} if trial.trouble else {})}
        model = {"mlpipeline.model": trial.model_digest or f"none of trial {trial.number}"}
        params = {**base, **{name: str(value) for name, value in trial.params.items()}}
        context.world.registry().log_training({**tags, **model, **own}, trial.metrics, params)

    with Meter(surroundings) as meter:
        swept = Sweeping(
            context,
            run,
            inputs=inputs,
            environment=surroundings,
            devices=chosen(surroundings) or (),
            read=lambda folder: _metrics(context, folder),
            digest=lambda folder: folder_digest(folder, Digests(context.places.work / "digests-trials.json")),
            log=log,
        ).run()
    folder = model_folder(context)
    read_model(folder)
    trained = Trained(
        inputs=inputs,
        model_digest=folder_digest(folder, digests),
        seconds=round(context.clock.monotonic() - began, 3),
        environment=environments.fingerprint(surroundings, context.project),
        before=before,
        gpu=msgspec.to_builtins(meter.use) if meter.use else {},
        sweep=_told(context, swept.trials, swept.best),
    )
    digests.save()
    context.runs.drop_results_after(run.id, VERB)
    write_atomically(_note(context, run), msgspec.json.encode(trained))
    return trained


def _told(context: Context, trials: Sequence[Trial], best: Trial) -> dict[str, object]:
    sweep = context.config.train.sweep
    return {
        "metric": sweep.metric if sweep is not None else "",
        "search": sweep.search if sweep is not None else "",
        "winner": best.number,
        "params": {name: str(value) for name, value in best.params.items()},
        "trials": [
            {
                "number": trial.number,
                "params": dict(trial.params),
                "seconds": trial.seconds,
                **({"metric": trial.metric} if trial.metric is not None else {"trouble": trial.trouble}),
            }
            for trial in trials
        ],
    }


def _tags(context: Context, run: Run, state: Checkout, versions: Mapping[str, str]) -> dict[str, str]:
    """What every training of the run carries in MLflow."""
    return {
        "mlpipeline.run": run.id,
        "mlpipeline.service": context.config.service,
        "mlpipeline.commit": state.commit,
        "mlpipeline.dirty": state.dirty,
        "mlpipeline.data_version": msgspec.json.encode(versions, order="sorted").decode(),
    }


def _record(
    context: Context, run: Run, started: float, state: Checkout, *, versions: Mapping[str, str], trained: Trained
) -> Result:
    """Logs the training to MLflow and writes the result."""
    train = context.config.train
    model = read_model(model_folder(context))
    metrics = _metrics(context, context.project)
    chosen = trained.sweep.get("params")
    params = _params(context) | (msgspec.convert(chosen, dict[str, str]) if chosen else {})
    tags = {
        **_tags(context, run, state, versions),
        "mlpipeline.model": trained.model_digest,
        **({"mlpipeline.training_run": model.run_id} if model.run_id else {}),
    }
    tracked = context.world.registry().log_training(tags, metrics, params)
    same = " (unchanged: the same model as before)" if trained.before == trained.model_digest else ""
    reason = Reason(
        check="train",
        verdict=Verdict.PASS,
        summary=f"trained in {trained.seconds:.1f} s{_winner(trained)}, model {trained.model_digest[:19]}{same}",
        numbers={"train_seconds": trained.seconds, **_gpu_numbers(trained.gpu), **metrics},
    )
    return context.finish(
        run,
        VERB,
        started,
        [reason],
        evidence={
            **_lineage(state, versions),
            "inputs": trained.inputs,
            "params": params,
            "metrics": metrics,
            "environment": {name: value for name, value in trained.environment.items() if name != "packages"},
            **({"packages": trained.environment["packages"]} if trained.environment.get("packages") else {}),
            **({"gpu": trained.gpu} if trained.gpu else {}),
            **({"sweep": trained.sweep} if trained.sweep else {}),
            "model": train.model,
            "model_digest": trained.model_digest,
            **({"mlflow_run": tracked} if tracked else {}),
            "train_seconds": trained.seconds,
        },
        links=_links(context, run),
        facts={"model_digest": trained.model_digest},
    )


def _winner(trained: Trained) -> str:
    if not trained.sweep:
        return ""
    trials, params = trained.sweep.get("trials"), trained.sweep.get("params")
    words = ", ".join(f"{name}={value}" for name, value in params.items()) if isinstance(params, dict) else ""
    number = len(trials) if isinstance(trials, list) else 0
    return f", best of {number} trials by {trained.sweep.get('metric')} on validation rows: {words}"


def _checked_out(context: Context, run: Run) -> Checkout:
    train = context.config.train
    written = [path for path in (train.metrics, train.model, context.config.gate.holdout) if path]
    state = checkout(context.project, written=written)
    if state.commit != run.commit:
        raise ConfigurationError(
            "another commit is checked out than the one this run is of",
            facts={"run": run.id, "its commit": run.commit[:12], "checked out": state.commit[:12]},
            tries=(f"git checkout {run.commit[:12]}", "mlpipeline run (starts a run of what is checked out)"),
        )
    return state


def _data_version(context: Context, run: Run) -> dict[str, str]:
    gate = context.runs.result(run.id, "gate-data")
    return msgspec.convert(gate.evidence.get("data_version", {}), dict[str, str]) if gate is not None else {}


def _inputs(context: Context, state: Checkout, versions: Mapping[str, str]) -> str:
    described: dict[str, object] = {
        "commit": state.commit,
        "dirty": state.dirty,
        "data_version": dict(versions),
        "command": context.config.train.command,
        "model": context.config.train.model,
    }
    if context.config.train.sweep is not None:
        described["sweep"] = msgspec.to_builtins(context.config.train.sweep)
    return f"sha256:{hashlib.sha256(msgspec.json.encode(described, order='sorted')).hexdigest()}"


def _known(context: Context, run: Run, inputs: str, digests: Digests) -> Trained | None:
    """The finished training of these inputs, when its model still stands there untouched."""
    note, folder = _note(context, run), model_folder(context)
    if not note.is_file() or not _filled(folder):
        return None
    try:
        trained = msgspec.json.decode(note.read_bytes(), type=Trained)
    except msgspec.DecodeError:
        return None
    if trained.inputs != inputs or trained.model_digest != folder_digest(folder, digests):
        return None
    digests.save()
    return trained


def _note(context: Context, run: Run) -> Path:
    return context.runs.folder(run.id) / "trained.json"


def _filled(folder: Path) -> bool:
    return (folder / "MLmodel").is_file()


def _gpu_numbers(use: Mapping[str, object]) -> dict[str, Number]:
    names = {
        "held_seconds": "gpu_seconds",
        "busy_seconds": "gpu_busy_seconds",
        "peak_memory_bytes": "gpu_peak_memory_bytes",
        "energy_joules": "gpu_energy_joules",
    }
    return {name: value for key, name in names.items() if isinstance(value := use.get(key), int | float)}


def _environment(context: Context, run: Run) -> dict[str, str]:
    """The caller's own, so that the project's Python on the PATH is used, with where to log to and which run this is."""
    tracking = context.config.tracking
    return {
        **(context.environment or os.environ),
        "MLFLOW_TRACKING_URI": tracking_uri(tracking, context.places),
        "MLFLOW_EXPERIMENT_NAME": tracking.experiment or context.config.service,
        "MLPIPELINE_RUN": run.id,
        "DVC_NO_ANALYTICS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _judge(context: Context, run: Run, outcome: Outcome) -> None:
    train = context.config.train
    facts = {
        "command": train.command,
        "after": f"{outcome.seconds:.1f} s",
        "log": context.runs.folder(run.id) / LOG,
        "last lines": "\n".join(outcome.tail[-8:]) or "(no output)",
    }
    if outcome.kind == "hung":
        raise Failed(
            f"the training did not end within its time limit of {train.timeout:g} s and was ended",
            facts=facts,
            likely="it hangs, or needs more time than train.timeout allows",
            tries=("read the log", f"train: {{timeout: {train.timeout * 2:g}}}"),
        )
    if outcome.kind == "killed":
        facts = {**facts, "signal": outcome.signal}
        what = f"the training was killed by {outcome.signal}"
        if outcome.signal in _OUTSIDE:
            raise EnvironmentFault(
                what,
                facts=facts,
                likely="the machine ran out of memory" if outcome.signal == "SIGKILL" else "somebody ended it",
                tries=("run it again", "dmesg | grep -i 'killed process'"),
            )
        raise Failed(what, facts=facts, likely="a library crashed", tries=("read the log",))
    if outcome.kind == "failed":
        free = shutil.disk_usage(context.project).free
        if free < _FULL_BYTES:
            raise EnvironmentFault(
                f"the training failed with exit code {outcome.code}, and the disk is full",
                facts={**facts, "free": f"{free / 1e6:.1f} MB on the disk of {context.project}"},
                tries=("df -h", "run it again"),
            )
        raise Failed(
            f"the training failed with exit code {outcome.code}",
            facts=facts,
            likely="the command is not on the PATH" if outcome.code == 127 else "",
            tries=("read the log", f"run it by hand: {train.command}"),
        )


def _metrics(context: Context, folder: Path) -> dict[str, float]:
    """Finite numbers of the metrics file in this folder, nested names joined by dots."""
    name = context.config.train.metrics
    if not name:
        return {}
    file = folder / name
    try:
        content = msgspec.json.decode(file.read_bytes().replace(b"NaN", b"null"))
    except (OSError, msgspec.DecodeError) as error:
        raise Failed(
            "the training left no readable metrics file",
            facts={"file": file, "found": error},
            tries=("write it as JSON", "leave train.metrics out"),
        ) from error
    numbers = {
        key: value for key, value in _flat(content).items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return {key: float(value) for key, value in numbers.items() if math.isfinite(value)}


def _params(context: Context) -> dict[str, str]:
    """All values of the parameters file as text, nested names joined by dots; nothing without the file."""
    import yaml

    file = context.project / context.config.train.params
    if not context.config.train.params or not file.is_file():
        return {}
    try:
        content = yaml.safe_load(file.read_bytes())
    except yaml.YAMLError as error:
        raise ConfigurationError("the parameters file is not YAML", facts={"file": file, "found": error}) from error
    return {key: str(value) for key, value in _flat(content).items()}


def _flat(content: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(content, dict):
        return {prefix.rstrip("."): content} if prefix else {}
    flat: dict[str, object] = {}
    for key, value in content.items():
        flat.update(_flat(value, f"{prefix}{key}."))
    return flat


def _lineage(state: Checkout, versions: Mapping[str, str]) -> dict[str, object]:
    return {"commit": state.commit, "branch": state.branch, "dirty": state.dirty, "data_version": dict(versions)}


def _links(context: Context, run: Run) -> dict[str, str]:
    return {"log": LOG} if (context.runs.folder(run.id) / LOG).is_file() else {}
