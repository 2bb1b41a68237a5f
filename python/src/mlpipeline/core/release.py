"""The release state machine: pure and total.

``decide`` takes what the target says, what the journal says and what happened, and returns the next journal content and
the effects to carry out. The journal is written *before* the effects, every effect is idempotent, and after a crash
``Resume`` gives the effects of the journalled phase again, so a worker may die after any of them.

Invariants (held by ``tests/python/properties/test_release_machine.py``): one colour is live whenever anything is; a
candidate gets user traffic only after it stood ready; the champion is retired only by ``settle``; going back ends with
all users on the champion, from every phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal

import msgspec
from msgspec.structs import replace

from mlpipeline.core.container import ContainerImage
from mlpipeline.core.traffic import Cohort, Colour, TrafficPlan, pinned


class Source(msgspec.Struct, frozen=True):
    """What a version was trained of, as far as it is under version control. Two trainings of it may differ in every byte.

    Args:
        commit: Full hash.
        data: Digest of the data version.
        params: Digest of the parameters.
    """

    commit: str
    data: str
    params: str


class Version(msgspec.Struct, frozen=True):
    """What is released. Fields as in :class:`mlpipeline.ports.Artifact`.

    Args:
        source: Absent when something was not committed, and where the target's word is all there is.
    """

    digest: str
    path: str
    model_version: str = ""
    run: str = ""
    source: Source | None = None
    image: ContainerImage | None = None


class Standing(msgspec.Struct, frozen=True):
    """A version in a colour."""

    colour: Colour
    version: Version


class Seen(msgspec.Struct, frozen=True):
    """What the target says now.

    Args:
        plan: Absent before the first release and while the router is down.
        ready: Digest of what answers in each colour; a colour that does not answer is absent.
        deployed: What was last deployed to each colour, ready or not.
    """

    plan: TrafficPlan | None = None
    ready: Mapping[Colour, str] = {}
    deployed: Mapping[Colour, Version] = {}


class Phase(StrEnum):
    """How far a release has come."""

    PREPARING = "preparing"
    DEPLOYED = "deployed"
    SHIFTING = "shifting"
    SWITCHING = "switching"
    SWITCHED = "switched"
    SETTLING = "settling"
    RETURNING = "returning"


class Release(msgspec.Struct, frozen=True):
    """The release in progress.

    Args:
        champion: What users return to, in the other colour; absent in a first release.
        stage: Index of the stage that ``shifting`` has reached; the number of stages once all have passed.
        settled: The release being taken back had settled, so its aliases and the recorded champion go back too.
        why: Why it is being taken back, or why it waits.
    """

    run: str
    candidate: Version
    colour: Colour
    phase: Phase
    champion: Version | None = None
    stage: int = 0
    settled: bool = False
    why: str = ""


class Quarantine(msgspec.Struct, frozen=True):
    """Why a digest, and any other of the same source, may not be deployed by itself again."""

    model_version: str
    reason: str
    run: str
    source: Source | None = None


class Debt(msgspec.Struct, frozen=True):
    """A change the registry must still be told; ``version`` empty deletes the alias."""

    alias: str
    version: str = ""


class State(msgspec.Struct, frozen=True):
    """The journal's content.

    Args:
        champion: The settled version and its colour.
        previous: What a rollback of the settled version returns to.
        quarantined: By digest.
        owed: Registry changes that are decided and not done.
        reviving: The champion went down and is being brought back as it was; nobody decided against it.
        intents: The effects that were about to be carried out when this was written, in words.
        token: The fencing token of the worker that wrote it.
    """

    release: Release | None = None
    champion: Standing | None = None
    previous: Version | None = None
    quarantined: Mapping[str, Quarantine] = {}
    owed: tuple[Debt, ...] = ()
    reviving: bool = False
    intents: tuple[str, ...] = ()
    token: int = 0


class Stage(msgspec.Struct, frozen=True):
    """One stretch of a rollout. ``share`` is percent of users on the candidate; ``seconds`` the planned time."""

    name: str
    share: int
    mirror: bool
    seconds: float

    def plan(self, champion: Colour, cohorts: Sequence[Cohort] = ()) -> TrafficPlan:
        return TrafficPlan(live=champion, share=self.share, mirror=self.mirror, cohorts=pinned(cohorts, champion))

    @property
    def traffic(self) -> Literal["mirror", "live"]:
        """Whose requests to the candidate are looked at."""
        return "mirror" if self.mirror else "live"

    @property
    def compares(self) -> bool:
        """Whether candidate and champion answer requests at the same time."""
        return self.mirror or 0 < self.share < 100


def stages_of(*, mirror: float, steps: Sequence[int], step: float, bake: float, control: int) -> tuple[Stage, ...]:
    """The stages in order: mirror, steps, bake. Those of no length are left out. Seconds and percent."""
    found = [Stage("mirror", 0, True, mirror)]
    found.extend(Stage(f"step-{share}", share, False, step) for share in steps)
    found.append(Stage("bake", 100 - control, False, bake))
    return tuple(stage for stage in found if stage.seconds > 0)


# Events


class Begin(msgspec.Struct, frozen=True, tag=True):
    """A version is to be deployed beside the live one."""

    run: str
    version: Version


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The candidate stands and answered the smoke request."""


