"""What ``doctor`` asks of the files that a release reads once it is trained: are they there, and can they be read?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlpipeline.errors import ConfigurationError
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.findings import Note
from mlpipeline.verbs.rehearsing import refuse_malformed
from mlpipeline.verbs.replaying import of_file


def files(context: Context) -> str | Note:
    """Golden requests, warm-up requests and recorded ones.

    Raises:
        ConfigurationError: One is malformed, or is missing and nothing is known to make it.
    """
    refuse_malformed(context)
    named = dict(_named(context))
    missing = {key: name for key, name in named.items() if not (context.project / name).is_file()}
    for key, name in missing.items():
        if not _made_by_dvc(context.project, name):
            raise ConfigurationError(
                f"{key} names a file that does not exist",
                facts={"file": name, "folder": context.project},
                tries=(f"ls -l {context.project / name}", "git status"),
            )
    replay = context.config.rollout.replay
    if replay.file and replay.requests and "rollout.replay.file" not in missing:
        of_file(context)
    if missing:
        return Note(f"{', '.join(missing.values())} is not there yet; DVC makes or pulls it before the release needs it")
    return f"{len(named)} files of requests can be read" if named else "no files of requests are used"


def _named(context: Context) -> Iterator[tuple[str, str]]:
    config = context.config
    sections = {"": config.deploy, **({"staging.": config.staging.deploy} if config.staging is not None else {})}
    for before, section in sections.items():
        for name, rule in (("golden", section.golden), ("warm_up", section.warm_up)):
            if rule.file:
                yield f"{before}deploy.{name}.file", rule.file
    if config.rollout.replay.file and config.rollout.replay.requests:
        yield "rollout.replay.file", config.rollout.replay.file


def _made_by_dvc(project: Path, name: str) -> bool:
    if (project / f"{name}.dvc").is_file():
        return True
    pipeline = project / "dvc.yaml"
    return pipeline.is_file() and name in pipeline.read_text(errors="replace")
