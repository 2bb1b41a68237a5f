"""Whether the model that stands after a training is of that training, or was left over from an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlpipeline.errors import Failed
from mlpipeline.verbs.context import Context

Written = Mapping[str, tuple[int, int, int]]
"""By path: inode, and the nanoseconds of the last change of content and of the file's own entry."""


class Made(msgspec.Struct, frozen=True):
    """What is known of an earlier training: see :class:`mlpipeline.verbs.train.Trained`."""

    inputs: str
    model_digest: str


def written(folder: Path) -> Written:
    """What changes when any file is written again, even with the same content. Nothing without a folder."""
    found = {}
    for file in folder.rglob("*") if folder.is_dir() else ():
        if file.is_file():
            state = file.stat()
            found[str(file)] = (state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    return found


def refuse_leftover(context: Context, before: Written, *, inputs: str, model_digest: str, facts: Mapping[str, object]) -> None:
    """Raises Failed when the command left the model folder as it was and nothing says that this model is up to date.

    It is, when an earlier training of the same inputs left it, when DVC records it for this checkout (``dvc repro`` with
    nothing to do), or when it is committed.

    Args:
        before: :func:`written` of the folder before the command.
        inputs: Digest of commit, data, command and so on.
        facts: Of the command, for the error.
    """
    folder = context.project / context.config.train.model
    if written(folder) != before or _made_of(context, inputs, model_digest) or _recorded(context.project, folder):
        return
    raise Failed(
        "the training ended with exit code 0, but left no model: the one that stands there is from before",
        facts={**facts, "model": folder, "digest": model_digest},
        likely="the command writes its model somewhere else, or ended before it wrote one",
        tries=(
            "train.model: the folder that the command writes",
            f"rm -r {context.config.train.model}, then mlpipeline run",
            "dvc repro, or DVC or git for the model: they tell that it is up to date",
        ),
    )


def _made_of(context: Context, inputs: str, model_digest: str) -> bool:
    for run in context.runs.all():
        try:
            made = msgspec.json.decode((context.runs.folder(run.id) / "trained.json").read_bytes(), type=Made)
        except (OSError, msgspec.DecodeError):
            continue
        if (made.inputs, made.model_digest) == (inputs, model_digest):
            return True
    return False


def _recorded(project: Path, folder: Path) -> bool:
    """Whether DVC or git say that what stands there belongs to this checkout."""
    from mlpipeline.adapters import git
    from mlpipeline.adapters.dvc import tracked

    if git.committed(project, folder):
        return True
    root = tracked.repository(project)
    output = tracked.covering(folder, tracked.tracked(project, root)) if root else None
    return output is not None and bool(output.hash) and tracked.md5(output.path) == output.hash
