"""How the processes of the local target run, read from the kernel and not from what was once written down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlpipeline.clock import iso
from mlpipeline.core.inventory import Part
from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting.inventory import user_of
from mlpipeline.hosting.machine import holder, require_free
from mlpipeline.hosting.processes import ManagedProcess

ITS_OWN = "the released process"
_WATCHED = ("PYTHONPATH", "OMP_NUM_THREADS", "MLPIPELINE_")
"""Variables, by how they begin, that decide what a model answers or how fast."""


def colour_part(process: ManagedProcess, digest: str, port: int) -> Part:
    """One colour: the package it was started with, its command line and environment, and who answers at its port."""
    record = process.running()
    answers = _holder(port)
    own = record is not None and answers.split(" ")[0] == str(record.pid)
    facts = {"package": digest, "process": ITS_OWN if record is not None else "gone"}
    wanted = {"process": ITS_OWN, "who answers": ITS_OWN}
    facts["who answers"] = ITS_OWN if own else f"process {answers}" if answers else "nobody"
    if record is not None:
        facts |= {"command": _command(record.pid, port), "environment": _environment(record.pid)}
    strangers = [] if own or not answers else [answers.split(" ")[0]]
    known = [*strangers, *([str(record.pid)] if record is not None and own else [])]
    changed = "; ".join(text for pid in known if (text := started(pid)))
    return Part(facts, wanted, changed, _instance(process))


def router_part(process: ManagedProcess, host: str, port: int) -> Part:
    """The router's process: its command line, and whether users reach this very process."""
    record = process.running()
    if record is None:
        return Part()
    answers = _holder(port)
    own = answers.split(" ")[0] == str(record.pid)
    reached = ITS_OWN if own else f"process {answers}" if answers else "nobody"
    facts = {f"who answers at {host}:{port}": reached, "command": _command(record.pid, 0)}
    wanted = {f"who answers at {host}:{port}": ITS_OWN}
    strangers = [] if own or not answers else [answers.split(" ")[0]]
    return Part(facts, wanted, "; ".join(text for pid in strangers if (text := started(pid))), _instance(process))


def started(pid: str) -> str:
    """When a process was started and whose it is; empty when it is gone or hidden."""
    with suppress(OSError, ValueError, IndexError, StopIteration):
        stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        booted = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text(encoding="ascii").splitlines() if line[:6] == "btime "
        )
        moment = datetime.fromtimestamp(booted, UTC) + timedelta(seconds=int(stat[19]) / os.sysconf("SC_CLK_TCK"))
        return f"process {pid} was started {iso(moment)} by {user_of(Path(f'/proc/{pid}').stat().st_uid)}"
    return ""


def _instance(process: ManagedProcess) -> str:
    record = process.record
    return "" if record is None else f"process {record.pid}, {record.start} of boot {record.boot}"


def _holder(port: int) -> str:
    """Who listens; something this user may not see is told from nobody."""
    if found := holder(port):
        return found
    try:
        require_free("127.0.0.1", port, "the colour", "")
    except EnvironmentFault:
        return "of another user"
    return ""


def _command(pid: int, port: int) -> str:
    """Its command line without the port, which is another one after each start."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        kept = [word for before, word in zip(["", *words], words, strict=False) if not _of_port(before, word, port)]
        return " ".join(kept)
    return "hidden"


def _of_port(before: str, word: str, port: int) -> bool:
    return bool(port) and ((word == "--port") or (before == "--port" and word == str(port)))


def _environment(pid: int) -> str:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        found: Mapping[str, str] = dict(line.split("=", 1) for line in lines if "=" in line)
        return " ".join(f"{name}={found[name]}" for name in sorted(found) if name.startswith(_WATCHED))
    return "hidden"
