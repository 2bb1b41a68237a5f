"""Scores a batch on Spark, with MLflow's own user-defined function, for data beyond one machine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipeline.core.batch import Wanted, format_of
from mlpipeline.core.data_schema import MISSING_TEXTS
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.hosting.spark import session

_TYPES: Mapping[str, str] = {
    **{"float64": "double", "float32": "float", "int64": "long", "int32": "int", "bool": "boolean"},
    **{"double": "double", "float": "float", "long": "long", "integer": "int", "boolean": "boolean", "string": "string"},
}
"""Spark's names of what a signature answers; everything else is answered as text."""


def score(
    files: Sequence[Path],
    output: Path,
    model: Path,
    *,
    python: Path,
    wanted: Sequence[Wanted],
    answers: str,
    kept: Sequence[str],
    prediction: str,
    settings: Mapping[str, str],
    import_path: Sequence[Path],
) -> int:
    """Writes a new folder of Parquet or CSV, as the input is; returns the number of rows read.

    Args:
        python: Of the model's environment, for Spark's workers; of the same version as this one.
        answers: Type of the signature's only output.
        kept: Columns of the input that go into the output; empty: all.

    Raises:
        ConfigurationError: The model answers several columns, or runs on another Python than this worker.
        EnvironmentFault: pyspark or Java is not there, or the cluster cannot be reached.
        Failed: The input cannot be read, or the model raises.
    """
    from mlflow.pyfunc import spark_udf

    chosen = {
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(map(str, import_path)),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        **settings,
    }
    asked = session(chosen, key="score.engine", otherwise="process", name="mlpipeline score")
    with _workers_of(python), asked as spark:
        frame, partitions = _read(spark, files, wanted)
        function = spark_udf(spark, str(model), result_type=_TYPES.get(answers, "string"), env_manager="local")
        columns = [one.name for one in wanted if one.name in frame.columns] or frame.columns
        left = [*(kept or frame.columns), *(name for name in partitions if kept and name not in kept)]
        try:
            rows = int(frame.count())
            told = frame.select(*(_named(name) for name in left), function(*(_named(name) for name in columns)).alias(prediction))
            _write(told, output, format_of(files[0].name), partitions)
        except Exception as error:
            raise _failed(error, files[0]) from error
    _tidy(output)
    return rows


@contextlib.contextmanager
def _workers_of(python: Path) -> Iterator[None]:
    """A session made inside of it starts its workers with this Python, unless the caller's environment names one."""
    before = os.environ.get("PYSPARK_PYTHON")
    os.environ["PYSPARK_PYTHON"] = before or str(python)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYSPARK_PYTHON"]


def require_python(version: str) -> None:
    """Raises ConfigurationError when Spark's workers, which are to have the model's Python, could not talk to this one."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version and not version.startswith(own):
        raise ConfigurationError(
            f"on Spark the model's Python and this worker's must be of one version; they are {version} and {own}",
            tries=("score.engine: process", f"install mlpipeline on Python {version}"),
        )


def _named(name: str) -> Any:
    from pyspark.sql import functions

    return functions.col(f"`{name}`")


def _read(spark: Any, files: Sequence[Path], wanted: Sequence[Wanted]) -> tuple[Any, list[str]]:
    from pyspark.errors import PySparkException
    from pyspark.sql import functions

    root = Path(os.path.commonpath([file.parent for file in files]))
    folders = {file.parent.relative_to(root).parts for file in files}
    partitions = [part.partition("=")[0] for part in next(iter(folders)) if "=" in part]
    reader = spark.read.option("basePath", str(root)) if partitions else spark.read
    paths = [str(file) for file in files]
    try:
        if format_of(files[0].name) == "parquet":
            return reader.parquet(*paths), partitions
        tabs = ".tsv" in files[0].name.lower()
        frame = reader.csv(paths, header=True, inferSchema=False, sep="\t" if tabs else ",", mode="FAILFAST", escape='"')
        for one in wanted:
            if one.name in frame.columns:
                cell = functions.when(~_named(one.name).isin(*MISSING_TEXTS), _named(one.name))
                frame = frame.withColumn(one.name, cell.cast(_TYPES.get(one.type, "string")))
        return frame, partitions
    except PySparkException as error:
        raise Failed("Spark cannot read the input", facts={"file": paths[0], "found": str(error).splitlines()[0]}) from error


def _write(frame: Any, output: Path, form: str, partitions: Sequence[str]) -> None:
    writer = frame.write.mode("error")
    if partitions:
        writer = writer.partitionBy(*partitions)
    if form == "parquet":
        writer.parquet(str(output))
    else:
        writer.csv(str(output), header=True)


def _tidy(output: Path) -> None:
    """Names without chance in them, so that the same rows give the same folder; no marks of Spark's own."""
    for file in sorted(output.rglob("*")):
        if file.is_file() and not file.name.startswith("part-"):
            file.unlink()
    for file in sorted(output.rglob("part-*")):
        number, suffix = file.name.split("-")[1], ".parquet" if file.name.endswith(".parquet") else ".csv"
        file.rename(file.with_name(f"part-{number}{suffix}"))


def _failed(error: Exception, file: Path) -> Failed | EnvironmentFault:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = next((line for line in reversed(lines) if ("Error" in line or "Exception" in line) and ":" in line), lines[0])
    if "No space left on device" in str(error):
        return EnvironmentFault("the disk is full", facts={"found": raised[:300]}, tries=("df -h",))
    return Failed("Spark could not score the input", facts={"file": file, "found": raised[:500]})
