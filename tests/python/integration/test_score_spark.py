"""``mlpipeline score --engine spark`` with a real Spark, and in-process with MLflow's own loader: a model of scikit-learn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from batch_world import BatchWorld
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from tiny_model import save_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

SMALL = """{engine: spark, spark: {spark.master: 'local[1]', spark.driver.memory: 512m, spark.sql.shuffle.partitions: '1',
  spark.driver.extraJavaOptions: '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'}}"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchWorld]:
    folder = tmp_path_factory.mktemp("scored")
    made = BatchWorld(folder)
    made.crown(made.package(save_tiny_model(folder / "model")))
    _rows(made, "parts/day=1/a", 0)
    _rows(made, "parts/day=2/a", 100)
    yield made


@pytest.fixture
def java() -> None:
    if shutil.which("java") is None:
        pytest.skip("missing: Java; run tools/setup_java.sh")


def _rows(world: BatchWorld, name: str, first: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = range(first, first + 100)
    table = pa.table(
        {
            "flight": [f"{row}" for row in rows],
            "distance": [100.0 + row for row in rows],
            "delay": [float(row % 60) - 10 for row in rows],
            "hour": [float(row % 24) for row in rows],
        }
    )
    file = world.project / f"{name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def _answers(world: BatchWorld, folder: str) -> dict[str, str]:
    """By flight."""
    import pyarrow.parquet as pq

    found: dict[str, str] = {}
    for file in sorted((world.project / folder).rglob("*.parquet")):
        table = pq.ParquetFile(file).read()
        found |= dict(zip(table["flight"].to_pylist(), table["prediction"].to_pylist(), strict=True))
    return found


@pytest.mark.usefixtures("java")
def test_spark_answers_what_the_process_answers_under_names_without_chance(world: BatchWorld) -> None:
    world.configure()
    assert world.score("parts", "here").verdict is Verdict.PASS
    wanted = _answers(world, "here")
    assert len(wanted) == 200
    assert set(wanted.values()) == {"late", "punctual"}
    world.configure(SMALL)
    first = world.score("parts", "there")
    assert first.verdict is Verdict.PASS, first
    assert _answers(world, "there") == wanted
    assert {file.parent.name for file in (world.project / "there").rglob("*.parquet")} == {"day=1", "day=2"}
    names = sorted(file.name for file in (world.project / "there").rglob("*") if file.is_file())
    assert names == ["_mlpipeline.json", "part-00000.parquet", "part-00000.parquet"]


def test_spark_writes_folders(world: BatchWorld) -> None:
    world.configure(SMALL)
    with pytest.raises(ConfigurationError, match="Spark writes a folder"):
        world.score("parts/day=1/a.parquet", "one.parquet")
