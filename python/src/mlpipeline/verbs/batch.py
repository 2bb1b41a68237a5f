"""What a batch consists of (input, model, output), and how its answers are made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.config.sections.scoring import BatchScoring
from mlpipeline.core.batch import Wanted, format_of, misses, part_name, signature
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.record.journal import Journal
from mlpipeline.verbs.context import Context


class Source(msgspec.Struct, frozen=True):
    """What is to be scored.

    Args:
        root: Folder that names in the output are relative to.
        named: As it was given.
    """

    files: tuple[Path, ...]
    root: Path
    named: str
    digest: str

    @property
    def form(self) -> str:
        return format_of(self.files[0].name)


class Model(msgspec.Struct, frozen=True):
    """A package of this machine."""

    digest: str
    bundle: Path
    version: str = ""

    @property
    def named(self) -> str:
        return f"version {self.version}" if self.version else self.digest[:19]


class Batch(msgspec.Struct, frozen=True, dict=True):
    """One call."""

    source: Source
    output: Path
    model: Model
    engine: str
    rule: BatchScoring

    @cached_property
    def wanted(self) -> tuple[Wanted, ...]:
        """The columns of the model's signature. Raises Failed when it has none."""
        return signature(self._facts.inputs)

    @cached_property
    def _facts(self) -> Any:
        from mlpipeline.adapters.mlflow.model import read_model

        return read_model(self.model.bundle / "model", written_by="the package")

    @property
    def answers(self) -> str:
        """Type of what the signature answers; empty when it answers several columns or does not tell."""
        try:
            (only,) = msgspec.json.decode(self._facts.outputs or "[]", type=list[dict[str, Any]])
        except (ValueError, msgspec.DecodeError):
            return ""
        shape = only.get("tensor-spec", {}).get("shape", [-1])
        return str(only["tensor-spec"]["dtype"] if "tensor-spec" in only else only.get("type", "")) if len(shape) == 1 else ""

    @property
    def asked(self) -> str:
        """Digest of what else decides the bytes of the output, and whether they pass."""
        plain = msgspec.to_builtins(self.rule, enc_hook=float)
        return hashlib.sha256(msgspec.json.encode([self.engine, plain], order="sorted")).hexdigest()


def source_of(context: Context, given: str, output: Path, engine: str) -> Source:
    """Raises ConfigurationError when there is nothing to score, or it lies where the answers are to go."""
    from mlpipeline.adapters.duckdb import files

    if not given:
        raise ConfigurationError("there is no input", tries=("mlpipeline score --input FILE --output FILE",))
    found = tuple(file for file in files.find(context.project, given) if ".mlpipeline-" not in str(file))
    if not found:
        raise ConfigurationError(
            "there is no such input",
            facts={"input": given, "project": context.project},
            likely="a misspelt path, or a folder without Parquet or CSV in it",
            tries=(f"ls {given}",),
        )
    if not format_of(found[0].name):
        raise ConfigurationError("score reads Parquet or CSV", facts={"input": found[0]}, tries=("export the table to Parquet",))
    place = (context.project / given).absolute()
    root = place if place.is_dir() else Path(os.path.commonpath([file.parent for file in found]))
    _refuse_overlap(place, found, root, output)
    single = len(found) == 1 and not place.is_dir() and not any(character in given for character in "*?[")
    if format_of(output.name) and not single:
        raise ConfigurationError(
            f"{len(found)} files are to be scored, and the output names one file",
            facts={"input": given, "output": output},
            tries=("name a folder as the output",),
        )
    if engine == "spark" and format_of(output.name):
        raise ConfigurationError("Spark writes a folder", facts={"output": output}, tries=("name a folder as the output",))
    return Source(found, root, given, _digest(found, root))


def _refuse_overlap(place: Path, files: Sequence[Path], root: Path, output: Path) -> None:
    same = [file for file in files if file.resolve() == output.resolve() or output.resolve() in file.resolve().parents]
    within = place.is_dir() and root.resolve() in output.resolve().parents
    if same or within:
        raise ConfigurationError(
            "the output is the input, or lies in it",
            facts={"input": place, "output": output},
            tries=("name another place for the output",),
        )


def chosen_model(context: Context, given: str) -> Model:
    """The champion, or the package of this digest or version.

    Raises:
        ConfigurationError: There is no champion, or no such package.
        Failed: The package was taken back and is quarantined.
        EnvironmentFault: The package is not on this machine, or not as it was packaged.
    """
    from mlpipeline.adapters.bundle import verify
    from mlpipeline.verbs.verify_artifact import resolved

    state = Journal(context.places.journal).read()
    if not given:
        if state.champion is None:
            raise ConfigurationError(
                "there is no champion to score with",
                likely="nothing was released yet, or not on this machine",
                tries=("mlpipeline run", "mlpipeline score --model DIGEST ..."),
            )
        version = state.champion.version
        model = Model(version.digest, Path(version.path), version.model_version)
    else:
        known = _of_version(context, given) if given.isdigit() and len(given) < 8 else None
        digest = known or resolved(context, given)
        model = Model(digest, context.places.bundles / digest.removeprefix("sha256:"), given if known else "")
    barred = state.quarantined.get(model.digest)
    if barred is not None:
        raise Failed(
            "this version was taken back and is quarantined",
            facts={"digest": model.digest, "reason": barred.reason},
            tries=("score with the champion: leave --model out",),
        )
    verify(model.bundle)
    return model


def _of_version(context: Context, given: str) -> str:
    found = context.world.registry().version(context.config.service, given)
    digest = found.tags.get("mlpipeline.digest", "") if found is not None else ""
    if not digest:
        raise ConfigurationError(f"the registry has no version {given} of {context.config.service}", tries=("mlpipeline status",))
    return digest