class Abandon(msgspec.Struct, frozen=True, tag=True):
    """The candidate did not start, did not answer or answered wrongly, or people did not want it; it never had users."""


class Resume(msgspec.Struct, frozen=True, tag=True):
    """A worker asks what there is to do now: at the begin of ``switch`` and after every crash."""


class StagePassed(msgspec.Struct, frozen=True, tag=True):
    """The stage that was watched passed."""


class Judged(msgspec.Struct, frozen=True, tag=True):
    """The verdict over all stages is a pass."""


class Proven(msgspec.Struct, frozen=True, tag=True):
    """The old colour stands still and the new one answers."""


class Hold(msgspec.Struct, frozen=True, tag=True):
    """No verdict, monitoring lost, or interrupted: users wait on the champion, the candidate stays warm."""

    why: str
    prove: bool = True


class TakeBack(msgspec.Struct, frozen=True, tag=True):
    """The candidate failed, or a person wants the champion back."""

    why: str


class Returned(msgspec.Struct, frozen=True, tag=True):
    """Users are back on the champion, proven and verified."""


class Revive(msgspec.Struct, frozen=True, tag=True):
    """The champion went down, and nobody decided against it: it comes back as it was."""


class Revived(msgspec.Struct, frozen=True, tag=True):
    """The champion that went down answers users again."""


class Tidy(msgspec.Struct, frozen=True, tag=True):
    """No release is in progress, and still something stands in the colour without users."""


class Settle(msgspec.Struct, frozen=True, tag=True):
    """The candidate becomes the champion."""


class Settled(msgspec.Struct, frozen=True, tag=True):
    """The registry knows and the old colour is retired."""


class Paid(msgspec.Struct, frozen=True, tag=True):
    """The registry took one of the owed changes."""

    debt: Debt


Event = (
    Begin
    | Ready
    | Abandon
    | Resume
    | StagePassed
    | Judged
    | Proven
    | Hold
    | TakeBack
    | Returned
    | Revive
    | Revived
    | Tidy
    | Settle
    | Settled
    | Paid
)


# Effects


class Deploy(msgspec.Struct, frozen=True, tag=True):
    colour: Colour
    version: Version

    def __str__(self) -> str:
        return f"deploy {self.version.digest[:19]} in {self.colour}"


class Route(msgspec.Struct, frozen=True, tag=True):
    """``prove``: wait until a colour that lost its users stands still. ``warm``: the colour without users is the version before,
    and may answer what the live one does not."""

    plan: TrafficPlan
    prove: bool = False
    warm: bool = False

    def __str__(self) -> str:
        other = f", {self.plan.share}% to {self.plan.live.other}" if self.plan.share else ""
        cohorts = "".join(f", cohort {cohort.name} to {cohort.colour}" for cohort in self.plan.cohorts)
        return f"route users to {self.plan.live}{other}{', mirrored' if self.plan.mirror else ''}{cohorts}"


