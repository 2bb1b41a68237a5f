"""The state machine alone, in a world where anything dies at any moment and workers are killed between any two effects."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlpipeline.core import release as machine
from mlpipeline.core.release import Phase, Release, Seen, State, Version, decide
from mlpipeline.core.traffic import Colour, TrafficPlan

STAGES = machine.stages_of(mirror=1, steps=(10, 50), step=1, bake=1, control=10)


NEXT: dict[Phase, machine.Event] = {
    Phase.PREPARING: machine.Ready(),
    Phase.DEPLOYED: machine.Resume(),
    Phase.SHIFTING: machine.StagePassed(),
    Phase.SWITCHING: machine.Resume(),
    Phase.SWITCHED: machine.Settle(),
    Phase.SETTLING: machine.Settle(),
    Phase.RETURNING: machine.Resume(),
}
"""What a worker does next in each phase, when nothing is in the way."""


class Worlds(RuleBasedStateMachine):
    """Two colours, a router, a journal. Each event is decided on what is seen then; its effects are carried out one by one, and a
    worker may be killed after any of them, or before the first: the journal was written before."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.standing: dict[Colour, Version] = {}
        self.ready: set[Colour] = set()
        self.plan: TrafficPlan | None = None
        self.router = True
        self.judged: set[str] = set()
        self.made = 0

    # What happens

    @initialize()
    def first(self) -> None:
        for event in (self._begin(), machine.Ready(), machine.Resume(), machine.Proven(), machine.Settle(), machine.Settled()):
            self.happen(event, kill=99)
        assert self.state.champion is not None

    @rule(kill=st.integers(0, 4))
    def begin(self, kill: int) -> None:
        self.happen(self._begin(), kill)

    @rule(
        kill=st.integers(0, 4),
        event=st.sampled_from(
            [
                machine.Ready(),
                machine.Abandon(),
                machine.Resume(),
                machine.Hold("no verdict"),
                machine.TakeBack("complaints"),
                machine.StagePassed(),
                machine.Judged(),
                machine.Returned(),
                machine.Revive(),
                machine.Revived(),
                machine.Tidy(),
                machine.Settle(),
            ]
        ),
    )
    def event(self, event: machine.Event, kill: int) -> None:
        self.happen(event, kill)

    @precondition(lambda self: self.phase is not None)
    @rule(kill=st.sampled_from([99, 99, 0, 1, 2]), times=st.integers(1, 8))
    def goes_on(self, kill: int, times: int) -> None:
        """A worker comes, asks what there is to do, and goes on as if nothing happened; it may be killed in the last of these."""
        self.happen(machine.Resume(), 99)
        for left in reversed(range(times)):
            if self.phase is not None:
                self._go_on(99 if left else kill)

    def _go_on(self, kill: int) -> None:
        release = self.state.release
        assert release is not None
        if release.phase is Phase.SHIFTING and release.stage >= len(STAGES):
            self.happen(machine.Judged(), kill)
        elif release.phase is Phase.SWITCHING and self.plan == TrafficPlan.all_to(release.colour):
            self.happen(machine.Proven(), kill)
        elif release.phase is Phase.SETTLING and not self.state.owed and release.colour.other not in self.standing:
            self.happen(machine.Settled(), kill)
        elif release.phase in NEXT:
            self.happen(NEXT[release.phase], kill)

    @rule(colour=st.sampled_from(Colour))
    def a_colour_dies(self, colour: Colour) -> None:
        self.ready.discard(colour)

    @rule(up=st.booleans())
    def the_router_dies_or_comes_back(self, up: bool) -> None:
        self.router = up

    @rule()
    def the_machine_restarts(self) -> None:
        self.ready, self.router = set(), False

    # How effects work

    def _begin(self) -> machine.Begin:
        self.made += 1
        return machine.Begin(
            f"run-{self.made}", Version(digest=f"sha256:{self.made:064}", path="/x", model_version=str(self.made))
        )

    @property
    def phase(self) -> Phase | None:
        return self.state.release.phase if self.state.release else None

    def seen(self) -> Seen:
        return Seen(
            plan=self.plan if self.router else None,
            ready={colour: self.standing[colour].digest for colour in self.ready},
            deployed=dict(self.standing),
        )

    def happen(self, event: machine.Event, kill: int) -> None:
        """Args:
        kill: After how many effects the worker dies.
        """
        before = self.state
        step = decide(before, self.seen(), STAGES, event)
        if isinstance(event, machine.Returned) and self.plan != TrafficPlan.all_to(self._home() or Colour.BLUE):
            return  # a worker says so only of what it saw
        if isinstance(event, machine.Judged) and not step.refused and before.release is not None:
            self.judged.add(before.release.run)
        if step.refused:
            assert step.state == before
            assert not step.effects
            return
        self.state = step.state
        for effect in step.effects[:kill]:
            if not self.carry_out(effect):
                break

    def carry_out(self, effect: machine.Effect) -> bool:
        """As a target does it; false when it refuses."""
        if isinstance(effect, machine.Deploy):
            other = self.standing.get(effect.colour)
            if other is not None and other.digest != effect.version.digest and self._used(effect.colour):
                return False
            self.standing[effect.colour] = effect.version
            self.ready.add(effect.colour)
        elif isinstance(effect, machine.Route):
            wanted = [colour for colour in Colour if effect.plan.percent(colour)]
            if any(colour not in self.ready for colour in wanted):
                return False
            self._check_users(effect.plan)
            self.plan, self.router = effect.plan, True
        elif isinstance(effect, machine.Retire):
            if self._used(effect.colour):
                return False
            self._check_retired(effect.colour)
            self.standing.pop(effect.colour, None)
            self.ready.discard(effect.colour)
        elif isinstance(effect, machine.PayDebts):
            for debt in self.state.owed:
                self.state = decide(self.state, self.seen(), STAGES, machine.Paid(debt)).state
        return True

    def _home(self) -> Colour | None:
        return self.state.release.colour.other if self.state.release else None

    def _used(self, colour: Colour) -> bool:
        return self.plan is not None and (self.plan.live is colour or self.plan.percent(colour) > 0)

    # What must never be

    def _check_users(self, plan: TrafficPlan) -> None:
        """The candidate gets users only in a stage that has come, and all of them only after the verdict, or when it is all there
        is; the version in the other colour is what they return to."""
        release = self.state.release
        if release is None or not plan.percent(release.colour):
            return
        if plan.percent(release.colour) == 100:
            assert release.champion is None or release.run in self.judged, "all users before the verdict"
            return
        assert release.phase is Phase.SHIFTING
        assert plan.share <= STAGES[release.stage].share, "more users than the stage that has come gives"
        assert plan.live is release.colour.other

    def _check_retired(self, colour: Colour) -> None:
        """What users return to stays warm until the release settles."""
        release = self.state.release
        if release is not None and release.champion is not None and colour is release.colour.other:
            assert release.phase is Phase.SETTLING, f"the way back was closed while {release.phase}"

    @invariant()
    def one_colour_is_live(self) -> None:
        assert self.plan is not None or not self.standing or self.made <= 1
        if self.plan is not None:
            assert self.plan.live in self.standing, "users are routed to something, dead or alive"

    @invariant()
    def there_is_a_way_to_one_colour_with_all_users_from_every_state(self) -> None:
        """A worker that is not killed takes users back, or brings back what was live, whatever came before."""
        if self.state.champion is None and self.phase is None:
            return
        saved = (self.state, dict(self.standing), set(self.ready), self.plan, self.router, set(self.judged))
        undone = self.state.release
        back = (machine.TakeBack("way back"), machine.Returned()) if undone else (machine.Revive(), machine.Revived())
        for event in (*back, machine.Tidy()):
            self.happen(event, kill=99)
        assert self.plan is not None
        if undone is None or undone.champion is not None:
            assert self.state.release is None
            assert self.state.champion is not None
            assert self.plan == TrafficPlan.all_to(self.state.champion.colour)
            assert self.standing[self.plan.live].digest == self.state.champion.version.digest
            assert self.plan.live in self.ready
            assert set(self.standing) == {self.plan.live}, "nothing is left beside it"
        self.state, self.standing, self.ready, self.plan, self.router, self.judged = saved

    @invariant()
    def what_was_taken_back_is_barred(self) -> None:
        release: Release | None = self.state.release
        if release is not None and release.phase is Phase.RETURNING and release.champion is not None:
            assert release.candidate.digest in self.state.quarantined


Worlds.TestCase.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWorlds = Worlds.TestCase
