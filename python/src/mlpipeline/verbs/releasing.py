"""Carries out what ``core.release`` decides: journal first, then the effect, then the ledger."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from mlpipeline.config import rollout_plan
from mlpipeline.config.rollout_plan import cohorts
from mlpipeline.core.adopting import adopted, kept_in, note_of
from mlpipeline.core.container import ContainerImage
from mlpipeline.core.release import (
    Conclude,
    Debt,
    Deploy,
    Effect,
    Event,
    Hold,
    Paid,
    PayDebts,
    Phase,
    Release,
    Retire,
    Returned,
    Route,
    Seen,
    Source,
    Stage,
    Standing,
    State,
    TakeBack,
    Version,
    WatchStage,
    decide,
)
from mlpipeline.core.traffic import Colour
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.ports import Artifact, Moved, Observed
from mlpipeline.record.journal import Journal
from mlpipeline.record.result import Number, Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.standing import ROUTER, note_standing


class Done(msgspec.Struct, frozen=True):
    """What the effects of one event came to.

    Args:
        moved: Of the last route that was carried out.
        waiting: What the caller has to do itself: watch a stage or judge the release.
    """

    moved: Moved | None = None
    waiting: WatchStage | Conclude | None = None


class Releasing:
    """One service under a lease.

    Args:
        token: The lease's fencing token.
    """

    def __init__(self, context: Context, token: int) -> None:
        self._context = context
        self._journal = Journal(context.places.journal)
        self._token = token
        self.target = context.world.target()
        self.stages = stages(context)
        self._cohorts = cohorts(context.config.rollout)
        self.state = self._journal.read() if self._journal.exists() else self._adopted()
        self._told_found = False
        self._noted = ""

    @property
    def release(self) -> Release | None:
        return self.state.release

    @property
    def context(self) -> Context:
        """With a ledger that may wait, once users were to be taken back."""
        return self._context

    def see(self) -> Seen:
        """The target's word, read anew."""
        return seen(self.target.observe())

    def _adopted(self) -> State:
        """Without a journal: another machine had it, or it was lost. The target is there all the same."""
        try:
            now = self.see()
        except EnvironmentFault:
            return State()
        if not now.deployed:
            return State()
        found = state_without_journal(self._context, now)
        if found.champion is not None:
            self._context.console.say("there is no journal of this service here; what the target and the ledger say counts")
        return found

    def happen(self, event: Event) -> Done:
        """Journals what follows from the event and carries it out.

        Raises:
            ConfigurationError: The event does not apply now; nothing was changed.
        """
        if isinstance(event, TakeBack | Hold):
            self._context = self._context.users_first()
        self._tell_found()
        step = decide(self.state, self.see(), self.stages, event, self._cohorts)
        if step.refused:
            raise ConfigurationError(step.refused, facts=self._facts(), tries=("mlpipeline status",))
        self._write(step.state)
        done = Done()
        for effect in step.effects:
            done = self._carry_out(effect, done)
        self._tell_target()
        return done

    def finish_return(self) -> None:
        """To be called when users are back: ends the release and tells the ledger."""
        release = self.state.release
        if release is None or release.phase is not Phase.RETURNING:
            return
        taken = release.candidate
        facts = {"digest": taken.digest, "model_version": taken.model_version, "reason": release.why}
        facts |= {"commit": taken.source.commit} if taken.source else {}
        if taken.digest in self.state.quarantined:
            self.note_once("quarantined", release.run, facts)
        back = release.champion.digest if release.champion else ""
        self.note_once("rolled-back", release.run, {**facts, "to": back})
        self.happen(Returned())

    def pay_debts(self) -> bool:
        """Tells the registry what is owed; false, and said aloud, when it cannot be reached."""
        try:
            self._pay()
        except EnvironmentFault as fault:
            owed = ", ".join(f"{debt.alias} -> {debt.version or 'nobody'}" for debt in self.state.owed)
            self._context.console.say(f"OWED: the registry was not told ({fault.what}); owed: {owed}; the next verb tries again")
            return False
        return True

    def _pay(self) -> None:
        if not self.state.owed:
            return
        registry = self._context.world.registry()
        for debt in self.state.owed:
            if debt.version:
                registry.set_alias(self._context.config.service, debt.alias, debt.version)
            else:
                registry.delete_alias(self._context.config.service, debt.alias)
            self._paid(debt)

    def _paid(self, debt: Debt) -> None:
        self._write(decide(self.state, Seen(), (), Paid(debt)).state)

    def _write(self, state: State) -> None:
        self.state = self._journal.write(state, token=self._token)

    def _tell_target(self) -> None:
        """For a worker that has no journal. Where it cannot be told now, the next verb does."""
        note = note_of(self.state)
        if note == self._noted:
            return
        with suppress(EnvironmentFault):
            if self.target.remembered() != note:
                self.target.remember(note)
            self._noted = note

    def _carry_out(self, effect: Effect, done: Done) -> Done:
        if isinstance(effect, WatchStage | Conclude):
            return Done(moved=done.moved, waiting=effect)
        if isinstance(effect, Route):
            within = self._context.config.rollout.settle_switch if effect.prove else 0.0
            moved = self.target.route(effect.plan, prove_within=within, warm=effect.warm)
            self._note_live()
            self._note_standing(ROUTER)
            return Done(moved=moved)
        if isinstance(effect, Deploy):
            self._deploy(effect)
        elif isinstance(effect, PayDebts):
            self._tell_registry()
        else:
            self._retire(effect)
        return done

    def _deploy(self, effect: Deploy) -> None:
        """A champion that does not start again is the machine's trouble, never a verdict on the candidate."""
        self._context.console.say(f"{effect}")
        release = self.state.release
        try:
            self.target.deploy(effect.colour, artifact(effect.version))
        except Failed as failed:
            if release is not None and release.colour is effect.colour:
                raise
            raise EnvironmentFault(
                f"{effect.colour} cannot be brought back: {failed.what}; users stay where they are",
                facts={"version": effect.version.model_version or "-", "digest": effect.version.digest, **failed.facts},
                likely="what this version needs is no longer on the machine: its bundle, its environment, memory",
                tries=("mend it, then run the same command again: it goes on with this", "mlpipeline status"),
            ) from failed
        self._note_standing(effect.colour)

    def _note_standing(self, part: str) -> None:
        note_standing(self._context, part, run=self.state.release.run if self.state.release else "")

    def _tell_registry(self) -> None:
        if self.state.release is not None and self.state.release.phase is Phase.SETTLING:
            self._pay()
        else:
            self.pay_debts()

    def _retire(self, effect: Retire) -> None:
        """A rollback does not fail because the bad colour would not end; the next deploy replaces it."""
        settling = self.state.release is not None and self.state.release.phase is Phase.SETTLING
        try:
            self.target.retire(effect.colour)
        except EnvironmentFault as fault:
            if settling:
                raise
            self._context.console.say(f"{effect.colour} could not be retired: {fault.what}")

    def _tell_found(self) -> None:
        """An earlier worker may have been killed after it moved users and before it said so."""
        if not self._told_found:
            self._told_found = True
            self._note_live("as found; the worker that moved users ended before it told")

    def _note_live(self, summary: str = "") -> None:
        facts = live_facts(self.see())
        if not facts:
            return
        # After a stop users were nowhere: that they are where they were before is news again.
        last = next((entry for entry in reversed(self._context.ledger.read()) if entry.event in {"live", "stopped"}), None)
        if last is None or last.event == "stopped" or last.facts != self._context.marked(facts):
            self._context.note("live", run=self.state.release.run if self.state.release else "", summary=summary, facts=facts)

    def note_once(self, event: str, run: str, facts: dict[str, str]) -> None:
        """A crash between the note and the end of the return must not note it twice."""
        for entry in reversed(self._context.ledger.read()):
            if entry.event in (event, "switch"):
                if entry.event == event and entry.run == run and entry.facts == self._context.marked(facts):
                    return
                break
        self._context.note(event, run=run, facts=facts)

    def _facts(self) -> dict[str, object]:
        release = self.state.release
        if release is None:
            return {"service": self._context.config.service}
        return {"service": self._context.config.service, "release": f"run {release.run}, {release.phase}"}