class WatchStage(msgspec.Struct, frozen=True, tag=True):
    index: int

    def __str__(self) -> str:
        return f"watch stage {self.index + 1}"


class Conclude(msgspec.Struct, frozen=True, tag=True):
    def __str__(self) -> str:
        return "judge the release"


class Retire(msgspec.Struct, frozen=True, tag=True):
    colour: Colour

    def __str__(self) -> str:
        return f"retire {self.colour}"


class PayDebts(msgspec.Struct, frozen=True, tag=True):
    """Tell the registry what is owed."""

    def __str__(self) -> str:
        return "set the registry's aliases"


Effect = Deploy | Route | WatchStage | Conclude | Retire | PayDebts


class Step(msgspec.Struct, frozen=True):
    """What follows. ``refused`` says why the event does not apply now; nothing changes then."""

    state: State
    effects: tuple[Effect, ...] = ()
    refused: str = ""


def decide(state: State, seen: Seen, stages: Sequence[Stage], event: Event, cohorts: Sequence[Cohort] = ()) -> Step:
    """The next journal content and the effects to carry out after it is written. Total: it never raises.

    Args:
        cohorts: Who is answered by one role as long as candidate and champion both have users.
    """
    if isinstance(event, Begin):
        step = _begin(state, seen, event)
    elif isinstance(event, Paid):
        step = Step(replace(state, owed=tuple(debt for debt in state.owed if debt != event.debt)))
    elif isinstance(event, Revived):
        step = Step(replace(state, reviving=False))
    elif isinstance(event, Revive):
        step = _revive(state, seen)
    elif isinstance(event, Tidy):
        step = _tidy(state, seen)
    elif isinstance(event, TakeBack):
        step = _take_back(state, seen, event.why)
    elif state.release is None:
        step = Step(state, refused="no release is in progress")
    elif isinstance(event, Settle):
        step = _settle(state, state.release, seen)
    else:
        step = _progress(state, state.release, seen, stages, event, cohorts=cohorts)
    intents = tuple(str(effect) for effect in step.effects)
    return step if step.refused else replace(step, state=replace(step.state, intents=intents))


def live_colour(state: State, seen: Seen) -> Colour | None:
    """The colour users are on: the router's word, and the journal's while the router is down."""
    if seen.plan is not None:
        return seen.plan.live
    release = state.release
    if release is not None and release.phase in (Phase.SWITCHED, Phase.SETTLING):
        return release.colour
    if release is not None and release.champion is not None:
        return release.colour.other
    return state.champion.colour if state.champion else None


def quarantines_of(state: State, version: Version) -> Mapping[str, Quarantine]:
    """By digest, those that bar this version: its own first, then those of the same source."""
    own = {digest: barred for digest, barred in state.quarantined.items() if digest == version.digest}
    if version.source is None:
        return own
    return own | {digest: barred for digest, barred in state.quarantined.items() if barred.source == version.source}


def champion_now(state: State, seen: Seen) -> Version | None:
    """What a candidate that is deployed now would stand beside, and users would return to."""
    live = live_colour(state, seen)
    return _standing_in(state, seen, live) if live else None


def holds_users(release: Release, seen: Seen) -> bool:
    """Whether users may be on the candidate, or are about to be."""
    if release.phase in (Phase.SWITCHING, Phase.SWITCHED, Phase.SETTLING, Phase.RETURNING):
        return True
    return seen.plan is not None and seen.plan.serves(release.colour)


def moved_plan(release: Release, cohorts: Sequence[Cohort]) -> TrafficPlan:
    """All users on the candidate, but cohorts that stay on the champion until it settles."""
    if release.champion is None:
        return TrafficPlan.all_to(release.colour)
    staying = pinned([cohort for cohort in cohorts if cohort.to == "champion"], release.colour.other)
    return TrafficPlan(live=release.colour, cohorts=staying)


