"""Ports and memory of this machine, read from the kernel, so that a message can name who is in the way."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mlpipeline.errors import EnvironmentFault

LISTENING = "0A"


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at this moment."""
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def require_free(host: str, port: int, purpose: str, key: str) -> None:
    """Raises an EnvironmentFault that names the process when the port cannot be bound.

    Args:
        purpose: Who needs it ("the router of service 'churn'").
        key: The configuration key that would change it.
    """
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise EnvironmentFault(
                f"{purpose} cannot listen on {host}:{port}: {error.strerror}",
                facts={"held by": holder(port) or "a process that this user may not see"},
                likely="another program, or another service of yours, uses the port",
                tries=("end that program", f"set {key} in mlpipeline.yaml to a free port"),
            ) from error


def holder(port: int) -> str:
    """The process that listens on this TCP port, as ``1234 (nginx: master process)``; empty when it cannot be seen."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and inodes & _open_sockets(folder):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return f"{folder.name} ({command[:120]})"
    return ""


def out_of_memory_kills() -> int:
    """How many processes this kernel has killed because memory ran out; 0 where it does not tell."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found


def _open_sockets(process: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for entry in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(entry.readlink()))
    return found
