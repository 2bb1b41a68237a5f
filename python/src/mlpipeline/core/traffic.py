"""Colours and how user traffic is divided between them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, Self

import msgspec


class Colour(StrEnum):
    """The two places a version can be deployed to. Neither is better; which one is live is the router's word."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> Colour:
        return Colour.GREEN if self is Colour.BLUE else Colour.BLUE


class Cohort(msgspec.Struct, frozen=True):
    """Users who are known by a header or a cookie and answered by one role while candidate and champion both have users.

    Args:
        header: Name of the header, in lower case; empty for a cookie.
        cookie: Name of the cookie; empty for a header.
        value: The whole value, compared exactly.
        to: Whose answers they get. Those of the champion stay on it until the candidate settles.
    """

    name: str
    value: str
    to: Literal["candidate", "champion"]
    header: str = ""
    cookie: str = ""


class Pinned(msgspec.Struct, frozen=True):
    """A cohort with the colour that answers it. Fields as in :class:`Cohort`."""

    name: str
    value: str
    colour: Colour
    header: str = ""
    cookie: str = ""

    def __str__(self) -> str:
        key = f"header {self.header}" if self.header else f"cookie {self.cookie}"
        return f"{self.name} ({key} = {self.value})"


class TrafficPlan(msgspec.Struct, frozen=True):
    """What the router is to do with each user request.

    Args:
        live: The colour that answers users whom no step sends elsewhere; the one a rollback returns to.
        share: Percent of user requests that the *other* colour answers, 0 to 100.
        mirror: Whether the other colour also gets a copy of each request whose answer nobody sees.
        cohorts: Users who are answered by one colour whatever the share is; the first that fits a request counts.
    """

    live: Colour
    share: int = 0
    mirror: bool = False
    cohorts: tuple[Pinned, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 100:
            raise ValueError(f"share must be 0 to 100 percent, not {self.share}")
        if self.mirror and self.share:
            raise ValueError("a plan mirrors or shares traffic, not both")

    @classmethod
    def all_to(cls, colour: Colour) -> Self:
        return cls(live=colour)

    def percent(self, colour: Colour) -> int:
        """Percent of user requests that this colour answers."""
        return 100 - self.share if colour is self.live else self.share

    def pinned(self, colour: Colour) -> tuple[Pinned, ...]:
        """The cohorts that this colour answers whatever the share is."""
        return tuple(cohort for cohort in self.cohorts if cohort.colour is colour)

    @property
    def cohort_words(self) -> str:
        """Who is pinned where, for people and the ledger; empty when nobody is."""
        return "; ".join(f"{cohort.name} on {cohort.colour}" for cohort in self.cohorts)

    def serves(self, colour: Colour) -> bool:
        """Whether any user is answered by this colour."""
        return self.percent(colour) > 0 or bool(self.pinned(colour))


def pinned(cohorts: Sequence[Cohort], champion: Colour) -> tuple[Pinned, ...]:
    """The cohorts with their colours, while the champion is in this one and the candidate in the other."""
    return tuple(
        Pinned(
            name=cohort.name,
            value=cohort.value,
            colour=champion if cohort.to == "champion" else champion.other,
            header=cohort.header,
            cookie=cohort.cookie,
        )
        for cohort in cohorts
    )
