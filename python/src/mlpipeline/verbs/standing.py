"""The record of how each part of a service ran right after mlpipeline itself had started it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mlpipeline.core.inventory import Part
from mlpipeline.errors import EnvironmentFault
from mlpipeline.record.ledger import Entry
from mlpipeline.verbs.context import Context

EVENT = "stands"
ROUTER = "router"


def note_standing(context: Context, name: str, *, run: str = "") -> None:
    """Tells the ledger how a part runs that was just started, once for each start of it.

    What cannot be read now is not recorded, and ``drift-check`` says so: no release waits for its record.
    """
    try:
        part = context.world.target().inventory().get(name)
        if part is None or not part.facts:
            return
        last = recorded(context.ledger.read(), name)
        if last is None or last.facts.get("instance") != part.instance:
            context.note(EVENT, run=run, facts={"part": name, "instance": part.instance, "runs": _encoded(part)})
    except EnvironmentFault as fault:
        context.console.say(f"how {name} runs could not be recorded: {fault.what}")


def recorded(entries: Sequence[Entry], name: str) -> Entry | None:
    """The newest record of a part."""
    return next((entry for entry in reversed(entries) if entry.event == EVENT and entry.facts.get("part") == name), None)


def facts_of(entry: Entry) -> dict[str, str]:
    """What it says. Raises EnvironmentFault for a record that is none."""
    try:
        return msgspec.json.decode(entry.facts.get("runs", ""), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise EnvironmentFault(f"entry {entry.seq} of the ledger does not say how a part ran", facts={"found": error}) from error


def _encoded(part: Part) -> str:
    return msgspec.json.encode(part.facts, order="sorted").decode()