def _begin(state: State, seen: Seen, event: Begin) -> Step:
    release = state.release
    if release is not None and release.phase is not Phase.PREPARING and _same(release, event):
        return Step(state, () if _stands(seen, release.colour, release.candidate) else _revive_candidate(release, seen))
    if release is not None and holds_users(release, seen):
        return Step(state, refused=f"run {release.run} is {release.phase} and may hold users")
    live = live_colour(state, seen)
    colour = live.other if live else Colour.BLUE
    begun = Release(
        run=event.run,
        candidate=event.version,
        colour=colour,
        phase=Phase.PREPARING,
        champion=champion_now(state, seen),
    )
    # After a restart of the machine users come first, the candidate second.
    home: tuple[Effect, ...] = ()
    if begun.champion is not None and seen.plan != _home(begun):
        home = (Route(_home(begun)),)
    effects = (*_champion_warm(begun, seen), *home, Deploy(colour, event.version))
    return Step(replace(state, release=begun, reviving=False), effects)


def _same(release: Release, event: Begin) -> bool:
    return release.run == event.run and release.candidate.digest == event.version.digest and release.phase is not Phase.RETURNING


def _standing_in(state: State, seen: Seen, colour: Colour) -> Version | None:
    """The target's word; the journal's where they agree, for it knows the source too."""
    known = state.champion.version if state.champion and state.champion.colour is colour else None
    found = seen.deployed.get(colour)
    return known if found is None or (known is not None and known.digest == found.digest) else found


def _stands(seen: Seen, colour: Colour, version: Version) -> bool:
    return seen.ready.get(colour) == version.digest


def _revive_candidate(release: Release, seen: Seen) -> tuple[Effect, ...]:
    """The candidate started again, users safe on the champion meanwhile."""
    if not holds_users(release, seen) or release.champion is None:
        return (Deploy(release.colour, release.candidate),)
    return (*_champion_warm(release, seen), Route(_home(release)), Deploy(release.colour, release.candidate))


def _champion_warm(release: Release, seen: Seen) -> tuple[Effect, ...]:
    """The champion's colour brought back when it does not answer."""
    if release.champion is None or _stands(seen, release.colour.other, release.champion):
        return ()
    return (Deploy(release.colour.other, release.champion),)


def _home(release: Release) -> TrafficPlan:
    return TrafficPlan.all_to(release.colour.other)


def _progress(
    state: State, release: Release, seen: Seen, stages: Sequence[Stage], event: Event, *, cohorts: Sequence[Cohort]
) -> Step:
    moves = {
        (Ready, Phase.PREPARING): replace(release, phase=Phase.DEPLOYED),
        (StagePassed, Phase.SHIFTING): replace(release, stage=min(release.stage + 1, len(stages)), why=""),
        (Judged, Phase.SHIFTING): replace(release, phase=Phase.SWITCHING, why=""),
        (Proven, Phase.SWITCHING): replace(release, phase=Phase.SWITCHED),
    }
    moved = moves.get((type(event), release.phase))
    if isinstance(event, Judged) and release.stage < len(stages):
        return Step(state, refused=f"stage {release.stage + 1} of {len(stages)} was not passed yet")
    if moved is not None and moved.phase in (Phase.DEPLOYED, Phase.SWITCHED):
        return Step(replace(state, release=moved))
    if moved is not None or isinstance(event, Resume):
        going = moved or release
        return _resume(replace(state, release=going), going, seen, stages, cohorts)
    return _leave(state, release, seen, stages, event)


