"""Signals to the worker: the first is an exception, the second too, the third is the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from mlpipeline.interrupts import raise_when_interrupted
raise_when_interrupted()
number = int(sys.argv[1])
for _ in range(2):
    try:
        os.kill(os.getpid(), number)
        while True: pass
    except KeyboardInterrupt as interrupt:
        print(interrupt, flush=True)
os.kill(os.getpid(), number)
while True: pass
"""
IGNORED = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from mlpipeline.interrupts import raise_when_interrupted
raise_when_interrupted()
os.kill(os.getpid(), signal.SIGHUP)
try:
    os.kill(os.getpid(), signal.SIGTERM)
    while True: pass
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGHUP)
print("alive")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_two_are_told_and_the_third_ends(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(int(number))], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.stdout.split() == [number.name] * 2
    assert done.returncode == -number


def test_what_nohup_ignores_stays_ignored() -> None:
    done = subprocess.run([sys.executable, "-c", IGNORED], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n", done.stderr
