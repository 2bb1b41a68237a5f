"""Memory of ``mlpipeline score`` does not grow with the batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from batch_world import BatchWorld

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

ROWS = 30_000
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(code, 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""In a process of its own: a child that this large process started would be counted with the memory of this one."""


def write(file: Path, rows: int) -> int:
    """So many rows of 400 bytes; Parquet in row groups of a few thousand. Returns the bytes of the file."""
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    with file.open("wb") as raw:
        schema = pa.schema({"id": pa.string(), "x": pa.float64(), "city": pa.string()})
        csv = file.suffix == ".csv"
        writer = pc.CSVWriter(raw, schema) if csv else pq.ParquetWriter(raw, schema, compression="none", use_dictionary=False)
        with writer:
            for start in range(0, rows, 5_000):
                numbers = range(start, start + 5_000)
                texts = [f"{number:0400}" for number in numbers]
                writer.write_table(pa.table([[*map(str, numbers)], [float(one % 100) for one in numbers], texts], schema=schema))
    return file.stat().st_size


def peak(world: BatchWorld, name: str) -> int:
    """Bytes that the largest of the worker and the model's process had, at most."""
    score = [sys.executable, "-m", "mlpipeline", "score", "--input", name, "--output", f"out-{name}"]
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, *score],
        cwd=world.project,
        env=world.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    code, size = ended.stdout.split()
    assert code == "0", ended.stderr
    return int(size)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_ten_times_the_rows_do_not_take_the_memory_of_the_rows(tmp_path: Path, suffix: str) -> None:
    world = BatchWorld(tmp_path, "{piece_rows: 5000, keep: [id]}")
    small, large = f"small.{suffix}", f"large.{suffix}"
    before, after = write(world.project / small, ROWS), write(world.project / large, 10 * ROWS)
    grown = peak(world, large) - peak(world, small)
    assert grown < 0.75 * (after - before), f"{grown / 2**20:.0f} MB more for {(after - before) / 2**20:.0f} MB more of input"
