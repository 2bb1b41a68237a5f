"""When to stop watching because the evidence that a pass needs cannot come in time.

The rule, looked at after every look from a quarter of a stage on, at the earliest after ``EARLIEST_SECONDS``:

* A condition is hopeless when more measurements were inconclusive than it forgives, or when the measurements that are missing
  do not fit into the time that is left, at most one at a look.
* Requests are hopeless when ``RESERVE`` times as much traffic as in this stage so far, and three requests more than were seen,
  would in all the time left not bring a colour to the least number that a verdict needs.

Stopping then can only turn a pass that was not to be into *inconclusive*. It is no failure and happens at looks at which nothing
has failed, so the probability that a healthy release is taken back as harmful is not raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlpipeline.core.conditions import ConditionState

RESERVE = 3.0
EARLIEST_SECONDS = 60.0
_OF_A_STAGE = 0.25
_UNSEEN = 3.0
"""Requests that may have been expected where none came: with more, none would come with a probability below 5 %."""


def ripe(measured: float, seconds: float) -> bool:
    """Whether enough of a stage of ``seconds`` was watched to foresee its end."""
    return measured >= max(EARLIEST_SECONDS, _OF_A_STAGE * seconds)


def hopeless_requests(
    have: tuple[int, int],
    seen: tuple[int, int],
    elapsed: float,
    left: Sequence[tuple[float, float, float]],
    least: int,
) -> str:
    """Why the least number of requests cannot be reached; empty when it can.

    Args:
        have: Requests of candidate and champion over the whole release so far.
        seen: Of these, in this stage, within ``elapsed`` seconds.
        left: What is still to be watched: seconds, and how many times the requests per second of now candidate and champion
            will then get.
    """
    for who, all_of_it, now, place in (("candidate", have[0], seen[0], 1), ("champion", have[1], seen[1], 2)):
        rate = (RESERVE * now + _UNSEEN) / elapsed
        most = all_of_it + rate * sum(stretch[0] * stretch[place] for stretch in left)
        if most < least:
            seconds = sum(stretch[0] for stretch in left)
            return (
                f"the {who} has answered {all_of_it} requests, {now} of them in the last {elapsed:.0f} s; in the {seconds:.0f} s "
                f"that are left not even {RESERVE:g} times that traffic brings the {least} that a verdict needs"
            )
    return ""


def hopeless_condition(states: Iterable[ConditionState], left: float, interval: float) -> str:
    """Why a condition cannot pass any more within ``left`` seconds with a look each ``interval`` seconds; empty when all can.

    Its own interval is not rounded up to whole looks here: looks come a little early or late, and what could still pass is not
    given up.
    """
    for state in states:
        if state.plan.dry_run or state.failing:
            continue
        if state.beyond_inconclusive:
            return f"{state.summary}: more are inconclusive than the {state.plan.inconclusive_limit} that are forgiven"
        missing = state.missing
        if missing and (missing - 1) * max(state.plan.interval, interval) > left:
            return f"{state.summary}: {missing} more do not fit into the {left:.0f} s that are left"
    return ""
