"""What failover costs, and that it hides nothing: seconds until the verdict sees a killed candidate, and users lost.

``python bench/failover.py`` alternates the two settings on the local target, with a real Envoy and a real Prometheus, and prints
the medians as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python" / "integration"))

from test_failover_seen import watching

from constant_load import ConstantLoad
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.core.verdict import Verdict
from target_world import LocalWorld
from tiny_service import Behaviour

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
RATE = float(os.environ.get("BENCH_RATE", "200"))


def measured(folder: Path, *, failover: bool) -> dict[str, float]:
    """One release that ends: seconds and counts from the moment the candidate is killed, milliseconds before it."""
    world = LocalWorld(folder)
    world.failover = failover
    try:
        target = world.target()
        target.deploy(Colour.BLUE, world.artifact(Behaviour("one")))
        target.route(TrafficPlan.all_to(Colour.BLUE))
        target.deploy(Colour.GREEN, world.artifact(Behaviour("two")))
        watch = watching(folder, target.monitoring())
        target.route(TrafficPlan(Colour.BLUE, share=50))
        with ConstantLoad(world.address, rate=RATE) as load:
            assert load.wait_for(Colour.GREEN, 500)
            well = [answer.seconds * 1000 for answer in load.answers]
            watch.check()
            world.kill_colour(Colour.GREEN)
            killed = time.monotonic()
            outcome = watch.watch("step-50", 60, traffic="live")
            assert outcome.verdict is Verdict.FAIL, outcome
            seen = time.monotonic() - killed
        errors = watch.conclude().evidence["metrics"][0]  # type: ignore[index]
        return {
            "seconds to the verdict": round(seen, 2),
            "charged": errors["candidate_events"],
            "charged to the champion": errors["champion_events"],
            "users lost": load.failed,
            "p50 ms while well": round(median(well), 2),
            "p99 ms while well": round(quantiles(well, n=100)[98], 2),
        }
    finally:
        world.close()


def main() -> int:
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for failover, rounds in found.items():
            with tempfile.TemporaryDirectory() as folder:
                rounds.append(measured(Path(folder), failover=failover))
    for failover, rounds in found.items():
        print(json.dumps({"failover": failover, **{name: median(one[name] for one in rounds) for name in rounds[0]}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
