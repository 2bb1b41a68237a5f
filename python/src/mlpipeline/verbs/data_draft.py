"""``gate data --draft``: a first suite for each data file that has none, from the champion's data, or today's without one."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import msgspec

from mlpipeline.config.sections.data import DataFile
from mlpipeline.core.drafting import suite
from mlpipeline.core.expectations import parse_suite
from mlpipeline.errors import ConfigurationError, MlpipelineError
from mlpipeline.record.files import write_atomically
from mlpipeline.verbs import data_reference
from mlpipeline.verbs.context import Context

FOLDER = "expectations"


class Drafted(msgspec.Struct, frozen=True):
    """What was written, and what was left alone.

    Args:
        written: Suite by data file.
        kept: Suites that were there already, which are never touched.
        told: A line for each file.
    """

    written: dict[str, str]
    kept: dict[str, str]
    told: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"{len(self.written)} suite(s) drafted, {len(self.kept)} left as they are"

    def lines(self) -> list[str]:
        more = [f"name it in mlpipeline.yaml: data.files.{name}.suite: {path}" for name, path in self.written.items()]
        return [self.summary, *(f"  {line}" for line in (*self.told, *more))]


def draft(context: Context) -> Drafted:
    """Writes ``expectations/<name>.json`` (or what ``suite`` names) where there is none.

    Raises ConfigurationError when no data is configured or some does not exist, Failed when it cannot be read.
    """
    files = context.config.data.files
    if not files:
        raise ConfigurationError("no data files are configured", tries=("data: {files: {train: {path: data/train.parquet}}}",))
    written: dict[str, str] = {}
    kept: dict[str, str] = {}
    told: list[str] = []
    for name, file in files.items():
        path = file.suite or f"{FOLDER}/{name}.json"
        if (context.project / path).exists():
            kept[name] = path
            told.append(f"{name}: {path} is there already, and stays as it is")
            continue
        made, source = _suite(context, name, file)
        content = json.dumps(made, indent=2, ensure_ascii=False).encode() + b"\n"
        parse_suite(content, path)
        write_atomically(context.project / path, content)
        written[name] = path
        told.append(f"{name}: {path}, {len(made['expectations'])} expectations from {source}")  # type: ignore[arg-type]
    return Drafted(written, kept, tuple(told))


def _suite(context: Context, name: str, file: DataFile) -> tuple[dict[str, object], str]:
    from mlpipeline.adapters.duckdb.databases import is_server

    version = None if is_server(file.path) else data_reference.champion(context)
    why = "nothing was released yet"
    if version is not None:
        try:
            commit = data_reference.commit_of(context, version, tries=())
            with tempfile.TemporaryDirectory(prefix="mlpipeline-draft-") as folder:
                place = data_reference.at_commit(context, file.path, commit, Path(folder))
                source = f"{file.path} as it was at the champion's commit {commit[:12]}"
                return _of(place.parent, place.name, file, name, source), source
        except MlpipelineError as error:
            why = error.what
    source = f"{file.path} as it is now ({why})"
    return _of_configured(context, name, source), source


def _of(folder: Path, path: str, file: DataFile, name: str, source: str) -> dict[str, object]:
    from mlpipeline.adapters.duckdb.files import find, open_table
    from mlpipeline.adapters.duckdb.portrait import portrait

    table = open_table(find(folder, path), file.path, table=file.table)
    try:
        return suite(name, *portrait(table), source)
    finally:
        table.close()


def _of_configured(context: Context, name: str, source: str) -> dict[str, object]:
    from mlpipeline.adapters.duckdb.portrait import portrait
    from mlpipeline.verbs.gate_data import opened, require

    require(context, name)
    table = opened(context, name)
    try:
        return suite(name, *portrait(table), source)
    finally:
        table.close()
