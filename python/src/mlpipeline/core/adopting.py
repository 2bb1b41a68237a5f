"""What a worker without any journal makes of a target that serves: who is live, and what stands beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mlpipeline.core.release import Phase, Quarantine, Release, Seen, Standing, State, Version

MOST_QUARANTINED = 100
"""The newest; a note at the target must stay short."""


class Kept(msgspec.Struct, frozen=True):
    """What outlasts a release, as a target may keep it for workers that have nothing else.

    Args:
        champion: Digest of the version that settled last, or was returned to.
        previous: What a rollback of it returns to.
    """

    champion: str = ""
    previous: Version | None = None
    quarantined: Mapping[str, Quarantine] = {}


def kept(state: State) -> Kept:
    """Of a state what another worker would need."""
    newest = dict(list(state.quarantined.items())[-MOST_QUARANTINED:])
    return Kept(state.champion.version.digest if state.champion else "", state.previous, newest)


def note_of(state: State) -> str:
    """As a target keeps it."""
    return msgspec.json.encode(kept(state)).decode()


def kept_in(note: str) -> Kept:
    """Nothing, where the note is none of ours."""
    try:
        return msgspec.json.decode(note, type=Kept)
    except (msgspec.DecodeError, ValueError):
        return Kept()


def adopted(seen: Seen, champion: str, known: Kept) -> State:
    """The state as far as the target tells it; empty where nobody is live.

    Args:
        champion: Digest of the version that settled last, or was returned to, by the ledger; empty when it does not say. With two
            versions standing and all users on one, only this tells a switch that was made from one that was not.
        known: What the target itself keeps; the version before only counts beside the champion that it was before.
    """
    found = _standing(seen, champion or known.champion)
    if found.champion is None:
        return found
    same = found.champion.version.digest == known.champion
    return msgspec.structs.replace(found, previous=known.previous if same else None, quarantined=known.quarantined)


def _standing(seen: Seen, champion: str) -> State:
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
