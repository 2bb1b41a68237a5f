"""How the parts of a service run, as plain facts, and where that differs from what was released. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

ABSENT = "nothing"


class Part(msgspec.Struct, frozen=True):
    """One part of a service as it runs now: a colour, the router, or something that nobody released.

    Args:
        facts: What it runs with, by name. Nothing that changes by itself, such as a port that the system chose, and no secret.
        wanted: What facts have to be whatever was released, where the target knows; the others are compared with the record.
        changed: Who changed it last and when, as far as the target knows.
        instance: Which start of it this is: another text after each start that somebody ordered.
    """

    facts: Mapping[str, str] = {}
    wanted: Mapping[str, str] = {}
    changed: str = ""
    instance: str = ""


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fact that is not as it was released.

    Args:
        part: Such as ``green`` or ``router``.
        changed: Who and when, as far as the target knows.
    """

    part: str
    what: str
    released: str
    found: str
    changed: str = ""

    def __str__(self) -> str:
        who = f" ({self.changed})" if self.changed else ""
        return f"{self.part}: {self.what} is {self.found}, released was {self.released}{who}"


def concealed(name: str, value: str) -> str:
    """A variable without its value, which may be a secret, but telling whether it is the same."""
    import hashlib

    return f"{name}#{hashlib.sha256(value.encode()).hexdigest()[:12]}"


def differences(name: str, recorded: Mapping[str, str], now: Part) -> list[Difference]:
    """Where a part differs from what was recorded when it was released, and from what it has to be anyway.

    Args:
        recorded: Facts of the record; a fact that an earlier version did not record is not compared.
    """
    released = {**recorded, **now.wanted}
    return [
        Difference(name, what, text, now.facts.get(what, ABSENT), now.changed)
        for what, text in sorted(released.items())
        if now.facts.get(what, ABSENT) != text
    ]
