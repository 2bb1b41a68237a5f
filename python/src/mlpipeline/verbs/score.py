"""``score``: predicts a file or a folder of files, judges the answers, and only then lets them replace the old ones."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mlpipeline.core.batch import format_of
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Held, MlpipelineError
from mlpipeline.record import swap
from mlpipeline.record.files import write_atomically
from mlpipeline.record.result import Reason, Result
from mlpipeline.verbs.batch import Batch, Model, chosen_model, predicted, source_of
from mlpipeline.verbs.batch_gate import judged, kept_summaries, summaries
from mlpipeline.verbs.context import Context

VERB = "score"
MARK = "_mlpipeline.json"
"""In a folder of answers: what they are of. Readers of Parquet and CSV pass over names that begin so."""


class Scored(msgspec.Struct, frozen=True):
    """What was written: kept beside the summaries, so that the same call again finds that nothing is left to do.

    Args:
        asked: Digest of what decides the bytes besides input and model.
    """

    output: str
    output_digest: str
    input: str
    input_digest: str
    digest: str
    model_version: str
    rows: int
    engine: str
    asked: str
    told: bool = False

    @property
    def facts(self) -> dict[str, str]:
        """For the ledger."""
        told = {name: str(value) for name, value in msgspec.to_builtins(self).items() if name not in {"asked", "told"}}
        return {name: value for name, value in told.items() if value}


def run(context: Context, *, input: str = "", output: str = "", model: str = "", engine: str = "") -> Result:  # noqa: A002
    """Scores, judges, replaces; once more with the same input and model finds nothing to do.

    Args:
        input: Parquet or CSV: a file, a folder of partitions, or a pattern.
        output: A file that ends in .parquet, .csv or .csv.gz, or a folder.
        model: Digest of a package or a version of the registry; empty: the champion.
        engine: ``process`` or ``spark``; empty: ``score.engine``.

    Raises:
        ConfigurationError: Input, output or model is not what the command can work with.
        Failed: The input cannot be read or misses the model's signature, or the model raises.
        EnvironmentFault: The machine or the disk is to blame.
    """
    started = context.clock.monotonic()
    engine = engine or context.config.score.engine
    if engine not in {"process", "spark"}:
        raise ConfigurationError(f"there is no engine {engine!r}", tries=("--engine process", "--engine spark"))
    place = _output(context, output)
    source = source_of(context, input, place, engine)
    subject = chosen_model(context, model)
    batch = Batch(source, place, subject, engine, context.config.score)
    with _alone(context, place) as folder:
        _finish_earlier(context, folder, place)
        known = _known(folder)
        if known is not None and _same(known, batch, place):
            said = f"nothing to do: {place.name} holds {known.rows:,} answers of this model to this input already"
            return _result(context, started, [Reason("score.same", Verdict.PASS, said)], known)
        return _scored(context, started, batch, folder)


def _scored(context: Context, started: float, batch: Batch, folder: Path) -> Result:
    place = batch.output
    staged = swap.staged_place(place)
    try:
        rows = predicted(context, batch, staged)
        reasons = judged(context, batch, staged, rows, kept_summaries(folder))
        if any(reason.verdict is not Verdict.PASS for reason in reasons):
            kept = "the old output stays" if place.exists() else "nothing was written"
            return _result(context, started, reasons, None, f"; {kept}", told=True)
        done = _record(batch, staged, rows)
        if staged.is_dir():
            write_atomically(staged / MARK, _encoded(done), mode=0o644)
            swap.sync_tree(staged)
        summed = summaries(context, batch, staged)
        write_atomically(folder / "record.json", _encoded(done))
        swap.replace(place)
        write_atomically(folder / "summaries", summed)
    except OSError as error:
        raise _of_disk(error, place) from error
    finally:
        swap.recover(place)
    _tell(context, folder, done)
    told = f"{rows:,} rows scored with {batch.model.named}; {place} replaced"
    return _result(context, started, [Reason("score.written", Verdict.PASS, told), *reasons], done)


def _record(batch: Batch, staged: Path, rows: int) -> Scored:
    from mlpipeline.verbs.batch import digest_of

    return Scored(
        output=str(batch.output),
        output_digest=digest_of(staged),
        input=batch.source.named,
        input_digest=batch.source.digest,
        digest=batch.model.digest,
        model_version=batch.model.version,
        rows=rows,
        engine=batch.engine,
        asked=batch.asked,
    )


def _same(known: Scored, batch: Batch, place: Path) -> bool:
    from mlpipeline.verbs.batch import digest_of

    wanted = (batch.source.digest, batch.model.digest, batch.asked)
    return (
        (known.input_digest, known.digest, known.asked) == wanted and place.exists() and digest_of(place) == known.output_digest
    )


def _finish_earlier(context: Context, folder: Path, place: Path) -> None:
    """What a worker that was killed left: half an output goes, and what it had put in place is told to the ledger."""
    from mlpipeline.verbs.batch import digest_of

    try:
        swap.recover(place)
    except OSError as error:
        raise _of_disk(error, place) from error
    known = _known(folder)
    if known is not None and not known.told and place.exists() and digest_of(place) == known.output_digest:
        _tell(context, folder, known)


def _tell(context: Context, folder: Path, done: Scored) -> None:
    context.note(VERB, verdict="pass", summary=f"{done.rows:,} rows of {done.input} scored", facts=done.facts)
    write_atomically(folder / "record.json", _encoded(msgspec.structs.replace(done, told=True)))


def _known(folder: Path) -> Scored | None:
    try:
        return msgspec.json.decode((folder / "record.json").read_bytes(), type=Scored)
    except (OSError, msgspec.DecodeError):
        return None


@contextmanager
def _alone(context: Context, place: Path) -> Iterator[Path]:
    """The folder of what is known of this output, held by one worker at a time."""
    from hashlib import sha256

    folder = context.places.state / "scored" / sha256(str(place).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Held(
                "another worker scores to this output now", facts={"output": place}, tries=("run it again later",)
            ) from error
        yield folder


def _output(context: Context, given: str) -> Path:
    """Raises ConfigurationError for a place that cannot hold answers, before anything is predicted."""
    if not given:
        raise ConfigurationError("there is no output", tries=("mlpipeline score --input FILE --output FILE",))
    place = (context.project / given).absolute()
    facts = {"output": place}
    if place.is_symlink():
        raise ConfigurationError("the output is a link, and would be replaced instead of what it leads to", facts=facts)
    if not place.parent.is_dir():
        raise ConfigurationError("the folder of the output does not exist", facts=facts, tries=(f"mkdir -p {place.parent}",))
    if place.is_dir() and any(place.iterdir()) and not (place / MARK).is_file():
        raise ConfigurationError(
            "the output folder holds something that this command did not write, and would be replaced as a whole",
            facts=facts,
            tries=("name a folder that does not exist yet",),
        )
    if place.suffix and not format_of(place.name) and not place.is_dir():
        raise ConfigurationError(
            f"answers cannot be written as {place.suffix}", facts=facts, tries=("a name that ends in .parquet or .csv",)
        )
    if place.is_dir() and format_of(place.name):
        raise ConfigurationError("the output is a folder, and its name is a file's", facts=facts)
    if place.is_file() and not format_of(place.name):
        raise ConfigurationError("the output is a file, and its name is a folder's", facts=facts)
    return place


def _result(
    context: Context, started: float, reasons: list[Reason], done: Scored | None, more: str = "", *, told: bool = False
) -> Result:
    verdict = worst(reason.verdict for reason in reasons)
    summary = next(reason.summary for reason in reasons if reason.verdict is verdict) + more
    if told:
        context.note(VERB, verdict=str(verdict), summary=summary)
    evidence: Mapping[str, object] = {} if done is None else {**done.facts, "rows": done.rows}
    return context.judged(VERB, started, reasons, verdict=verdict, summary=summary, evidence=evidence)


def _of_disk(error: OSError, place: Path) -> MlpipelineError:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return EnvironmentFault(
        "the disk is full" if full else "the output cannot be written",
        facts={"output": place, "found": error},
        likely="" if full else "this user may not write there",
        tries=(f"df -h {place.parent}" if full else f"ls -ld {place.parent}", "the old output is as it was"),
    )


def _encoded(done: Scored) -> bytes:
    return msgspec.json.format(msgspec.json.encode(done)) + b"\n"


__all__ = ["MARK", "VERB", "Model", "run"]
