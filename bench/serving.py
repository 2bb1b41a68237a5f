"""The serving process beside ``mlflow models serve``: the same model, the same requests, the same machine, one after the other.

Prints the time until ready, requests per second and latencies of both, and their ratios.
Run with the worker's Python: ``python bench/serving.py [--seconds 5] [--connections 8 32] [--rounds 3]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))

from tiny_model import save_tiny_model, tiny_request

READY_WITHIN_SECONDS = 300.0


@dataclass(frozen=True)
class Load:
    """What one server did under load. Latencies in seconds, sorted."""

    seconds: float
    latencies: list[float]
    failed: int
    processor_seconds: float = 0.0

    @property
    def processor_per_request(self) -> float:
        """Seconds of processor time that the server took for one request: says the same on a machine that is busy besides."""
        return self.processor_seconds / len(self.latencies)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def processor_seconds(session: int) -> float:
    """What all processes of a session have used so far."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rsplit(") ", 1)[1].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[3]) == session:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[tuple[float, int]]:
    """Starts a server, waits until it answers a ping, gives the seconds this took and its session, and ends it."""
    start = time.monotonic()
    with (folder / "server.log").open("wb") as log:
        # MLflow starts its server by its bare name, which is only found beside this very Python.
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True)
    try:
        while not answers(port):
            if process.poll() is not None or time.monotonic() - start > READY_WITHIN_SECONDS:
                raise SystemExit(f"{command[2]} did not start:\n{(folder / 'server.log').read_text()}")
            time.sleep(0.05)
        yield time.monotonic() - start, process.pid
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


async def one_client(port: int, request: bytes, end: float, latencies: list[float]) -> int:
    """Sends the request again and again over one connection. Returns how many answers were not 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    failed = 0
    while (start := time.perf_counter()) < end:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        failed += not head.startswith(b"HTTP/1.1 200")
        latencies.append(time.perf_counter() - start)
    writer.close()
    return failed


async def load(port: int, seconds: float, connections: int) -> Load:
    body = tiny_request()
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    latencies: list[float] = []
    start = time.perf_counter()
    clients = (one_client(port, head.encode() + body, start + seconds, latencies) for _ in range(connections))
    failed = sum(await asyncio.gather(*clients))
    return Load(time.perf_counter() - start, sorted(latencies), failed)


def measure(command: list[str], port: int, folder: Path, arguments: argparse.Namespace) -> tuple[float, dict[int, Load]]:
    """Seconds until ready, and for each number of connections the round with the median throughput, after one to warm up."""
    with running(command, port, folder) as (ready, session):
        asyncio.run(load(port, 1.0, arguments.connections[0]))
        return ready, {number: middle_round(port, arguments, number, session) for number in arguments.connections}


def middle_round(port: int, arguments: argparse.Namespace, connections: int, session: int) -> Load:
    rounds = []
    for _ in range(arguments.rounds):
        before = processor_seconds(session)
        done = asyncio.run(load(port, arguments.seconds, connections))
        rounds.append(replace(done, processor_seconds=processor_seconds(session) - before))
    middle = statistics.median_low([one.per_second for one in rounds])
    return next(one for one in rounds if one.per_second == middle)


def model_alone(model: Path, seconds: float) -> float:
    """Predictions per second of the bare model in one thread, without parsing or a server: the ceiling of any server."""
    import mlflow.sklearn
    import pandas

    bare = mlflow.sklearn.load_model(str(model))
    frame = pandas.DataFrame(**json.loads(tiny_request())["dataframe_split"])
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        bare.predict(frame)
        count += 1
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load per round")
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of our server")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = save_tiny_model(folder / "model")
        ours, theirs = free_port(), free_port()
        own = [sys.executable, "-m", "mlpipeline.serving", "--model", str(model), "--port", str(ours), "--threads"]
        flow = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local", "-p", str(theirs)]
        ready, ours_did = measure([*own, str(arguments.threads)], ours, folder, arguments)
        ceiling = model_alone(model, arguments.seconds)
        other_ready, theirs_did = measure(flow, theirs, folder, arguments)
    print(f"serving: keep-alive connections, one row per request, median of {arguments.rounds} rounds")
    print(f"the bare model called with one row, one thread: {ceiling:.0f} per second")
    print(f"{'':34}{'mlpipeline':>12}{'mlflow':>12}{'ratio':>10}")
    show("ready after, s", ready, other_ready)
    for connections in arguments.connections:
        mine, its = ours_did[connections], theirs_did[connections]
        print(f"{connections} connections")
        show("  requests per second", mine.per_second, its.per_second)
        show("  processor time per request, ms", mine.processor_per_request * 1000, its.processor_per_request * 1000)
        show("  latency p50, ms", mine.quantile(0.5) * 1000, its.quantile(0.5) * 1000)
        show("  latency p99, ms", mine.quantile(0.99) * 1000, its.quantile(0.99) * 1000)
        show("  our p99 by its p50, ms", mine.quantile(0.99) * 1000, its.quantile(0.5) * 1000)
        show("  failed", float(mine.failed), float(its.failed))


def show(label: str, mine: float, its: float) -> None:
    print(f"{label:34}{mine:12.2f}{its:12.2f}{f'{mine / its:9.2f}x' if its else '-':>10}")


if __name__ == "__main__":
    main()
