"""The data gate beside the same checks written by hand for DuckDB, and beside Great Expectations, in one run.

20 expectations, all of which hold, on 1,000,000 rows of Parquet (and 10,000,000 with ``--large``). Every figure is a whole
process, from the start of Python to its end: the gate is ``mlpipeline gate data`` in a repository, with its ledger, versions
and results; the query by hand only imports DuckDB; the library imports itself, reads the file with pandas and validates.
Taken in turns; the best of several rounds. Prints seconds
by the clock, seconds of processors (``busy``: other work on the machine matters less to them), peak megabytes, and ratios.

    python bench/data_gate.py [--rows 1000000] [--rounds 5] [--without-gx] [--large]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

EXPECTATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("column_values_to_not_be_null", {"column": "id"}),
    ("column_values_to_be_unique", {"column": "id"}),
    ("column_values_to_not_be_null", {"column": "distance"}),
    ("column_values_to_be_between", {"column": "distance", "min_value": 0, "max_value": 5000}),
    ("column_values_to_be_between", {"column": "delay", "min_value": -60, "max_value": 2000}),
    ("column_values_to_be_between", {"column": "hour", "min_value": 0, "max_value": 23}),
    ("column_values_to_be_between", {"column": "month", "min_value": 1, "max_value": 12}),
    ("column_values_to_be_in_set", {"column": "carrier", "value_set": ["AA", "B6", "DL", "UA", "WN"]}),
    ("column_values_to_not_be_in_set", {"column": "carrier", "value_set": ["ZZ"]}),
    ("column_values_to_match_regex", {"column": "tail", "regex": "^N[0-9]+$"}),
    ("column_value_lengths_to_be_between", {"column": "carrier", "min_value": 2, "max_value": 2}),
    ("column_mean_to_be_between", {"column": "delay", "min_value": 0, "max_value": 200}),
    ("column_stdev_to_be_between", {"column": "delay", "min_value": 1, "max_value": 500}),
    ("column_min_to_be_between", {"column": "distance", "min_value": 0, "max_value": 100}),
    ("column_max_to_be_between", {"column": "distance", "min_value": 100, "max_value": 5000}),
    ("column_sum_to_be_between", {"column": "hour", "min_value": 1}),
    ("column_unique_value_count_to_be_between", {"column": "carrier", "min_value": 5, "max_value": 5}),
    ("column_pair_values_a_to_be_greater_than_b", {"column_A": "arrival", "column_B": "departure", "or_equal": True}),
    ("column_values_to_not_be_null", {"column": "delay", "mostly": 0.9}),
    ("table_row_count_to_be_between", {"min_value": 1}),
)

BY_HAND = """
SELECT count(*), count(id), count(DISTINCT id), count(distance), count(delay),
  count(*) FILTER (WHERE distance < 0 OR distance > 5000), count(*) FILTER (WHERE delay < -60 OR delay > 2000),
  count(*) FILTER (WHERE hour < 0 OR hour > 23), count(*) FILTER (WHERE month < 1 OR month > 12),
  count(*) FILTER (WHERE carrier NOT IN ('AA', 'B6', 'DL', 'UA', 'WN')), count(*) FILTER (WHERE carrier IN ('ZZ')),
  count(*) FILTER (WHERE NOT regexp_matches(tail, '^N[0-9]+$')), count(*) FILTER (WHERE length(carrier) NOT BETWEEN 2 AND 2),
  avg(delay), stddev_samp(delay), min(distance), max(distance), sum(hour), count(DISTINCT carrier),
  count(*) FILTER (WHERE arrival < departure)
