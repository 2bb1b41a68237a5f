"""Drift of two frames of 1,000,000 rows and 50 columns, beside reading both files and sorting once, and beside evidently.

Every figure is a whole process. ``drift`` sums up both files and compares all columns, as the data gate does. ``read_sort``
reads both files into memory with pyarrow and sorts each column of numbers once. evidently runs with its defaults, on frames
that pandas read, with the Python that ``--evidently`` names, else in an environment of its own (``uv run --with evidently``);
without one, its figures are left out and said to be missing. It takes minutes, so it runs once, and not longer than
``--evidently-limit``: then what it took so far is a lower bound, and said to be one. Taken in turns; the best of several rounds.
Prints seconds, those of processors (which a busy machine changes less), peak memory (MB) and ratios.

    python bench/drift.py [--rows 1000000] [--rounds 3] [--evidently PYTHON] [--evidently-limit 1200] [--without-evidently]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

NUMBERS, TEXTS = 40, 10

DRIFT = """
import sys
from pathlib import Path
from mlpipeline.adapters.duckdb.profile import compare, summed_up
from mlpipeline.core.drift import drifting, shifts
profile = compare(summed_up(Path("before.parquet")), Path("now.parquet"))
found = drifting(shifts(profile.before, profile.now), false_alarms=0.01, effect=0.05)
assert sorted(one.column for one in found) == ["x0", "x1"], found
"""

READ_SORT = """
import numpy, pyarrow.parquet
tables = [pyarrow.parquet.read_table(file) for file in ("before.parquet", "now.parquet")]
for table in tables:
    for name in table.column_names:
        if name.startswith("x"):
            numpy.sort(table[name].to_numpy())
"""

READ = """
import pyarrow.parquet
for file in ("before.parquet", "now.parquet"):
    pyarrow.parquet.read_table(file)
"""

EVIDENTLY = """
import pandas
from evidently import Report
from evidently.presets import DataDriftPreset
before, now = (pandas.read_parquet(file) for file in ("before.parquet", "now.parquet"))
Report([DataDriftPreset()]).run(now, before)
"""


def write(folder: Path, rows: int) -> None:
    """Two frames of the same make; the first two columns of the newer one are shifted."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    for seed, name in enumerate(("before", "now")):
        random = np.random.default_rng(seed)
        columns: dict[str, object] = {
            f"x{i}": random.normal(i, 1 + i, rows) + 0.25 * (1 + i) * (seed and i < 2) for i in range(NUMBERS)
        }
        for i in range(TEXTS):
            words = np.array([f"value {k}" for k in range(20 + 10 * i)])
            columns[f"c{i}"] = pa.array(words[random.integers(0, len(words), rows)])
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


class Figures(NamedTuple):
    """Of a whole process: seconds, seconds of processors, peak megabytes, and whether it was stopped before its end."""

    seconds: float
    processors: float
    megabytes: float
    stopped: bool = False


def process(command: Sequence[str], folder: Path, *, must: bool = True, limit: float = 0.0) -> Figures | None:
    """Of a whole process; None when it may fail and does.

    Args:
        limit: Seconds after which it is stopped; 0: never.
    """
    started = time.perf_counter()
    running = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    ending = threading.Timer(limit, os.killpg, (running.pid, signal.SIGKILL))  # of `uv run` the child too
    if limit:
        ending.start()
    assert running.stderr is not None
    said = running.stderr.read()
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    ending.cancel()
    stopped = bool(limit) and seconds >= limit and running.returncode == -signal.SIGKILL
    if running.returncode and must:
        raise SystemExit(f"{command[:2]} ended with {running.returncode}:\n{said.decode()[-2000:]}")
    if running.returncode and not stopped:
        return None
    return Figures(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, stopped)


def best(commands: Mapping[str, Sequence[str]], folder: Path, rounds: int) -> dict[str, Figures]:
    """Each command in turn, round by round, so that none has the quiet minutes alone."""
    taken: dict[str, list[Figures]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            taken[name] += [found] if (found := process(command, folder)) else []
    return {
        name: Figures(min(one[0] for one in all_), min(one[1] for one in all_), max(one[2] for one in all_))
        for name, all_ in taken.items()
    }


def evidently(folder: Path, python: str, limit: float) -> Figures | None:
    """In an environment of its own, which is made, and its packages compiled, before the clock starts."""
    base = ["uv", "run", "--no-project", "--python", sys.executable, "--with", "evidently", "--with", "pyarrow", "python", "-c"]
    base = [python, "-c"] if python else base
    if process([*base, "import evidently, evidently.presets"], folder, must=False) is None:
        return None
    return process([*base, EVIDENTLY], folder, must=False, limit=limit)


def beside(ours: Figures, other: Figures) -> dict[str, object]:
    """evidently's figures and how often ours go into them; at least so often, where it was stopped."""
    least = "_at_least" if other.stopped else ""
    return {
        f"evidently_seconds{least}": round(other.seconds, 1),
        f"evidently_processor_seconds{least}": round(other.processors, 1),
        f"evidently_megabytes{least}": round(other.megabytes),
        f"evidently_over_drift{least}": round(other.seconds / ours.seconds, 1),
        f"evidently_over_drift_processor{least}": round(other.processors / ours.processors, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--evidently", default="", metavar="PYTHON", help="a Python that has evidently and pyarrow")
    parser.add_argument("--evidently-limit", type=float, default=1200.0, metavar="SECONDS", help="stop it then (0: never)")
    parser.add_argument("--without-evidently", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, chosen.rows)
        process([sys.executable, "-c", READ], folder)  # both files into the page cache
        codes = {"drift": DRIFT, "read_sort": READ_SORT, "read": READ}
        figures = best({name: [sys.executable, "-c", code] for name, code in codes.items()}, folder, chosen.rounds)
        found: dict[str, object] = {"rows": chosen.rows, "columns": NUMBERS + TEXTS}
        for name, taken in figures.items():
            found |= {f"{name}_seconds": round(taken.seconds, 3), f"{name}_processor_seconds": round(taken.processors, 3)}
            found[f"{name}_megabytes"] = round(taken.megabytes)
        for kind, what in enumerate(("", "_processor")):
            found[f"drift_over_read_sort{what}"] = round(figures["drift"][kind] / figures["read_sort"][kind], 3)
        other = None if chosen.without_evidently else evidently(folder, chosen.evidently, chosen.evidently_limit)
        if other:
            found |= beside(figures["drift"], other)
        elif not chosen.without_evidently:
            found["evidently"] = "could not be installed or run here"
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