def stages(context: Context) -> tuple[Stage, ...]:
    return rollout_plan.stages(context.config.rollout)


def seen(observed: Observed) -> Seen:
    """The target's answer in the state machine's words."""
    return Seen(
        plan=observed.plan,
        ready={colour: standing.artifact.digest for colour, standing in observed.colours.items() if standing.ready},
        deployed={colour: version(standing.artifact) for colour, standing in observed.colours.items()},
    )


def version(made: Artifact) -> Version:
    return Version(digest=made.digest, path=made.path, model_version=made.model_version, run=made.run, image=made.image)


def artifact(released: Version) -> Artifact:
    return Artifact(
        digest=released.digest,
        path=released.path,
        model_version=released.model_version,
        run=released.run,
        image=released.image,
    )


def state_without_journal(context: Context, now: Seen) -> State:
    """What the target says, and the ledger where it can be read."""
    champion, known = "", ""
    with suppress(EnvironmentFault):
        known = context.world.target().remembered()
    with suppress(EnvironmentFault):
        for entry in context.ledger.read():
            champion = entry.facts.get({"settled": "digest", "rolled-back": "to"}.get(entry.event, ""), champion)
    return adopted(now, champion, kept_in(known))


def live_facts(now: Seen) -> dict[str, str]:
    """What a ``live`` entry says: the colour that users moved to, its percent, and the colour the others are on."""
    plan = now.plan
    if plan is None or plan.live not in now.deployed:
        return {}
    gained = plan.live.other if plan.share and plan.live.other in now.deployed else plan.live
    facts = _named(now, gained) | {"share": str(plan.percent(gained))}
    if 0 < plan.percent(gained) < 100:
        facts |= {f"other_{name}": text for name, text in _named(now, gained.other).items()}
        facts["other_share"] = str(plan.percent(gained.other))
    if plan.cohorts:
        facts["cohorts"] = plan.cohort_words
    return facts


