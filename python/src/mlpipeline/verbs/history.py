"""``history``: what was decided, and who was live at a moment, from the checked ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mlpipeline.clock import iso
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.ledger import LOOKS, Entry
from mlpipeline.verbs.context import Context


@dataclass(frozen=True)
class Share:
    """A version and the percent of users it answered."""

    colour: str
    digest: str
    model_version: str
    percent: int


@dataclass(frozen=True)
class History:
    """The ledger's entries, oldest first, its chain checked.

    Args:
        at: The moment asked about, as it was given and in UTC; empty without a question.
        live: Who answered users then, greatest share first; empty when nobody did.
        by: The entry that says so.
    """

    entries: tuple[Entry, ...]
    at: str = ""
    live: tuple[Share, ...] = ()
    by: Entry | None = None

    @property
    def summary(self) -> str:
        """One line; asking changes nothing about it."""
        decided = sum(entry.event not in LOOKS for entry in self.entries)
        return self._answer()[0] if self.at else f"{decided} decision{'' if decided == 1 else 's'}, the chain is whole"

    def lines(self) -> list[str]:
        """A table for people, or the answer to ``--at``."""
        if self.at:
            return self._answer()
        if not self.entries:
            return ["nothing was decided yet"]
        rows = [("time", "event", "verdict", "run", "who", "what")]
        rows.extend((one.at, one.event, one.verdict, one.run, one.actor, one.summary or _told(one)) for one in self.entries)
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        table = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip() for row in rows
        ]
        return [*table, f"{len(self.entries)} entries, the chain is whole"]

    def _answer(self) -> list[str]:
        if not self.live or self.by is None:
            return [f"at {self.at} nothing was live"]
        told = [
            f"at {self.at} {share.percent} % of users were on version {share.model_version or '-'} "
            f"({share.colour}, {share.digest})"
            for share in self.live
        ]
        return [*told, f"since {self.by.at}, run {self.by.run or '-'}, by {self.by.actor or 'unknown'}, entry {self.by.seq}"]


def run(context: Context, *, at: str = "") -> History:
    """Reads the ledger.

    Args:
        at: A moment, ISO 8601; without a time zone it is UTC.

    Raises:
        ConfigurationError: ``at`` is not a moment, or lies in the future.
        EnvironmentFault: The chain is broken.
    """
    entries = tuple(context.ledger.read())
    if not at:
        return History(entries)
    moment, now = _moment(at), context.clock.now()
    if moment > now:
        raise ConfigurationError(f"{at!r} has not come yet", facts={"asked": iso(moment), "now": iso(now)})
    told = at if at == iso(moment) else f"{at} ({iso(moment)})"
    by = standing([one for one in entries if datetime.fromisoformat(one.at) <= moment])
    return History(entries, at=told, live=shares(by) if by else (), by=by)


def standing(entries: Sequence[Entry]) -> Entry | None:
    """The entry that says who was live after these: nobody once the service was stopped, until it was brought back."""
    live, running = None, False
    for entry in entries:
        if entry.event == "live":
            live, running = entry, True
        elif entry.event in {"stopped", "revived"}:
            running = entry.event == "revived"
    return live if running else None


def shares(entry: Entry) -> tuple[Share, ...]:
    """Who answers users after a ``live`` entry, greatest share first."""
    found = [_share(entry.facts, "")]
    if "other_share" in entry.facts:
        found.append(_share(entry.facts, "other_"))
    return tuple(sorted((share for share in found if share.percent), key=lambda share: -share.percent))


def _share(facts: dict[str, str], prefix: str) -> Share:
    return Share(
        colour=facts.get(f"{prefix}colour", ""),
        digest=facts.get(f"{prefix}digest", ""),
        model_version=facts.get(f"{prefix}model_version", ""),
        percent=int(facts.get(f"{prefix}share", "100")),
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{text!r} is not a moment", facts={"found": error}, tries=("mlpipeline history --at 2026-03-01T03:12Z",)
        ) from error


def _told(entry: Entry) -> str:
    return ", ".join(f"{name} {value}" for name, value in _short(entry.facts) if value)


def _short(facts: dict[str, str]) -> Sequence[tuple[str, str]]:
    return [(name.replace("_", " "), value[:19] if value.startswith("sha256:") else value) for name, value in facts.items()]
