"""What each fault of a release costs: requests lost, and for how long, under constant load on fresh and on kept connections.

``python bench/faults.py local docker`` writes ``bench/faults.json``, from which ``tools/generate.py`` makes
``docs/reference/faults.md``. The stories are those of the tests (``tests/python/fault_stories.py``), with more load.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))

from constant_load import ConstantLoad
from fault_stories import HARMED, UNHARMED, target_is_silent_for_a_while
from fault_world import FaultWorld

RATE = float(os.environ.get("BENCH_RATE", "200"))
SILENT_SECONDS = float(os.environ.get("BENCH_SILENT", "30"))
FILE = Path(__file__).with_suffix(".json")
ONLY = os.environ.get("BENCH_ONLY", "")
"""Stories, by comma: these are measured again, the others keep what was measured before."""
Story = Callable[[FaultWorld, ConstantLoad], None]


def stories() -> dict[str, Story]:
    silent = functools.partial(target_is_silent_for_a_while, seconds=SILENT_SECONDS)
    found = {**UNHARMED, **HARMED, "target silent for a while": silent}
    return {name: found[name] for name in ONLY.split(",")} if ONLY else found


def measured(service: FaultWorld, story: Story) -> dict[str, float]:
    """Requests, those that failed, and seconds from the begin of the first that failed to the end of the last."""
    service.begin_anew()
    with ConstantLoad(service.address, rate=RATE) as load:
        load.wait_for(service.live(), 50)
        story(service, load)
    failed = [answer for answer in load.answers if answer.failed]
    begin = min((answer.at - answer.seconds for answer in failed), default=0.0)
    longest = max(load.answers, key=lambda answer: answer.seconds).seconds
    return {
        "requests": load.sent,
        "kept": sum(not answer.fresh for answer in load.answers),
        "lost": len(failed),
        "seconds": round(max((answer.at for answer in failed), default=0.0) - begin, 2),
        "slowest": round(longest, 2),
    }


def main(kinds: list[str]) -> int:
    known = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            service = FaultWorld(kind, Path(folder))
            try:
                service.released()
                found = {}
                for name, story in stories().items():
                    found[name] = measured(service, story)
                    print(f"{kind}: {name}: {found[name]}", flush=True)
            finally:
                service.close()
        before = known.get(kind, {}).get("stories", {}) if ONLY else {}
        known[kind] = {"rate": RATE, "silent": SILENT_SECONDS, "stories": {**before, **found}}
        FILE.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    lost = sum(known[kind]["stories"].get(name, {"lost": 0})["lost"] for kind in kinds for name in UNHARMED)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["local"]))