def _named(now: Seen, colour: Colour) -> dict[str, str]:
    known = now.deployed[colour]
    return {"colour": str(colour), "digest": known.digest, "model_version": known.model_version}


def moved_numbers(moved: Moved | None) -> dict[str, Number]:
    """The proof as a result carries it; nothing when no traffic was asked to move."""
    return msgspec.to_builtins(moved) if moved is not None else {}


def smoke(context: Context, releasing: Releasing, standing: Standing) -> Reason:
    """One scoring request, or the readiness probe where there is nothing to send. 200 passes."""
    request, source = smoke_request(context, Path(standing.version.path))
    status, body = releasing.target.probe(standing.colour, request)
    verdict = Verdict.PASS if status == 200 else Verdict.FAIL
    summary = f"{standing.colour} answered {status} to {source}"
    sample = () if verdict is Verdict.PASS else (body[:500].decode(errors="replace"),)
    return Reason("deploy.smoke", verdict, summary, numbers={"status": status}, sample=sample)


def smoke_request(context: Context, bundle: Path) -> tuple[bytes, str]:
    """The configured request, else the model's own example (scoring protocol first), else nothing but ``/ready``."""
    chosen = context.config.rollout.smoke
    if chosen:
        file = context.project / chosen
        if not file.is_file():
            raise ConfigurationError(
                "rollout.smoke names a file that does not exist",
                facts={"file": file},
                tries=("write a scoring request as JSON there",),
            )
        return file.read_bytes(), chosen
    for name in ("serving_input_example.json", "input_example.json"):
        file = bundle / "model" / name
        if file.is_file():
            return _scoring(file.read_bytes()), f"the model's {name}"
    return b"", "/ready"


def _scoring(content: bytes) -> bytes:
    """MLflow stores a table example as a bare pandas split; the scoring protocol wraps it."""
    import json

    try:
        plain = json.loads(content)
    except ValueError:
        return content
    if isinstance(plain, dict) and set(plain) <= {"columns", "index", "data"} and "data" in plain:
        return json.dumps({"dataframe_split": plain}).encode()
    return content


def deployed_version(context: Context, run: Run, for_verb: str) -> Version:
    """What this run packaged, with the registry's version when it was registered."""
    package = context.needed(run, "package", for_verb)
    registered = context.runs.result(run.id, "register")
    known = registered.evidence.get("version", "") if registered is not None and registered.verdict is Verdict.PASS else ""
    return Version(
        digest=str(package.evidence["digest"]),
        path=str(package.evidence["path"]),
        model_version=str(known),
        run=run.id,
        source=_source(context, run),
        image=_image(context, package),
    )


def _image(context: Context, package: Result) -> ContainerImage | None:
    """The image that ``package`` made, and where it lies; an archive is loaded faster than a layout."""
    made = package.evidence.get("image")
    if not isinstance(made, dict):
        return None
    written = str(made.get("archive") or made.get("layout") or "").split(", ")[0]
    return ContainerImage(
        digest=str(made["digest"]),
        id=str(made["id"]),
        reference=str(made.get("reference", "")),
        source=str(context.project / written) if written else "",
    )


def _source(context: Context, run: Run) -> Source | None:
    """What this run trained of; ``None`` when something was not committed, so that nobody can say."""
    trained = context.runs.result(run.id, "train")
    if trained is None or not trained.evidence.get("commit") or trained.evidence.get("dirty") != "":
        return None
    return Source(
        commit=str(trained.evidence["commit"]),
        data=fingerprint(trained.evidence.get("data_version", {})),
        params=fingerprint(trained.evidence.get("params", {})),
    )


def fingerprint(described: object) -> str:
    """SHA-256 over the canonical JSON."""
    import hashlib

    return f"sha256:{hashlib.sha256(msgspec.json.encode(described, order='sorted')).hexdigest()}"
