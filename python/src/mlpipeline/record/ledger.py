"""The ledger: one entry per decision, each carrying the hash of the one before, so that an edit shows.

Entries stand in a store (a SQLite file, or a PostgreSQL that many agents share) and, line by line, in a copy beside it that
people can read, archive and check with any tool. Both have to say the same: what is cut off in one, the other still has.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from mlpipeline.errors import EnvironmentFault

GENESIS = "0" * 64
LOOKS = frozenset({"init", "status", "history"})
"""Events that decide nothing. Said again by the same person before anything was decided, they are one entry."""
KEPT_ASIDE = "kept_aside"
"""Fact of an entry that waited on its machine while the ledger could not be reached; its value names the entry."""
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


class Unreachable(EnvironmentFault):
    """The place of the ledger did not take or give entries (exit 3). What it holds is not in doubt."""


class Rows(Protocol):
    """The entries as lines (JSON, without line end), inside a transaction that nobody else writes in."""

    def lines(self) -> list[bytes]: ...

    def add(self, number: int, line: bytes) -> None: ...


class Store(Protocol):
    """Where entries are kept.

    Attributes:
        place: In words, for messages.
        shared: Others write into it too, so that it may know more than the copy on this machine.
    """

    place: str
    shared: bool

    def lines(self) -> list[bytes]:
        """All entries; none before the first. Raises EnvironmentFault when they cannot be read, and Unreachable where that says
        nothing of what they are."""

    def transaction(self) -> AbstractContextManager[Rows]:
        """What is added counts, and survives a power cut, once it ends without an error."""

    def set_aside(self) -> Path | None:
        """Makes room for a new chain; returns where the old one is, when that is a file."""


class Ledger:
    """One service's decisions.

    Args:
        copy: The file of lines.
        store: By default a SQLite file beside the copy.
        before: Where decisions were kept until now. Its entries are the first of a chain that has none.
    """

    def __init__(self, copy: Path, store: Store | None = None, before: Ledger | None = None) -> None:
        self._path = copy
        self._chosen = store
        self._before = before

    @property
    def _store(self) -> Store:
        if self._chosen is None:
            from mlpipeline.record.ledger_file import SqliteStore

            self._chosen = SqliteStore(self._path.with_suffix(".db"))
        return self._chosen

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return self._store.place

    @property
    def shared(self) -> bool:
        """Whether other machines write into it too."""
        return self._store.shared

    def append(self, entry: Entry) -> Entry:
        """Adds the entry; ``seq``, ``previous`` and ``hash`` are set here.

        A copy of an older worker that is not in the store yet goes there first, and so does what was kept aside while the store
        could not be reached. Raises EnvironmentFault when the chain is broken.
        """
        return self._append(entry)[-1]

    def bring_waiting(self) -> int:
        """Adds what was kept aside while the store could not be reached; returns how many entries that were."""
        return len(self._append(None)) if self.waiting() else 0

    def waiting(self) -> list[Entry]:
        """What was kept aside and is not in the store, oldest first; it has no number yet."""
        try:
            content = self._aside.read_bytes()
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line, type=Entry) for line in whole_lines(content)]

    def keep_aside(self, entry: Entry) -> Entry:
        """Keeps an entry on this machine until the store can be reached; the next entry that is added takes it along."""
        from secrets import token_hex

        kept = msgspec.structs.replace(entry, facts={**entry.facts, KEPT_ASIDE: token_hex(8)})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone(), self._aside.open("ab") as file:
            file.write(encoded(kept) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return kept

    def seen(self) -> list[Entry]:
        """What this machine knows without asking the store: the copy, as far as its chain holds, and what waits."""
        with self._copy() as content:
            lines = whole_lines(content)
        with contextlib.suppress(EnvironmentFault):
            return [*decoded(lines, str(self._path)), *self.waiting()]
        return self.waiting()

    @property
    def _aside(self) -> Path:
        return self._path.with_suffix(".waiting.jsonl")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """The copy, opened; no other writer of this machine is at it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)

    def _append(self, entry: Entry | None) -> list[Entry]:
        """Adds what waits and the entry, all of it or nothing; returns what was added."""
        with self._alone() as handle:
            content = b"".join(iter(lambda: os.read(handle, 1 << 20), b""))
            whole = content.rfind(b"\n") + 1
            copied = content[:whole].splitlines()
            with self._store.transaction() as rows:
                lines = rows.lines()
                entries = self._agreed(lines, _settled(copied, content[whole:], lines))
                if not entries and self._before is not None:
                    entries = self._before.read()
                known = [encoded(one) for one in entries]
                for number in range(len(lines), len(known)):
                    rows.add(number + 1, known[number])
                wanted = [*_not_in(entries, self.waiting()), *([entry] if entry is not None else [])]
                new = _chained(wanted, entries[-1] if entries else None)
                for one in new:
                    rows.add(one.seq, encoded(one))
                added = b"\n".join([*known[len(copied) :], *(encoded(one) for one in new)])
                if not self._store.shared:
                    # Without its end until it counts. So a line that has one and no row was cut off there, not interrupted here.
                    self._write(handle, whole, added)
            if self._store.shared:
                self._write(handle, whole, added + b"\n" if added else b"")
            else:
                with contextlib.suppress(OSError):
                    os.write(handle, b"\n")
            # Gone from here only once it counts there. A worker that is killed in between leaves it twice, and it is known again.
            self._aside.unlink(missing_ok=True)
        return new

    def _write(self, handle: int, kept: int, added: bytes) -> None:
        """Adds to the first ``kept`` bytes of the copy, or takes back what a full disk cut."""
        os.ftruncate(handle, kept)
        os.lseek(handle, 0, os.SEEK_END)
        if os.write(handle, added) != len(added):  # a disk that fills up takes what fits, without an error
            os.ftruncate(handle, kept)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        os.fsync(handle)

    def _agreed(self, lines: Sequence[bytes], copied: Sequence[bytes]) -> list[Entry]:
        """The entries that store and copy agree on, the chain checked. Raises EnvironmentFault when one lacks or changed some."""
        for number, (line, copy) in enumerate(zip(lines, copied, strict=False), start=1):
            if line != copy:
                decoded(lines, self._store.place)
                raise broken(str(self._path), number, f"it is not what {self._store.place} has, which is whole")
        if self._store.shared:
            entries = decoded(lines, self._store.place)
            if len(copied) > len(lines):
                raise broken(self._store.place, len(lines) + 1, _missing(len(copied) - len(lines), str(self._path)))
            return entries
        if len(copied) < len(lines):
            decoded(lines, self._store.place)
            raise broken(str(self._path), len(copied) + 1, _missing(len(lines) - len(copied), self._store.place))
        if lines and len(copied) > len(lines):
            raise broken(self._store.place, len(lines) + 1, _missing(len(copied) - len(lines), str(self._path)))
        return decoded(copied, str(self._path))  # without any row: an older worker knew no store

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
        """Where a broken ledger was moved to, so that a new chain can begin; nothing when it is whole.

        Raises Unreachable when nobody can say which it is.
        """
        try:
            self.read()
        except Unreachable:
            raise
        except EnvironmentFault:
            number = 1
            while (aside := self._path.with_name(f"{self._path.name}.broken-{number}")).exists():
                number += 1
            kept, self._before = self._store.set_aside(), None
            with contextlib.suppress(FileNotFoundError):
                return self._path.rename(aside)
            return kept
        return None

    def read(self) -> list[Entry]:
        """All entries, the chain checked and store and copy compared. Raises EnvironmentFault that names the first broken one."""
        for _ in range(2):
            with self._copy() as content:
                lines = self._store.lines()
                copied = whole_lines(content)
                if content or not lines or not self._path.exists():
                    break
        return self._agreed(lines, _settled(copied, content[sum(len(line) + 1 for line in copied) :], lines))

    @contextlib.contextmanager
    def _copy(self) -> Iterator[bytes]:
        """Its content; no writer of this machine is between copy and store meanwhile."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            yield b""
            return
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield file.read()


def _chained(wanted: Sequence[Entry], last: Entry | None) -> list[Entry]:
    """The entries with number, the hash of the one before, and their own."""
    found = []
    for entry in wanted:
        numbered = msgspec.structs.replace(entry, seq=last.seq + 1 if last else 1, previous=last.hash if last else GENESIS)
        last = msgspec.structs.replace(numbered, hash=digest(numbered))
        found.append(last)
    return found


def _not_in(entries: Sequence[Entry], waiting: Sequence[Entry]) -> list[Entry]:
    """Those that wait and did not come into the chain yet."""
    known = {entry.facts[KEPT_ASIDE] for entry in entries if KEPT_ASIDE in entry.facts}
    return [entry for entry in waiting if entry.facts[KEPT_ASIDE] not in known]


def encoded(entry: Entry) -> bytes:
    """The line of an entry, without its end."""
    return msgspec.json.encode(entry)


def decoded(lines: Sequence[bytes], place: str) -> list[Entry]:
    """The entries of lines, the chain checked.

    Args:
        place: Where they stand, for the message.

    Raises EnvironmentFault that names the first line that is broken.
    """
    entries: list[Entry] = []
    previous = GENESIS
    for number, line in enumerate(lines, start=1):
        try:
            fields = msgspec.json.decode(line)
            entry = msgspec.convert(fields, Entry)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise broken(place, number, f"not an entry: {error}") from error
        # Over what stands in the line, not over what was understood of it: a key that this version does not know is no entry's.
        whole = entry.hash == _digest(fields) and msgspec.json.encode(fields) == line
        if not whole or entry.previous != previous or entry.seq != number:
            raise broken(place, number, "its hash does not match its content or the line before")
        entries.append(entry)
        previous = entry.hash
    return entries


def broken(place: str, number: int, why: str) -> EnvironmentFault:
    """The refusal of a ledger that was changed, from the entry of this number on."""
    return EnvironmentFault(
        "the ledger was changed after it was written",
        facts={"ledger": f"{place}:{number}", "found": why},
        likely="someone edited it, or a disk lost data",
        tries=(
            "restore it from a backup; keep the broken one as evidence",
            "mlpipeline audit verify    # what else does not hold",
            "mlpipeline rollback    # works without it, keeps the broken one and begins a new chain",
        ),
    )


def _settled(copied: Sequence[bytes], rest: bytes, lines: Sequence[bytes]) -> Sequence[bytes]:
    """The copy's lines, with the last one whose writer died after it counted and before it gave it its end."""
    return [*copied, rest] if len(lines) == len(copied) + 1 and rest == lines[-1] else copied


def whole_lines(content: bytes) -> list[bytes]:
    """Whole lines; one that a crash cut off was never acknowledged."""
    return content[: content.rfind(b"\n") + 1].splitlines()


def _missing(count: int, other: str) -> str:
    return f"{count} {'entry is' if count == 1 else 'entries are'} missing at its end, which {other} has"