def _leave(state: State, release: Release, seen: Seen, stages: Sequence[Stage], event: Event) -> Step:
    """Events that end or suspend a release."""
    if isinstance(event, Abandon) and release.phase in (Phase.PREPARING, Phase.DEPLOYED) and not holds_users(release, seen):
        return Step(replace(state, release=None), (Retire(release.colour),))
    if isinstance(event, Hold) and release.phase is Phase.DEPLOYED and release.champion is not None:
        home: tuple[Effect, ...] = () if seen.plan == _home(release) else (Route(_home(release), prove=event.prove),)
        return Step(replace(state, release=replace(release, why=event.why)), (*_champion_warm(release, seen), *home))
    if isinstance(event, Hold) and release.phase in (Phase.SHIFTING, Phase.SWITCHING) and release.champion is not None:
        last = replace(release, phase=Phase.SHIFTING, stage=max(0, min(release.stage, len(stages) - 1)), why=event.why)
        effects = (*_champion_warm(release, seen), Route(_home(release), prove=event.prove))
        return Step(replace(state, release=last), effects)
    if isinstance(event, Returned) and release.phase is Phase.RETURNING and release.champion is not None:
        champion = Standing(release.colour.other, release.champion)
        previous = None if release.settled else state.previous
        return Step(replace(state, release=None, champion=champion, previous=previous))
    if isinstance(event, Settled) and release.phase is Phase.SETTLING:
        champion = Standing(release.colour, release.candidate)
        lifted = quarantines_of(state, release.candidate)
        barred = {digest: why for digest, why in state.quarantined.items() if digest not in lifted}
        return Step(replace(state, release=None, champion=champion, previous=release.champion, quarantined=barred))
    return Step(state, refused=f"{type(event).__name__} does not apply while run {release.run} is {release.phase}")


def _resume(state: State, release: Release, seen: Seen, stages: Sequence[Stage], cohorts: Sequence[Cohort]) -> Step:
    if release.phase is Phase.PREPARING:
        return Step(state, (Deploy(release.colour, release.candidate),))
    started = release
    if release.phase is Phase.DEPLOYED:
        started = replace(release, phase=Phase.SWITCHING if release.champion is None else Phase.SHIFTING)
        state = replace(state, release=started)
    if started.phase is Phase.SHIFTING:
        return Step(state, _shift(started, seen, stages, cohorts))
    if started.phase is Phase.SWITCHING:
        standing = () if _stands(seen, release.colour, release.candidate) else _revive_candidate(release, seen)
        return Step(state, (*standing, Route(moved_plan(release, cohorts), prove=True, warm=release.champion is not None)))
    ending = {Phase.SETTLING: _settling(release), Phase.RETURNING: _returning(release, seen)}
    return Step(state, ending.get(release.phase, ()))


def _shift(release: Release, seen: Seen, stages: Sequence[Stage], cohorts: Sequence[Cohort]) -> tuple[Effect, ...]:
    """Both colours warm, users as the stage wants them, then the watch; after the last stage the verdict."""
    before: tuple[Effect, ...] = _champion_warm(release, seen)
    if not _stands(seen, release.colour, release.candidate):
        before = (*before, Route(_home(release)), Deploy(release.colour, release.candidate))
    if release.stage >= len(stages):
        return (*before, Conclude())
    return (*before, Route(stages[release.stage].plan(release.colour.other, cohorts)), WatchStage(release.stage))


def _settle(state: State, release: Release, seen: Seen) -> Step:
    if release.phase not in (Phase.SWITCHED, Phase.SETTLING):
        return Step(state, refused=f"run {release.run} is {release.phase}; only a switched release settles")
    everybody = TrafficPlan.all_to(release.colour)
    staying = seen.plan is not None and seen.plan.live is release.colour and not seen.plan.share and bool(seen.plan.cohorts)
    if staying and release.phase is Phase.SWITCHED:
        # Nothing is retired before the cohorts that stayed behind were moved, and that was proven.
        return Step(state, (Route(everybody, prove=True),))
    if seen.plan != everybody:
        return Step(state, refused=f"users are not all on {release.colour}")
    if not _stands(seen, release.colour, release.candidate):
        return Step(state, refused=f"{release.colour} does not answer with {release.candidate.digest[:19]}")
    settling = replace(release, phase=Phase.SETTLING)
    owed = _owing(state.owed, release.candidate, Debt("champion", release.candidate.model_version), Debt("candidate"))
    return Step(replace(state, release=settling, owed=owed), _settling(settling))


