"""``status``: what is live now, from the target itself; changes nothing and needs no lease."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from mlpipeline.config.rollout_plan import cohorts
from mlpipeline.core.release import Phase, Release, State, live_colour
from mlpipeline.core.traffic import Colour, pinned
from mlpipeline.errors import EnvironmentFault
from mlpipeline.ports import Deployed, Observed
from mlpipeline.record.journal import Journal
from mlpipeline.record.lease import MAKING, TRAFFIC, Holder, Right, holder
from mlpipeline.record.result import Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.releasing import seen, state_without_journal


class ColourStatus(msgspec.Struct, frozen=True):
    """One colour. ``percent`` of users it answers, ``role`` is ``live``, ``candidate`` or ``standby``."""

    deployed: Deployed
    percent: int
    role: str


class Status(msgspec.Struct, frozen=True):
    """Everything ``status`` knows.

    Args:
        router: ``up``, ``down``, or why the target cannot be read.
        holder: Who changes what users get now.
        maker: Who makes a release, also while it trains.
        results: Of the run that was asked for, else the newest of this checkout, by verb.
        fault: What is wrong with the journal; then nothing is known of a release in progress.
        cohorts: Named users and the colour that answers them, a line each.
        environment: Empty for production.
        waiting: Entries that this machine keeps until the ledger can be reached.
    """

    service: str
    router: str
    colours: tuple[ColourStatus, ...]
    state: State
    holder: Holder | None
    maker: Holder | None
    run: str
    results: dict[str, Result]
    fault: str = ""
    cohorts: tuple[str, ...] = ()
    environment: str = ""
    waiting: int = 0

    @property
    def serving(self) -> bool:
        """Whether users are answered: the router is up and each colour with users is ready."""
        used = [colour for colour in self.colours if colour.percent]
        return self.router == "up" and bool(used) and all(colour.deployed.ready for colour in used)

    @property
    def summary(self) -> str:
        """The answer in one line."""
        return f"{self.service}: {self._headline()}"

    def lines(self) -> list[str]:
        """For people; the first line is the answer."""
        found = [self.summary, f"  router      {self.router}"]
        for colour in self.colours:
            made = colour.deployed.artifact
            state = "ready" if colour.deployed.ready else f"DOWN {_last_line(colour.deployed.detail)}".rstrip()
            named = f"version {made.model_version or '-'}, {made.digest[:19]}, run {made.run or '-'}"
            found.append(f"  {colour.deployed.colour:<10}  {colour.role}, {colour.percent} % of users, {state}: {named}")
        found.extend(f"  cohort      {line}" for line in self.cohorts)
        if self.fault:
            found.append(f"  journal     {self.fault}")
        found.extend(self._release_lines())
        if self.state.previous is not None and self.state.release is None:
            before = self.state.previous
            found.append(f"  before      version {before.model_version or '-'}, {before.digest[:19]}: a rollback returns to it")
        for digest, why in self.state.quarantined.items():
            commit = f", commit {why.source.commit[:12]}" if why.source else ""
            found.append(f"  quarantined {digest[:19]} (version {why.model_version or '-'}{commit}): {why.reason}")
        for name, worker in (("making", self.maker), ("held by", self.holder)):
            if worker is not None:
                who = f"{worker}, {worker.user or 'unknown'}"
                found.append(f"  {name:<12}{who}, run {worker.run or '-'}, since {worker.since}")
        if self.waiting:
            entries = "1 entry waits" if self.waiting == 1 else f"{self.waiting} entries wait"
            found.append(f"  ledger      {entries} on this machine until it can be reached; try: mlpipeline resume")
        if self.run:
            found.append(f"  run         {self.run}")
            found.extend(f"    {verb:<12}{result.verdict:<14}{result.summary}" for verb, result in self.results.items())
        return found

    def _headline(self) -> str:
        if self.serving:
            used = [colour for colour in self.colours if colour.percent]
            names = [f"version {colour.deployed.artifact.model_version or '-'} ({colour.deployed.colour})" for colour in used]
            return ", ".join(f"{colour.percent} % of users on {name}" for colour, name in zip(used, names, strict=True))
        if self.state.champion is None and self.state.release is None and not self.colours and not self.fault:
            return "nothing was released yet"
        if self.router not in {"up", "down"}:
            return "not known who is live, the target cannot be read"
        unanswered = sum(colour.percent for colour in self.colours if not colour.deployed.ready)
        if self.router == "up" and 0 < unanswered < 100:
            return f"DOWN in part, {unanswered} % of users are not answered; try: mlpipeline rollback"
        return "DOWN, users are not answered; try: mlpipeline rollback"

    def _release_lines(self) -> list[str]:
        release = self.state.release
        found = []
        if release is not None:
            stage = f", stage {release.stage + 1}" if release.phase is Phase.SHIFTING else ""
            why = f" ({release.why})" if release.why else ""
            found.append(f"  release     run {release.run}: {release.phase}{stage} in {release.colour}{why}")
            if self.holder is None and (self.maker is None or self.maker.run != release.run):
                found.append(f"  try         {_following(release, self.environment)}")
        if self.state.owed:
            owed = ", ".join(f"{debt.alias} -> {debt.version or 'nobody'}" for debt in self.state.owed)
            found.append(f"  owed        to the registry: {owed}")
        return found


def run(context: Context, run: Run | None = None) -> Status:
    """Reads the target, the journal, both leases and the results of a run, the newest unless one is named."""
    observed, router = _observe(context)
    state, fault = _known(context, observed)
    latest = run or context.runs.latest()
    return Status(
        service=context.config.service,
        router=router,
        colours=_colours(state, observed),
        state=state,
        holder=_holder(context, TRAFFIC),
        maker=_holder(context, MAKING),
        run=latest.id if latest else "",
        results=context.runs.results(latest.id) if latest else {},
        fault=fault,
        cohorts=_cohorts(context, observed),
        environment=context.environment_name,
        waiting=len(context.ledger.waiting()),
    )


def _known(context: Context, observed: Observed) -> tuple[State, str]:
    """What the journal says; who is live is the target's word, and must be told without it. Where there is no journal, what the
    target and the ledger make of a release."""
    journal = Journal(context.places.journal)
    if observed.colours and not journal.exists():
        return state_without_journal(context, seen(observed)), ""
    try:
        return journal.read(), ""
    except EnvironmentFault as fault:
        return State(), f"{fault.what}: {fault.facts['journal']}"


def _holder(context: Context, right: Right) -> Holder | None:
    """Here, or on another machine that reaches the target; None when nobody is seen to."""
    known = holder(context.places.lease if right == TRAFFIC else context.places.making)
    if known is None and context.config.target.kind == "kubernetes":
        with suppress(EnvironmentFault):
            return context.world.target().holder(right)
    return known


def _cohorts(context: Context, observed: Observed) -> tuple[str, ...]:
    """Who is pinned where, by the router's word; and who would be, while candidate and champion both have users."""
    routed = observed.plan.cohorts if observed.plan is not None else ()
    live = observed.plan.live if observed.plan is not None else Colour.BLUE
    idle = [one for one in pinned(cohorts(context.config.rollout), live) if one.name not in {known.name for known in routed}]
    return (*(f"{one} on {one.colour}" for one in routed), *(f"{one} on the live colour, as everybody" for one in idle))


