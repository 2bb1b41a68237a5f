"""What a worker without any journal makes of a target that serves: who is live, and what stands beside it. Pure."""

from __future__ import annotations

from mlpipeline.core.release import Phase, Release, Seen, Standing, State


def adopted(seen: Seen, champion: str) -> State:
    """The state as far as the target tells it; empty where nobody is live. Quarantines and the version before are not known.

    Args:
        champion: Digest of the version that settled last, or was returned to, by the ledger; empty when it does not say. With two
            versions standing and all users on one, only this tells a switch that was made from one that was not.
    """
    plan = seen.plan
    if plan is None or plan.live not in seen.deployed:
        return State()
    live, beside = seen.deployed[plan.live], seen.deployed.get(plan.live.other)
    if beside is None:
        return State(champion=Standing(plan.live, live))
    moved = champion == beside.digest != live.digest and not plan.share and not plan.mirror
    candidate, colour = (live, plan.live) if moved else (beside, plan.live.other)
    before = beside if moved else live
    waiting = Phase.SHIFTING if plan.mirror or plan.serves(colour) else Phase.DEPLOYED
    phase = Phase.SWITCHED if moved else waiting
    release = Release(run=candidate.run, candidate=candidate, colour=colour, phase=phase, champion=before)
    return State(release=release, champion=Standing(colour.other, before))
