"""Starts one program that outlives whoever starts it. Run as a script: ``python -I -S detached.py < order.json``.

The caller starts this script in a session of its own. It forks, writes the record of the new process *before* the
program runs, and ends. So the program is in no process tree, process group or session of the worker, and a worker that
is killed at any moment leaves either nothing or a process that its record names. Only the standard library is
imported, and of that little: this runs at every start of a process.

The order is a JSON object: ``argv``, ``environment``, ``folder``, ``log`` and ``record`` (paths). The end of this script's
standard output means that the program runs; whatever was written there before says why it does not.
"""

from __future__ import annotations

import os
import sys


def start_time(pid: int) -> int:
    """Clock ticks from boot to the start of the process, which no reused pid shares. Raises OSError when it is gone."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def boot_id() -> str:
    """Changes at every boot of the machine; empty where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def main() -> None:
    """Reads the order, forks and becomes the program."""
    import json  # not at the top: the worker imports this module for its facts about processes, and is not slowed down

    order = json.load(sys.stdin)
    if os.fork():
        os._exit(0)
    try:
        answer = os.dup(1)
        os.set_inheritable(answer, False)
        os.chdir(order["folder"])
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, destination in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, destination)
        _write_record(order["record"], order["argv"])
        os.execve(order["argv"][0], order["argv"], order["environment"])  # noqa: S606
    except OSError as error:
        os.write(answer, str(error).encode())
    os._exit(127)


def _write_record(path: str, argv: list[str]) -> None:
    import json

    record = {"pid": os.getpid(), "start": start_time(os.getpid()), "boot": boot_id(), "argv": argv}
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
