"""Runs checks with the library's Spark engine, for data beyond one machine: Spark reads the files itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipeline.adapters.great_expectations.engine import judged, library
from mlpipeline.core.expectations import Check, Outcome
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.hosting.spark import session

ENGINE = "spark"


def run(
    files: Sequence[Path], missing: Sequence[str], checks: Sequence[Check], sample_rows: int, settings: Mapping[str, str]
) -> list[Outcome]:
    """The outcome of each check, in their order.

    Args:
        files: Parquet or CSV, all of one format.
        missing: Texts that stand for a missing value in CSV.
        sample_rows: How many different failing values an outcome carries at most.
        settings: Spark's own, over the defaults (this machine, no user interface, UTC).

    Raises:
        ConfigurationError: The library refuses the arguments of a check, or the data is a table of a database.
        EnvironmentFault: pyspark or Java is not there, or the cluster cannot be reached.
        Failed: The files cannot be read.
    """
    asked = session(settings, key="data.engine", otherwise="auto", name="mlpipeline gate data")
    with asked as spark, library() as context:
        frame = _read(spark, files, missing)
        source = context.data_sources.add_spark("data")
        definition = source.add_dataframe_asset("data").add_batch_definition_whole_dataframe("data")
        return judged(definition.get_batch({"dataframe": frame}), checks, sample_rows, frame.count(), ENGINE)


def _read(session: Any, files: Sequence[Path], missing: Sequence[str]) -> Any:
    from pyspark.errors import PySparkException
    from pyspark.sql import functions

    if not files or not files[0].name.lower().endswith((".parquet", ".pq", ".csv", ".csv.gz", ".tsv", ".tsv.gz")):
        raise ConfigurationError(
            "Spark reads Parquet or CSV here, no tables of databases", tries=("data.engine: auto", "export the table to Parquet")
        )
    paths = [str(file) for file in files]
    try:
        if files[0].name.lower().endswith((".parquet", ".pq")):
            return session.read.parquet(*paths)
        tabs = ".tsv" in files[0].name.lower()
        frame = session.read.csv(
            paths, header=True, inferSchema=True, sep="\t" if tabs else ",", mode="FAILFAST", nullValue="", escape='"'
        )
        texts = [name for name, kind in frame.dtypes if kind == "string"]
        blank = {name: functions.when(~functions.col(f"`{name}`").isin(*missing), functions.col(f"`{name}`")) for name in texts}
        return frame.withColumns(blank) if blank else frame
    except PySparkException as error:
        raise Failed("Spark cannot read the data", facts={"file": paths[0], "found": str(error).splitlines()[0]}) from error