FROM read_parquet('{file}')
"""


def write(file: Path, rows: int) -> None:
    """Flights as made up by arithmetic: the same on every machine."""
    import duckdb

    duckdb.execute(
        f"""COPY (SELECT i AS id, CAST(hash(i) % 4000 AS DOUBLE) + 0.5 AS distance,
          CASE WHEN i % 20 = 0 THEN NULL ELSE CAST(hash(i + 1) % 300 AS DOUBLE) - 30 END AS delay,
          CAST(hash(i + 2) % 24 AS BIGINT) AS hour, CAST(hash(i + 3) % 12 AS BIGINT) + 1 AS month,
          ['AA', 'B6', 'DL', 'UA', 'WN'][1 + CAST(hash(i + 4) % 5 AS BIGINT)] AS carrier, 'N' || hash(i + 5) % 900 AS tail,
          CAST(hash(i + 6) % 1000 AS BIGINT) AS departure, CAST(hash(i + 6) % 1000 AS BIGINT) + 60 AS arrival
          FROM range({rows}) AS numbers(i)) TO '{file}' (FORMAT parquet)"""
    )


HAND = """
import sys, duckdb
found = duckdb.execute(sys.argv[1]).fetchone()
assert found[0] == found[1] == found[2]
"""

LIBRARY = """
import json, os, sys
os.environ["GX_ANALYTICS_ENABLED"] = "false"
import great_expectations as gx, pandas
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
asset = context.data_sources.add_pandas("data").add_dataframe_asset("data")
batch = asset.add_batch_definition_whole_dataframe("data").get_batch({"dataframe": pandas.read_parquet(sys.argv[1])})
suite = gx.ExpectationSuite(**json.load(open(sys.argv[2])))
assert batch.validate(suite).success
"""

CONFIGURATION = """
service: bench
train: {command: "true"}
data:
  files:
    flights: {path: flights.parquet, suite: suite.json}
"""


def repository(folder: Path, rows: int) -> Path:
    """A git repository with the data, the suite and the configuration."""
    folder.mkdir(parents=True)
    write(folder / "flights.parquet", rows)
    entries = [{"type": f"expect_{kind}", "kwargs": arguments} for kind, arguments in EXPECTATIONS]
    (folder / "suite.json").write_text(json.dumps({"name": "bench", "expectations": entries}))
    (folder / "mlpipeline.yaml").write_text(CONFIGURATION)
    (folder / "library.py").write_text(LIBRARY)  # a file: started with -c, a client of the library takes it for its own tests
    (folder / ".gitignore").write_text("*.parquet\n.mlpipeline/\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-qm", "b"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


class Figures(NamedTuple):
    """Of a whole process: seconds by the clock and of processors, and peak megabytes."""

    seconds: float
    busy: float
    megabytes: float


def process(command: Sequence[str], folder: Path) -> Figures:
    """Runs to its end, which must be a success."""
    environment = {**os.environ, "MLPIPELINE_HOME": str(folder.parent / "home")}
    started = time.perf_counter()
    running = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert running.stderr is not None
    said = running.stderr.read()
    _, status, usage = os.wait4(running.pid, 0)
    seconds = time.perf_counter() - started
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{command[:3]} ended with {running.returncode}:\n{said.decode()[-2000:]}")
    return Figures(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def best(figures: Sequence[Figures]) -> Figures:
    return Figures(min(one.seconds for one in figures), min(one.busy for one in figures), max(one.megabytes for one in figures))


def measured(folder: Path, rounds: int, *, library: bool) -> dict[str, float]:
    hand = [sys.executable, "-c", HAND, BY_HAND.format(file="flights.parquet")]
    gate = [str(Path(sys.executable).with_name("mlpipeline")), "gate", "data"]
    turns = [(process(hand, folder), process(gate, folder)) for _ in range(rounds)]
    made = {"duckdb": best([first for first, _ in turns]), "gate": best([second for _, second in turns])}
    if library:
        made["gx"] = best([process([sys.executable, "library.py", "flights.parquet", "suite.json"], folder) for _ in range(2)])
    found: dict[str, float] = {}
    for name, figures in made.items():
        found |= {f"{name}_{what}": value for what, value in figures._asdict().items()}
    found["gate_over_duckdb"] = made["gate"].seconds / made["duckdb"].seconds
    if library:
        found["gx_over_gate"] = made["gx"].seconds / made["gate"].seconds
        found["gx_over_gate_busy"] = made["gx"].busy / made["gate"].busy
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-gx", action="store_true")
    parser.add_argument("--large", action="store_true", help="also ten times the rows, without the library")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        told = {}
        for rows in (chosen.rows, 10 * chosen.rows)[: 2 if chosen.large else 1]:
            folder = repository(Path(place) / str(rows) / "project", rows)
            figures = measured(folder, chosen.rounds, library=rows == chosen.rows and not chosen.without_gx)
            told[f"{rows} rows"] = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"expectations": len(EXPECTATIONS), **told}, indent=2))


if __name__ == "__main__":
    main()
