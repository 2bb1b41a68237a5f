"""Proof at the router that traffic followed the plan: the old colour's counter stands still, the new one's moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.ports import Clock, Moved, RouterCounts

POLL_SECONDS = 0.005
QUIET_SECONDS = 0.5
"""How long the old colour must stand still. The counters are live; this covers the router's threads taking the plan over."""

Counts = Mapping[Colour, RouterCounts]


def loser(plan: TrafficPlan) -> Colour:
    """The colour whose traffic shrinks to nothing, or the one that gives some away."""
    return plan.live if 0 < plan.share < 100 else next(colour for colour in Colour if not plan.percent(colour))


def moved(before: Counts, now: Counts, plan: TrafficPlan, applied: float) -> Moved:
    """What is known right after the router confirmed the plan, without waiting."""
    old = loser(plan)
    return Moved(
        applied_seconds=applied,
        old_last_seconds=0.0,
        old_completed=now[old].completed,
        new_completed=now[old.other].completed - before[old.other].completed,
        old_in_flight=0 if plan.serves(old) else now[old].active,
        pinned_cohorts=_staying(plan, old),
    )


def _staying(plan: TrafficPlan, old: Colour) -> int:
    """Cohorts on a colour that has no other users."""
    return 0 if plan.percent(old) else len(plan.pinned(old))


def stands_still(
    read: Callable[[], Counts], before: Counts, plan: TrafficPlan, *, written: float, applied: float, within: float, clock: Clock
) -> Moved:
    """Watches until the colour without users owes nothing and answers nothing for ``QUIET_SECONDS``.

    When users are sending, it also waits for an answer of the other colour. A mirrored colour's copies are in flight
    without end, so that only its user counter counts. A cohort that stays on the old colour keeps it at work: then only the
    other colour's answer is waited for, and the outcome says that nothing is proven of the old one.

    Args:
        read: The router's counters; live, no flush delay.
        before: Read before the plan was written.
        written: ``clock.monotonic()`` at the write.
        applied: Seconds from the write to the router's confirmation.
        within: Seconds the watch may take; past it, ``old_in_flight`` is at least 1.
    """
    old = loser(plan)
    staying = _staying(plan, old)
    now = read()
    last_change, quiet_since = written, clock.monotonic()
    completed = before[old].completed
    deadline = quiet_since + within
    answered_or_idle = quiet_since
    while True:
        moment = clock.monotonic()
        owed = 0 if plan.mirror or staying else now[old].active
        if now[old].completed != completed:
            completed, last_change, quiet_since = now[old].completed, moment, moment
        elif owed:
            quiet_since = moment
        waiting = now[old.other].completed == before[old.other].completed and now[old.other].active > 0
        if not waiting:
            answered_or_idle = moment
        proven = (staying > 0 or moment - quiet_since >= QUIET_SECONDS) and not waiting
        if proven or moment >= deadline:
            return Moved(
                applied_seconds=applied,
                old_last_seconds=last_change - written,
                old_completed=completed,
                new_completed=now[old.other].completed - before[old.other].completed,
                old_in_flight=0 if staying or moment - quiet_since >= QUIET_SECONDS else max(1, owed),
                # A request that came a moment before the end of the wait is no sign of anything.
                new_in_flight=now[old.other].active if moment - answered_or_idle > within / 2 else 0,
                pinned_cohorts=staying,
            )
        clock.sleep(POLL_SECONDS)
        now = read()