def _settling(release: Release) -> tuple[Effect, ...]:
    return (PayDebts(), Retire(release.colour.other))


def _owing(owed: Sequence[Debt], version: Version, *debts: Debt) -> tuple[Debt, ...]:
    """A newer wish for an alias replaces the older; a version that was never registered has no alias."""
    if not version.model_version:
        return tuple(owed)
    names = {debt.alias for debt in debts}
    return (*(debt for debt in owed if debt.alias not in names), *debts)


def _revive(state: State, seen: Seen) -> Step:
    """What is live comes back as it was; a release in progress is no less in progress then."""
    champion = state.champion
    if state.release is not None or champion is None:
        return Step(state, refused="a release is in progress" if state.release else "nothing was ever released")
    warm = () if _stands(seen, champion.colour, champion.version) else (Deploy(champion.colour, champion.version),)
    effects = (*warm, Route(TrafficPlan.all_to(champion.colour), prove=True))
    return Step(replace(state, reviving=True), effects)


def _tidy(state: State, seen: Seen) -> Step:
    """Only what no user may be on goes: the router says who is live, and the journal that it is the champion."""
    champion = state.champion
    live = seen.plan.live if seen.plan else None
    if state.release is not None or live is None or (champion is not None and champion.colour is not live):
        return Step(state, refused="who may have users is not settled")
    if seen.plan != TrafficPlan.all_to(live) or live.other not in seen.deployed:
        return Step(state)
    return Step(state, (Retire(live.other),))


def _take_back(state: State, seen: Seen, why: str) -> Step:
    release = state.release
    if release is not None:
        return _take_back_release(state, release, seen, why)
    if state.champion is None:
        return Step(state, refused="nothing was ever released")
    champion = state.champion
    # A worker that died while it brought the champion back may have left a router that answers already.
    if state.reviving or seen.plan is None or (state.previous is None and not _stands(seen, champion.colour, champion.version)):
        return _revive(state, seen)
    if state.previous is None:
        return Step(state, refused="there is no earlier version to go back to")
    undone = Release(
        run=champion.version.run,
        candidate=champion.version,
        colour=champion.colour,
        phase=Phase.SETTLING,
        champion=state.previous,
        settled=True,
    )
    return _take_back_release(state, undone, seen, why)


def _take_back_release(state: State, release: Release, seen: Seen, why: str) -> Step:
    if release.champion is None:
        if release.phase in (Phase.SWITCHED, Phase.SETTLING) and not _stands(seen, release.colour, release.candidate):
            revived = (Deploy(release.colour, release.candidate), Route(TrafficPlan.all_to(release.colour), prove=True))
            return Step(state, revived)
        return Step(state, refused="this is the first release: there is no earlier version to go back to")
    if release.phase is Phase.RETURNING:
        return Step(state, _returning(release, seen))
    was_settled = release.settled or release.phase is Phase.SETTLING
    returning = replace(release, phase=Phase.RETURNING, why=why)
    owed = _owing(state.owed, release.candidate, Debt("candidate"))
    if was_settled:
        owed = _owing(owed, release.champion, Debt("champion", release.champion.model_version))
    barred = dict(state.quarantined)
    if release.candidate.digest != release.champion.digest:
        taken = release.candidate
        barred[taken.digest] = Quarantine(taken.model_version, why, release.run, taken.source)
    after = replace(state, release=returning, owed=owed, quarantined=barred)
    return Step(after, _returning(returning, seen))


def _returning(release: Release, seen: Seen) -> tuple[Effect, ...]:
    return (*_champion_warm(release, seen), Route(_home(release), prove=True), PayDebts(), Retire(release.colour))
