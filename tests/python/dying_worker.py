"""The worker, killed with SIGKILL right after one exact moment: ``python dying_worker.py MODULE:FUNCTION WORDS ARGUMENTS...``

Dies after the first call of the function whose arguments, written out, contain all the words (separated by spaces). So a test
needs no luck to hit the instant between an effect and the note that it happened.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from typing import Any

from mlpipeline.cli import program


def die_after(place: str, words: str) -> None:
    """Replaces the function by one that ends this process as ``kill -9`` would, right after its work is done."""
    module_name, _, path = place.partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)

    @functools.wraps(original)
    def last(*arguments: Any, **named: Any) -> Any:
        answer = original(*arguments, **named)
        told = repr((arguments, named))
        if all(word in told for word in words.split()):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, last)


if __name__ == "__main__":
    die_after(sys.argv[1], sys.argv[2])
    sys.argv[1:] = sys.argv[3:]
    program()
