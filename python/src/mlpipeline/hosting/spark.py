"""A Spark session for one piece of work, with errors that say what is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from mlpipeline.errors import EnvironmentFault

_DEFAULTS: Mapping[str, str] = {
    "spark.master": "local[*]",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
}
_ALONE: Mapping[str, str] = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
"""On one machine Spark talks to itself; the address of its network interface may lead nowhere."""


@contextlib.contextmanager
def session(settings: Mapping[str, str], *, key: str, otherwise: str, name: str) -> Iterator[Any]:
    """A session that is ended with the block.

    Args:
        settings: Spark's own, over the defaults (this machine, no user interface, UTC).
        key: What asked for Spark, such as ``data.engine``.
        otherwise: Its value that needs none.
        name: Of the application.

    Raises:
        EnvironmentFault: pyspark or Java is not there, or the cluster cannot be reached.
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise EnvironmentFault(
            f"{key} is spark, but pyspark is not installed", tries=("pip install 'mlpipeline[spark]'", f"{key}: {otherwise}")
        ) from error
    chosen = {**_DEFAULTS, "spark.app.name": name, **settings}
    builder = SparkSession.builder
    for option, value in {**(_ALONE if chosen["spark.master"].startswith("local") else {}), **chosen}.items():
        builder = builder.config(option, value)
    try:
        made = builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise EnvironmentFault(
            "Spark cannot be started",
            facts={"master": chosen["spark.master"], "found": (str(error).splitlines() or [""])[0]},
            likely="there is no Java on this machine, or the cluster cannot be reached",
            tries=("java -version", f"{key}: {otherwise}"),
        ) from error
    made.sparkContext.setLogLevel("ERROR")
    try:
        yield made
    finally:
        made.stop()
