"""``package``: puts the model and everything that runs it into one content-addressed bundle."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import mlpipeline
from mlpipeline.adapters.bundle import Built, Digests, build, files_under, folder_digest
from mlpipeline.adapters.environment import Environments, Lock
from mlpipeline.adapters.mlflow import read_model
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.serving.requirements import REQUIREMENTS
from mlpipeline.verbs.attesting import Packaged, attest
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.gate_security import require as require_secure
from mlpipeline.verbs.package_versions import TrainedVersions, compared, own_lines, pinned
from mlpipeline.verbs.publishing import publish
from mlpipeline.verbs.train import model_folder

if TYPE_CHECKING:
    from mlpipeline.adapters.oci.layers import WatchedLayer
    from mlpipeline.verbs.package_image import MadeImage, PreparedImage

VERB = "package"


class Packing(msgspec.Struct, frozen=True):
    """What an image is made from: the bundle, its lock, who installs it, and the result of the training."""

    built: Built
    lock: Lock
    environments: Environments
    trained: Result


def run(context: Context, run: Run, image: str = "") -> Result:
    """Locks the serving environment, writes the bundle, installs the environment and makes the configured container image, each
    unless it is there already.

    Args:
        image: Where the image is written to besides the configured places: a folder, or a file that ends in ``.tar``.

    Raises Failed for a model that cannot be served or did not pass ``gate security``, and for an image that scanners stop;
    ConfigurationError for requirements that contradict each other, EnvironmentFault when the disk is full (nothing half-written
    stays) or no wheels can be had.
    """
    started = context.clock.monotonic()
    trained = context.needed(run, "train", VERB)
    model = model_folder(context)
    trained_digest = str(trained.evidence.get("model_digest", ""))
    _there(model)
    trained_files = Digests(context.places.work / "digests-model.json")
    _same_model(folder_digest(model, trained_files), trained_digest, model)
    read_model(model)
    require_secure(context, run)
    environments = Environments(context.places, wheelhouse(context))
    python = python_version(model)
    versions = TrainedVersions.of(trained)
    wanted, pins = pinned(context, requirements(context, model), versions)
    kept = context.project / context.config.package.lock if context.config.package.lock else None
    lock = environments.lock(wanted, python=python, kept=kept)
    differences = compared(context, lock.text, versions)
    digests = Digests(context.places.work / "digests-bundle.json", trained_files)
    sources = _sources(context, model)
    watched = _watched(context, sources)
    built = build(
        context.places.bundles,
        sources,
        {"requirements.lock": lock.text, "lib/mlpipeline/__init__.py": _package_text()},
        lock=lock.digest,
        python=python,
        digests=digests,
        watchers=watched,
    )
    if built.made:
        for layer in watched.values():
            layer.remember()
    digests.save()
    _same_model(built.manifest.part("model"), trained_digest, model)
    interpreter = environments.install(lock)
    digest = built.manifest.digest
    prepared = _prepared(context, run, Packing(built, lock, environments, trained), image)
    _look_into(context, run, prepared)
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
            images={prepared.name: prepared.image.digest} if prepared else {},
        ),
    )
    # Only what can be vouched for is published.
    made = prepared.put(context) if prepared else None
    if made and made.reference:
        publish(context, digest, run.id, made.reference)
    previous = context.runs.result(run.id, VERB)
    same = previous is not None and previous.evidence.get("digest") == digest and _same_image(made, previous)
    if previous is not None and same and previous.verdict is Verdict.PASS and not built.made and not _moved(made):
        context.console.say(f"package: nothing to do, the bundle is there: {digest[:19]}")
        return previous
    if not same:
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
        [reason, *([made.reason] if made else []), *pins, *differences],
        evidence={
            "digest": digest,
            "path": str(built.path),
            "bytes": built.manifest.bytes,
            "environment": lock.digest,
            "files": len(built.manifest.files),
            "python": str(interpreter),
            **({"image": msgspec.to_builtins(made)} if made else {}),
        },
        facts={"digest": digest, **({"image": made.digest} if made else {})},
    )


def _watched(context: Context, sources: Mapping[str, Path]) -> dict[str, WatchedLayer]:
    """The model's layer is measured while the model is copied into the bundle."""
    if not context.config.image.base:
        return {}
    from mlpipeline.verbs.package_image import model_layer

    return {"model": model_layer(context, sources)}


def _prepared(context: Context, run: Run, packing: Packing, path: str) -> PreparedImage | None:
    """The container image; none is made, and nothing of that is loaded, unless it is wanted."""
    wanted = context.config.image
    if not (wanted.base or wanted.dockerfile or path):
        return None
    from mlpipeline.verbs.package_image import prepare_image

    return prepare_image(context, run, packing, path)


def _look_into(context: Context, run: Run, prepared: PreparedImage | None) -> None:
    """The image is scanned before anything is said of it and before anybody can have it."""
    from mlpipeline.verbs import gate_image

    if prepared is not None and gate_image.wanted(context):
        gate_image.require(context, run, prepared.image)
    else:
        context.runs.drop_result(run.id, gate_image.VERB)


def _same_image(made: MadeImage | None, previous: Result) -> bool:
    return previous.evidence.get("image") is None if made is None else made.same_as(previous.evidence.get("image"))


def _moved(made: MadeImage | None) -> bool:
    return made is not None and made.sent + made.written > 0


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
    return [*own_lines(own), *REQUIREMENTS]


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
