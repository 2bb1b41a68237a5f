"""A ledger for when users come first: what its place cannot take now waits on this machine, and is added once it can."""

from __future__ import annotations

from collections.abc import Callable

from mlpipeline.record.ledger import Entry, Ledger, Unreachable


class PatientLedger(Ledger):
    """The same ledger. Once its place could not be reached it is not asked again: nobody waits for it twice.

    Args:
        tell: Called once, with what its place said.
    """

    def __init__(self, ledger: Ledger, tell: Callable[[Unreachable], None]) -> None:
        super().__init__(ledger._path, ledger._chosen, ledger._before)
        self._tell = tell
        self._lost = False

    def append(self, entry: Entry) -> Entry:
        """Adds the entry, or keeps it aside, where it has no number yet."""
        if not self._lost:
            try:
                return super().append(entry)
            except Unreachable as fault:
                self._lose(fault)
        return self.keep_aside(entry)

    def read(self) -> list[Entry]:
        """All entries, or those that this machine knows."""
        if not self._lost:
            try:
                return super().read()
            except Unreachable as fault:
                self._lose(fault)
        return self.seen()

    def _lose(self, fault: Unreachable) -> None:
        self._lost = True
        self._tell(fault)
