"""Colours and how user traffic is divided between them."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

import msgspec


class Colour(StrEnum):
    """The two places a version can be deployed to. Neither is better; which one is live is the router's word."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> Colour:
        return Colour.GREEN if self is Colour.BLUE else Colour.BLUE


class TrafficPlan(msgspec.Struct, frozen=True):
    """What the router is to do with each user request.

    Args:
        live: The colour that answers users whom no step sends elsewhere; the one a rollback returns to.
        share: Percent of user requests that the *other* colour answers, 0 to 100.
        mirror: Whether the other colour also gets a copy of each request whose answer nobody sees.
    """

    live: Colour
    share: int = 0
    mirror: bool = False

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
