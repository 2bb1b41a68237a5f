"""How fast users follow the router, and whether any request is lost: real Envoy, constant load, both kinds of connection.

Each way to change the traffic is measured in the same run, in turns: our switch (written, confirmed by the router), our
rollback out of a 50 % step, and a bare rename of the same route file that nobody confirms. What counts is what the client
sees: the time from the call to the last answer of the colour that was to get no more users.

``python bench/switch.py docker`` measures the same with containers, ``BENCH_SWITCHES=20 python bench/switch.py kubernetes`` with
pods of a real cluster, where the route file is a ConfigMap and nobody can rename it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))

from constant_load import ConstantLoad, quantile
from mlpipeline.core.envoy_files import routes, routes_file
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.ports import Target
from target_world import WORLDS, TargetWorld
from tiny_service import Behaviour

SWITCHES = int(os.environ.get("BENCH_SWITCHES", "100"))
RATE = float(os.environ.get("BENCH_RATE", "400"))
ANSWERS_BETWEEN = 20
BARE = "bare rename"


@dataclass(frozen=True)
class Change:
    """One change of the traffic: when it was asked for, and who was to lose all users."""

    way: str
    at: float
    loser: Colour


def bare_rename(world: TargetWorld, plan: TrafficPlan) -> None:
    """What a script would do: write beside, rename, hope."""
    import msgspec

    file = routes_file(world.router_files)
    beside = file.with_name("bare")
    beside.write_bytes(msgspec.json.encode(routes(plan, f"bare-{time.time_ns()}")))
    os.replace(beside, file)


def change(changes: list[Change], load: ConstantLoad, way: str, act: Callable[[], object], winner: Colour) -> None:
    """Acts, and goes on when users have been answered by the other colour for a while."""
    changes.append(Change(way, time.monotonic(), winner.other))
    act()
    if not load.wait_for(winner, ANSWERS_BETWEEN, since=time.monotonic()):
        raise SystemExit(f"{way}: {winner} did not answer")


def measure(world: TargetWorld, target: Target, load: ConstantLoad) -> list[Change]:
    changes: list[Change] = []
    first, second = Colour.GREEN, Colour.BLUE
    for _ in range(SWITCHES):
        change(changes, load, "switch", lambda: target.route(TrafficPlan.all_to(first)), first)
        if world.router_files.is_dir():
            change(changes, load, BARE, lambda: bare_rename(world, TrafficPlan.all_to(second)), second)
        else:
            change(changes, load, "switch", lambda: target.route(TrafficPlan.all_to(second)), second)
        target.route(TrafficPlan(second, share=50))
        load.wait_for(first, ANSWERS_BETWEEN, since=time.monotonic())
        change(changes, load, "rollback", lambda: target.route(TrafficPlan.all_to(second)), second)
    return changes


def last_answers(load: ConstantLoad, changes: list[Change], end: float) -> dict[str, list[float]]:
    """Seconds from each change to the last answer of the colour that lost its users, by way; 0 when it gave none."""
    found: dict[str, list[float]] = {}
    for this, until in zip(changes, [*(following.at for following in changes[1:]), end], strict=True):
        last, since = 0.0, 0
        for answer in (answer for answer in load.answers if this.at <= answer.at < until):
            if answer.colour == this.loser:
                last, since = answer.at - this.at, 0
            else:
                since += 1
            # the step before a rollback gives the loser users again: those answers are not of this change
            if since >= ANSWERS_BETWEEN:
                break
        found.setdefault(this.way, []).append(last)
    return found


def main(kind: str = "local") -> int:
    with tempfile.TemporaryDirectory() as folder:
        world = WORLDS[kind](Path(folder))
        target = world.target()
        try:
            for colour in (Colour.BLUE, Colour.GREEN):
                target.deploy(colour, world.artifact(Behaviour(str(colour))))
            target.route(TrafficPlan.all_to(Colour.BLUE))
            with ConstantLoad(world.address, rate=RATE) as load:
                load.wait_for("blue", 100)
                changes = measure(world, target, load)
            end = time.monotonic()
        finally:
            world.close()
    seconds = last_answers(load, changes, end)
    kept = sum(not answer.fresh for answer in load.answers)
    connections = f"{kept} on kept and {load.sent - kept} on new connections"
    print(f"{kind}: {len(changes)} changes under {RATE:g} requests/s: {load.sent} requests, {connections}")
    print(f"failed requests: {load.failed}")
    print("from the call to the last answer of the old colour, seen by the client:")
    for way, values in seconds.items():
        median, high = quantile(values, 0.5), quantile(values, 0.99)
        bare = quantile(seconds[BARE], 0.5) if BARE in seconds else median
        # not a ratio: where Envoy is quicker than the requests follow each other, the bare rename takes no time at all
        beside = f"   {(median - bare) * 1e3:+.1f} ms against a {BARE}" if BARE in seconds else ""
        print(f"  {way:<12} median {median * 1e3:6.1f} ms   p99 {high * 1e3:6.1f} ms   of {len(values)}{beside}")
    for failure in load.failures:
        print(f"  failed: {failure}", file=sys.stderr)
    return 1 if load.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