def _observe(context: Context) -> tuple[Observed, str]:
    try:
        observed = context.world.target().observe()
    except EnvironmentFault as fault:
        return Observed(router="down"), "; try: ".join([f"cannot be read: {fault.what}", *fault.tries[:1]])
    return observed, observed.router


def _colours(state: State, observed: Observed) -> tuple[ColourStatus, ...]:
    live = live_colour(state, seen(observed))
    found = []
    for colour, deployed in sorted(observed.colours.items()):
        candidate = state.release is not None and state.release.colour is colour and state.release.phase is not Phase.SWITCHED
        role = "live" if colour is live else "candidate" if candidate else "standby"
        found.append(ColourStatus(deployed, observed.plan.percent(colour) if observed.plan else 0, role))
    return tuple(found)


def _following(release: Release, environment: str) -> str:
    """What to do about a release that no worker is at."""
    if environment:
        return f"mlpipeline run (goes on), or mlpipeline rollback --environment {environment} (takes it back)"
    going_on = f"mlpipeline run --run {release.run} (goes on)"
    if release.champion is None:
        return going_on
    back = "mlpipeline rollback"
    if release.phase is Phase.RETURNING:
        return f"{back} (goes on)"
    safe = ", mlpipeline resume (makes users safe, judges nothing)" if release.phase is not Phase.DEPLOYED else ""
    return f"{going_on}{safe}, or {back} (takes it back)"


def _last_line(detail: str) -> str:
    """The end of a process is in its last words; all of them are in its log."""
    lines = detail.splitlines()
    return lines[0] if len(lines) < 2 else f"{lines[0].split(':')[0]}: {lines[-1]}"
