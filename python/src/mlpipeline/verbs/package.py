"""``package``: puts the model and everything that runs it into one content-addressed bundle."""

from __future__ import annotations

import sys
from pathlib import Path

import mlpipeline
from mlpipeline.adapters.bundle import Digests, build, files_under, folder_digest
from mlpipeline.adapters.environment import Environments
from mlpipeline.adapters.mlflow import read_model
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.serving.requirements import REQUIREMENTS
from mlpipeline.verbs.attesting import Packaged, attest
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.train import model_folder

VERB = "package"


def run(context: Context, run: Run) -> Result:
    """Locks the serving environment, writes the bundle and installs the environment, each unless it is there already.

    Raises Failed for a model that cannot be served, ConfigurationError for requirements that contradict each other,
    EnvironmentFault when the disk is full (nothing half-written stays) or no wheels can be had.
    """
    started = context.clock.monotonic()
    trained = context.needed(run, "train", VERB)
    model = model_folder(context)
    trained_digest = str(trained.evidence.get("model_digest", ""))
    _there(model)
    _same_model(folder_digest(model, Digests(context.places.work / "digests-model.json")), trained_digest, model)
    read_model(model)
    environments = Environments(context.places, wheelhouse(context))
    python = python_version(model)
    lock = environments.lock(requirements(context, model), python=python)
    digests = Digests(context.places.work / "digests-bundle.json")
    built = build(
        context.places.bundles,
        _sources(context, model),
        {"requirements.lock": lock.text, "lib/mlpipeline/__init__.py": _package_text()},
        lock=lock.digest,
        python=python,
        digests=digests,
    )
    digests.save()
    _same_model(built.manifest.part("model"), trained_digest, model)
    interpreter = environments.install(lock)
    digest = built.manifest.digest
    attest(
        context,
        run,
        Packaged(
            digest=digest,
            path=str(built.path),
            lock_digest=lock.digest,
            lock=lock.text,
            python=python,
            interpreter=str(interpreter),
        ),
    )
    previous = context.runs.result(run.id, VERB)
    if previous is not None and previous.verdict is Verdict.PASS and previous.evidence.get("digest") == digest and not built.made:
        context.console.say(f"package: nothing to do, the bundle is there: {digest[:19]}")
        return previous
    if previous is None or previous.evidence.get("digest") != digest:
        context.runs.drop_results_after(run.id, VERB)  # what was registered and approved was another bundle
    reason = Reason(
        check="package",
        verdict=Verdict.PASS,
        summary=f"bundle {digest[:19]}, {len(built.manifest.files)} files, {built.manifest.bytes / 1e6:.1f} MB"
        + ("" if built.made else " (it was there already)"),
        numbers={"files": len(built.manifest.files), "bytes": built.manifest.bytes},
    )
    return context.finish(
        run,
        VERB,
        started,
        [reason],
        evidence={
            "digest": digest,
            "path": str(built.path),
            "bytes": built.manifest.bytes,
            "environment": lock.digest,
            "files": len(built.manifest.files),
            "python": str(interpreter),
        },
        facts={"digest": digest},
    )


def _there(model: Path) -> None:
    if not model.is_dir():
        raise ConfigurationError(
            "the trained model is not there any more",
            facts={"missing": model},
            likely="the folder was removed after the training ended, or this is another checkout",
            tries=("mlpipeline train",),
        )


def _same_model(packaged: str, trained: str, model: Path) -> None:
    """What was trained and judged is what gets shipped."""
    if packaged != trained:
        raise ConfigurationError(
            "the model is not the one that was trained in this run",
            facts={"folder": model, "trained": trained, "found": packaged},
            likely="the folder was written after the training ended",
            tries=("mlpipeline train", "mlpipeline run"),
        )


def wheelhouse(context: Context) -> Path | None:
    """The configured folder of wheels, if any."""
    chosen = context.config.package.wheelhouse
    return context.project / chosen if chosen else None


def requirements(context: Context, model: Path) -> list[str]:
    """What the serving environment is locked from: the configured file, else the model's own, and the serving process's."""
    _there(model)
    chosen = context.config.package.requirements
    file = context.project / chosen if chosen else model / "requirements.txt"
    if not file.is_file():
        raise ConfigurationError(
            "the model's requirements are missing",
            facts={"file": file},
            tries=("save the model with MLflow, which writes requirements.txt", "name a file in package.requirements"),
        )
    try:
        own = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "the requirements are not UTF-8 text", facts={"file": file, "found": error}, tries=(f"file {file}",)
        ) from error
    return [*own, *REQUIREMENTS]


def python_version(model: Path) -> str:
    """Major and minor version the model was saved with, such as ``3.11``; the worker's own when it does not say."""
    saved = read_model(model).python.split(".")
    return ".".join(saved[:2]) if len(saved) >= 2 else f"{sys.version_info.major}.{sys.version_info.minor}"


def _sources(context: Context, model: Path) -> dict[str, Path]:
    sources = files_under(model, "model")
    serving = Path(mlpipeline.__file__).parent / "serving"
    sources.update({path: file for path, file in files_under(serving, "lib/mlpipeline/serving").items() if file.suffix == ".py"})
    root = context.project.resolve()
    for name in context.config.package.include:
        place = (context.project / name).resolve()
        if not place.exists() or not place.is_relative_to(root):
            raise ConfigurationError(
                "a path in package.include is not in the project",
                facts={"path": name, "project": context.project},
                tries=("correct package.include",),
            )
        sources.update(files_under(place, f"code/{place.relative_to(root)}", within=root))
    return sources


def _package_text() -> str:
    """The ``__init__`` of the copied package: the version, and nothing that would need the rest of the worker."""
    return f'"""The serving part of mlpipeline."""\n\n__version__ = "{mlpipeline.__version__}"\n'
