"""Approval and the way users are moved, as they are configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.values import Duration, Percent, Positive, Section


class Approval(Section, frozen=True):
    required: bool = False
    """Whether people must approve before users are moved."""
    quorum: Positive = 1
    """How many different people."""
    requester_may_approve: bool = True
    """Whether the one who started the run counts."""
    valid_for: Duration = Duration(24 * 3600)
    """An older approval does not count."""
    unattended: Literal["hold", "proceed", "reject"] = "hold"
    """What an unattended (nightly) run does when approval is required."""


class Rollout(Section, frozen=True):
    mirror: Duration = Duration(30)
    """How long the candidate answers copies of user requests before it answers users; 0: no mirroring."""
    steps: tuple[Percent, ...] = (10, 50)
    """Percent of user traffic at each step before all of it."""
    step: Duration = Duration(30)
    """How long each of these steps is watched."""
    bake: Duration = Duration(60)
    """How long the old colour stays warm, and a control slice on it, after the last step."""
    control: Annotated[int, Meta(ge=0, le=50)] = 10
    """Percent of users who stay on the old colour during the bake, so that the verdict has a concurrent control."""
    settle_switch: Duration = Duration(30)
    """How long the proof that traffic moved may take."""
    hold: Duration = Duration(120)
    """How long a monitoring outage is waited out before traffic goes back."""
    smoke: str = ""
    """JSON file with a scoring request for the first probe; empty: the model's own input example when it has one."""