def predicted(context: Context, batch: Batch, staged: Path) -> int:
    """Writes the answers beside the output; returns how many rows were read. Raises Failed for input that does not fit."""
    from mlpipeline.adapters.environment import python_for
    from mlpipeline.adapters.scoring import tables

    for file in batch.source.files:
        found = tables.columns_of(file, batch.wanted)
        _refuse_misfit(batch, file, found)
    wheelhouse = context.project / context.config.package.wheelhouse if context.config.package.wheelhouse else None
    python = python_for(context.places, batch.model.bundle, wheelhouse=wheelhouse)
    context.console.say(f"score: {len(batch.source.files)} file(s) with {batch.model.named}, engine {batch.engine}")
    rows = _on_spark(batch, staged, python) if batch.engine == "spark" else _in_process(context, batch, staged, python)
    if not rows:
        raise Failed("the input has no rows, only headers or schemas", facts={"input": batch.source.named})
    return rows


def _refuse_misfit(batch: Batch, file: Path, found: dict[str, str]) -> None:
    partitions = {part.partition("=")[0] for part in file.relative_to(batch.source.root).parts[:-1] if "=" in part}
    lacking = [one for one in misses(batch.wanted, found) if one.split()[1] not in partitions or batch.engine != "spark"]
    if lacking:
        raise Failed(
            f"the input does not fit the model's signature: {lacking[0]}",
            facts={"file": file, "all": "; ".join(lacking), "columns": ", ".join(found)},
            tries=("bring the columns into the input", "mlpipeline score --model DIGEST, of a model made for this input"),
        )
    unknown = [name for name in batch.rule.keep if name not in found and name not in partitions]
    if unknown:
        raise ConfigurationError(
            f"score.keep names the column {unknown[0]!r}, which the input does not have",
            facts={"file": file, "columns": ", ".join(found)},
        )
    taken = [name for name in batch.rule.keep or found if name == batch.rule.prediction]
    if taken:
        raise ConfigurationError(
            f"the input has a column {taken[0]!r} itself, which is the name of the answers",
            tries=("score.prediction: another name", "score.keep: the columns to keep"),
        )


def _on_spark(batch: Batch, staged: Path, python: Path) -> int:
    from mlpipeline.adapters import spark
    from mlpipeline.adapters.bundle import load

    if not batch.answers:
        raise ConfigurationError("on Spark a model answers one column", tries=("score.engine: process",))
    spark.require_python(load(batch.model.bundle).python)
    return spark.score(
        batch.source.files,
        staged,
        batch.model.bundle / "model",
        python=python,
        wanted=batch.wanted,
        answers=batch.answers,
        kept=batch.rule.keep,
        prediction=batch.rule.prediction,
        settings=batch.rule.spark,
        import_path=_import_path(batch),
    )


def _in_process(context: Context, batch: Batch, staged: Path, python: Path) -> int:
    from mlpipeline.adapters.scoring.pieces import PieceScorer

    rows, empty, schema = 0, [], None
    files = batch.source.files
    model = batch.model.bundle / "model"
    scorer = PieceScorer(
        python, model, name=batch.model.named, timeout=float(batch.rule.timeout), import_path=_import_path(batch)
    )
    with scorer:
        for number, file in enumerate(files):
            context.console.progress(f"scoring: {file.name}", number, len(files))
            count, made = _one_file(batch, scorer, file, _place(batch, staged, file))
            schema = schema or made
            rows += count
            empty += [] if count else [file]
    context.console.progress("scoring: done", len(files), len(files))
    for file in empty if schema is not None else ():
        _write_nothing(_place(batch, staged, file), schema)
    return rows


def _one_file(batch: Batch, scorer: Any, file: Path, place: Path) -> tuple[int, Any]:
    import pyarrow as pa

    from mlpipeline.adapters.scoring import tables

    rows = 0
    with tables.Writer(place) as writer:
        for piece in tables.pieces(file, batch.wanted, batch.rule.piece_rows):
            if not piece.num_rows:
                continue
            said = scorer.predict(tables.for_model(piece, batch.wanted, file))
            kept = {name: piece.column(piece.schema.get_field_index(name)) for name in batch.rule.keep or piece.schema.names}
            writer.write(pa.table({**kept, **{_answer(batch, name): column for name, column in said}}))
            rows += piece.num_rows
        return rows, writer.schema


def _write_nothing(place: Path, schema: Any) -> None:
    from mlpipeline.adapters.scoring import tables

    with tables.Writer(place) as writer:
        writer.write(schema.empty_table())


def _answer(batch: Batch, name: str) -> str:
    return f"{batch.rule.prediction}_{name}" if name else batch.rule.prediction


def _place(batch: Batch, staged: Path, file: Path) -> Path:
    """Where the answers to a file go: the output itself, or a file of it."""
    if format_of(batch.output.name):
        return staged
    return staged / part_name(str(file.relative_to(batch.source.root)), batch.source.form)


def _import_path(batch: Batch) -> list[Path]:
    return [batch.model.bundle / "code"]


def digest_of(place: Path) -> str:
    """``sha256:...`` of a file, or of the names and contents of a folder's data files."""
    if place.is_file():
        return _digest([place], place.parent)
    return _digest(sorted(file for file in place.rglob("*") if file.is_file() and format_of(file.name)), place)


def _digest(files: Sequence[Path], root: Path) -> str:
    digests = []
    for file in files:
        with file.open("rb") as content:
            digests.append((file.relative_to(root).as_posix(), hashlib.file_digest(content, "sha256").hexdigest()))
    if len(digests) == 1:
        return f"sha256:{digests[0][1]}"
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
