"""The data gate beside the same checks written by hand for DuckDB, and beside Great Expectations, in one run.

1,000,000 rows, 20 expectations, all of which hold. Prints seconds (best of several, taken in turns) and ratios.

    python bench/data_gate.py [--rows 1000000] [--rounds 5] [--without-gx]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlpipeline.core.expectations import Check, check

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


def by_gate(file: Path, checks: list[Check]) -> None:
    from mlpipeline.adapters.duckdb.engine import answer
    from mlpipeline.adapters.duckdb.files import find, open_table

    table = open_table(find(file.parent, file.name), file.name)
    assert all(outcome.success for outcome in answer(table, checks, 20))
    table.close()


def by_hand(file: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        found = connection.execute(BY_HAND.format(file=file)).fetchone()
    assert found is not None
    assert found[0] == found[1] == found[2]


def by_library(file: Path, checks: list[Check]) -> None:
    import pyarrow.parquet

    from mlpipeline.adapters.great_expectations.engine import run

    assert all(outcome.success for outcome in run(pyarrow.parquet.read_table(file), checks, 20))


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-gx", action="store_true")
    chosen = parser.parse_args()
    checks = [check(f"expect_{kind}", arguments, source="bench") for kind, arguments in EXPECTATIONS]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flights.parquet"
        write(file, chosen.rows)
        rounds = [(timed(lambda: by_hand(file)), timed(lambda: by_gate(file, checks))) for _ in range(chosen.rounds)]
        plain, gate = min(first for first, _ in rounds), min(second for _, second in rounds)
        found = {
            "rows": chosen.rows,
            "expectations": len(checks),
            "duckdb_seconds": plain,
            "gate_seconds": gate,
            "gate_over_duckdb": gate / plain,
        }
        if not chosen.without_gx:
            import great_expectations  # noqa: F401  # its import is no part of the comparison

            library = timed(lambda: by_library(file, checks))
            found |= {"gx_seconds": library, "gx_over_gate": library / gate}
    print(json.dumps({name: round(value, 4) for name, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
