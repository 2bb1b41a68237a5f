"""The ledger: one JSON line per decision, each carrying the hash of the line before, so that an edit shows.

A line is written with fsync under a file lock; a line cut off by a crash (no final newline) is dropped at the next
append, because whatever it announced was not acknowledged.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import msgspec

from mlpipeline.errors import EnvironmentFault

GENESIS = "0" * 64
LOOKS = frozenset({"init", "status", "history"})
"""Events that decide nothing. Said again by the same person before anything was decided, they are one entry."""
_TAIL_BYTES = 1 << 16


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision.

    Args:
        at: UTC, ISO 8601 with seconds.
        event: The verb's name, or what happened to the service: ``live`` (facts: colour, digest, model_version),
            ``rolled-back``, ``quarantined``, ``quarantine-lifted``, ``settled``.
        actor: Who or what decided.
        result: sha256 of the result file, when there is one.
    """

    seq: int
    at: str
    service: str
    event: str
    run: str = ""
    verdict: str = ""
    summary: str = ""
    actor: str = ""
    facts: dict[str, str] = {}
    result: str = ""
    previous: str = GENESIS
    hash: str = ""


def digest(entry: Entry) -> str:
    """SHA-256 over the canonical JSON (sorted keys, no spaces) of all fields but ``hash``."""
    return _digest(msgspec.to_builtins(entry))


def _digest(fields: dict[str, object]) -> str:
    import hashlib

    plain = {name: value for name, value in fields.items() if name != "hash"}
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


class Ledger:
    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, entry: Entry) -> Entry:
        """Adds the entry; ``seq``, ``previous`` and ``hash`` are set here."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            content = b"".join(iter(lambda: os.read(handle, 1 << 20), b""))
            whole = content[: content.rfind(b"\n") + 1]
            entries = _decode(whole, self._path)
            last = entries[-1] if entries else None
            entry = msgspec.structs.replace(entry, seq=last.seq + 1 if last else 1, previous=last.hash if last else GENESIS)
            entry = msgspec.structs.replace(entry, hash=digest(entry))
            os.ftruncate(handle, len(whole))
            os.lseek(handle, 0, os.SEEK_END)
            line = msgspec.json.encode(entry) + b"\n"
            if os.write(handle, line) != len(line):  # a disk that fills up takes what fits, without an error
                os.ftruncate(handle, len(whole))
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(handle)
        finally:
            os.close(handle)
        return entry

    def told(self, look: Entry) -> bool:
        """Whether an entry since the last decision says the same. Reads the end of the file alone, and checks no chain."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return False
        for line in reversed(lines):
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except msgspec.DecodeError:
                return False
            if (entry.event, entry.summary, entry.actor) == (look.event, look.summary, look.actor):
                return True
            if entry.event not in LOOKS:
                return False
        return False

    def set_aside_if_broken(self) -> Path | None:
        """Where a broken ledger was moved to, so that a new chain can begin; nothing when it is whole."""
        try:
            self.read()
        except EnvironmentFault:
            number = 1
            while (aside := self._path.with_name(f"{self._path.name}.broken-{number}")).exists():
                number += 1
            return self._path.rename(aside)
        return None

    def read(self) -> list[Entry]:
        """All entries, the chain checked. A broken chain is an EnvironmentFault that names the line."""
        if not self._path.is_file():
            return []
        content = self._path.read_bytes()
        return _decode(content[: content.rfind(b"\n") + 1], self._path)


def _decode(content: bytes, path: Path) -> list[Entry]:
    entries: list[Entry] = []
    previous = GENESIS
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            fields = msgspec.json.decode(line)
            entry = msgspec.convert(fields, Entry)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _broken(path, number, f"not an entry: {error}") from error
        # Over what stands in the line, not over what was understood of it: a key that this version does not know is no entry's.
        whole = entry.hash == _digest(fields) and msgspec.json.encode(fields) == line
        if not whole or entry.previous != previous or entry.seq != number:
            raise _broken(path, number, "its hash does not match its content or the line before")
        entries.append(entry)
        previous = entry.hash
    return entries


def _broken(path: Path, line: int, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        "the ledger was changed after it was written",
        facts={"ledger": f"{path}:{line}", "found": why},
        likely="someone edited the file, or a disk lost data",
        tries=(
            "restore the file from a backup; keep the broken one as evidence",
            f"mv {path} {path}.broken    # begins a new chain",
            "mlpipeline rollback    # works without it",
        ),
    )
