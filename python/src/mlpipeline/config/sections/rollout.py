"""Approval and the way users are moved, as they are configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.values import Duration, Percent, Positive, Section, Share


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


class Hook(Section, frozen=True):
    command: str | tuple[str, ...] = ""
    """A line for the shell, or a program with its arguments. Exit code 0 passes, 11 is inconclusive, any other fails; one that
    is not found, is killed or does not end in time is inconclusive."""
    url: str = ""
    """Is posted the same facts as JSON. An answer of 2xx passes unless its JSON says ``{"verdict": "fail"}`` or
    ``"inconclusive"``; any other answer is inconclusive unless its JSON says ``fail``."""
    timeout: Duration = Duration(60)
    """How long the command, or the answer, may take."""
    inconclusive: Literal["hold", "rollback", "proceed"] = "hold"
    """What follows when it is inconclusive: users wait on the champion, are taken back for good, or go on."""


class Hooks(Section, frozen=True):
    """What is asked on the way. One that fails takes the candidate back; one that passed is not asked again in this release."""

    confirm_start: Hook = Hook()
    """Before any request of users or copy of one reaches the candidate."""
    each_step: Hook = Hook()
    """After each stage that passed, while its traffic still flows."""
    before_switch: Hook = Hook()
    """Before all users move."""
    after_switch: Hook = Hook()
    """After all users moved and that was proven; the champion is still warm."""
    before_settle: Hook = Hook()
    """Before the candidate becomes the champion."""


class Replay(Section, frozen=True):
    """Recorded requests are sent to both colours before users move, and the answers compared."""

    requests: Annotated[int, Meta(ge=0, le=100000)] = 0
    """How many of the newest recorded requests; 0: none are replayed."""
    file: str = ""
    """JSON lines as the serving process samples them, in the project; empty: the champion's own sample
    (``target.local.serving.sample``)."""
    allowed: Share = 0.02
    """Share of the requests that may be answered differently."""
    tolerance: Annotated[float, Meta(ge=0)] = 1e-6
    """Relative difference up to which two numbers are the same answer."""
    confidence: Annotated[float, Meta(gt=0.5, lt=1)] = 0.99
    """Of each exact bound. It passes when no more than ``allowed`` is plausible, and fails when less is not."""
    inconclusive: Literal["hold", "proceed"] = "hold"
    """What follows when the requests are too few to say."""


class CohortRule(Section, frozen=True):
    value: str
    """The whole value of the header or cookie, compared exactly."""
    header: str = ""
    """Name of a request header."""
    cookie: str = ""
    """Name of a cookie, instead of a header."""
    to: Literal["candidate", "champion"] = "candidate"
    """Whose answers these users get while both have users. Those of the champion stay on it until the candidate settles."""


class Rollout(Section, frozen=True):
    strategy: Literal["all_at_once", "canary", "linear", "shadow_then_switch"] = "canary"
    """``canary``: copies, the steps, the bake, all. ``linear``: equal steps instead. ``shadow_then_switch``: copies, the bake,
    all. ``all_at_once``: the bake, all."""
    mirror: Duration = Duration(30)
    """How long the candidate answers copies of user requests before it answers users; 0: no mirroring."""
    steps: tuple[Percent, ...] = (10, 50)
    """Percent of user traffic at each step before all of it."""
    increment: Annotated[int, Meta(ge=1, le=50)] = 20
    """Of a linear rollout: by how many percent of users each step is larger than the one before; a divisor of 100."""
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
    timeout: Duration = Duration(0)
    """What all stages and hooks together may take, outages of the monitoring included; past it users go back and the rollout
    holds. 0: as long as it takes."""
    hooks: Hooks = Hooks()
    """What is asked at points on the way: commands or webhooks."""
    replay: Replay = Replay()
    """Recorded requests whose answers are compared before users move."""
    cohorts: dict[str, CohortRule] = {}
    """Named groups of users, by a header or a cookie, who are answered by one role whatever the share is."""
