"""What verbs need from the outside world. Adapters implement these; fakes in tests subclass them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from mlpipeline.core.container import ContainerImage
from mlpipeline.core.findings import Scan
from mlpipeline.core.inventory import Part
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.record.lease import TRAFFIC, Holder, Right

if TYPE_CHECKING:
    from mlpipeline.core.kubernetes_diff import FieldChange


class Clock(Protocol):
    """Wall time for people and records, monotonic time for waiting."""

    def now(self) -> datetime:
        """Aware UTC time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def sleep(self, seconds: float) -> None: ...


class Artifact(msgspec.Struct, frozen=True):
    """A package that can be deployed.

    Args:
        digest: ``sha256:...`` of the bundle's manifest; the identity everything is bound to.
        path: Folder of the bundle on this machine.
        model_version: The registry's version number, as text; empty when never registered.
        run: The run that made it.
        image: Its container image, if one was made.
    """

    digest: str
    path: str
    model_version: str = ""
    run: str = ""
    image: ContainerImage | None = None


class Deployed(msgspec.Struct, frozen=True):
    """What stands in one colour right now. ``ready`` is a fresh answer of the process, not a memory."""

    colour: Colour
    artifact: Artifact
    ready: bool
    restarts: int = 0
    detail: str = ""


class Observed(msgspec.Struct, frozen=True):
    """The target's own word on its state. ``plan`` is absent before the first release or while the router is down."""

    colours: Mapping[Colour, Deployed] = {}
    plan: TrafficPlan | None = None
    router: str = "up"


class RouterCounts(msgspec.Struct, frozen=True):
    """What the router itself counted for one colour since it started.

    Args:
        completed: User requests answered (mirrored copies excluded).
        failed: Of these, answered with 5xx or not at all.
        active: In flight now, mirrored copies included.
    """

    completed: int
    failed: int
    active: int


class Moved(msgspec.Struct, frozen=True):
    """Proof that traffic follows the plan: seen at the router, not assumed from what was written.

    Args:
        applied_seconds: From the write until the router confirmed the new plan.
        old_last_seconds: From the write until the last answer of the colour that lost its traffic.
        old_completed: Its counter when it stood still.
        new_completed: What the other colour answered since the write; 0 when no user came.
        old_in_flight: Requests the old colour still owed at the end of the wait; 0 when proven.
        new_in_flight: Requests that the other colour took and left unanswered, all of them, for most of the wait: it hangs.
        pinned_cohorts: How many cohorts stay on the old colour by design. With any, nothing is proven of its standstill.
    """

    applied_seconds: float
    old_last_seconds: float
    old_completed: int
    new_completed: int
    old_in_flight: int = 0
    new_in_flight: int = 0
    pinned_cohorts: int = 0


class Target(Protocol):
    """Where colours run. Truth lives in the target, never in the worker's memory; every call is idempotent."""

    def observe(self) -> Observed:
        """Reads the state anew. Raises EnvironmentFault only when nothing can be read."""

    def deploy(self, colour: Colour, artifact: Artifact) -> Deployed:
        """Starts the artifact in this colour and waits until it is stably ready.

        The colour must get no user traffic. The same artifact already ready there: no work. Another one there: it is
        replaced. Raises Failed when the artifact does not start, EnvironmentFault when the machine is to blame.
        """

    def route(self, plan: TrafficPlan, *, prove_within: float = 0.0, warm: bool = False) -> Moved:
        """Applies the plan and waits until the router confirms it; with ``prove_within`` seconds also until a colour
        that lost all its traffic stands still. Raises EnvironmentFault when the router does not confirm.

        Args:
            warm: The colour without users is the version before, which may answer what the live one does not.
        """

    def probe(self, colour: Colour, request: bytes = b"") -> tuple[int, bytes]:
        """Sends a scoring request (JSON) straight to the colour, or asks ``/ready`` without one: (status, body)."""

    def ask_as_user(self, request: bytes) -> tuple[int, bytes]:
        """Sends a scoring request (JSON) through the router, as users do: (status, body). (0, b"") where the worker cannot
        reach the router's address. Raises EnvironmentFault when nobody answers there."""
        del request
        return 0, b""

    def recorded(self, colour: Colour) -> Sequence[bytes]:
        """Lines of the sample that the colour keeps of its requests and answers, oldest first; none where it keeps none."""
        del colour
        return ()

    def counts(self) -> Mapping[Colour, RouterCounts]:
        """The router's own counters."""

    def answers(self, colour: Colour) -> Mapping[str, str]:
        """The newest answers that the colour keeps, by request id; none where it keeps none. Raises EnvironmentFault when it
        does not answer."""
        del colour
        return {}

    def inventory(self) -> Mapping[str, Part]:
        """How each part runs now, by name: ``blue``, ``green``, ``router``, and what nobody released; nothing where the target
        cannot tell. Raises EnvironmentFault when it cannot be read."""
        return {}

    def hold(self, holder: Holder, right: Right = TRAFFIC) -> AbstractContextManager[None]:
        """Makes this worker the only one that may, on all machines that reach the target; nothing where they share one folder
        of leases anyway. Raises Held, which names who has it."""
        del holder, right
        return nullcontext()

    def holder(self, right: Right = TRAFFIC) -> Holder | None:
        """Who has it on any machine, where the target knows."""
        del right
        return None

    def remember(self, note: str) -> None:
        """Keeps a text where a worker of another machine finds it, beside the route; nothing where all of them share one folder
        of state, and while there is no route."""
        del note

    def remembered(self) -> str:
        """The text that was kept last; empty when there is none."""
        return ""

    def retire(self, colour: Colour) -> None:
        """Drains and ends the colour. Refused (EnvironmentFault) while users are routed to it."""

    def monitoring(self) -> str:
        """URL of the Prometheus that scrapes this target, started if the target brings its own."""

    def shutdown(self) -> None:
        """Ends everything of the service; users get no answer any more. Records and bundles stay."""


class Keeper(Protocol):
    """Says, at the target, in which folder the state of a service is: its journal, its leases, its ledger. So all workers that
    drive one target share them, whatever ``MLPIPELINE_HOME`` each was started with. Raises EnvironmentFault when the target
    cannot be asked."""

    def kept(self) -> Path | None:
        """The folder; None while nobody keeps any."""

    def claim(self, folder: Path) -> Path:
        """Makes this the folder unless there is one; returns the one that counts. Of two at once one decides."""

    def release(self) -> None:
        """Forgets the folder once nothing of the service is left at the target."""


@runtime_checkable
class Changing(Protocol):
    """A target that keeps fields of others beside ours, and can say beforehand what a deployment would change."""

    def changes(self, colour: Colour, artifact: Artifact) -> Sequence[FieldChange]:
        """What :meth:`Target.deploy` would change, field by field. Nothing is changed."""


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """What the scanners of a release look at.

    Args:
        project: The project's folder; places in findings are relative to it.
        model: Folder of the trained model, if there is one.
        include: Files and folders of the project that go into the package besides.
        tracked: Files of the project that git tracks.
        requirements: Lines that the model itself requires.
        locked: Requirement lines with exact versions, as they will be served; none when they are not known.
        image: The image to look into: an archive, an OCI layout or a reference; empty: none.
        image_digest: Of its manifest: which of the images of a layout; empty: the only one.
        allow: Names and prefixes that a model file may import besides those of its requirements.
        allow_code_by_value: Whether a model file may carry code of its own.
        data: Patterns of the model's files that are plain data, whatever their format.
        database: Offline database of advisories; none: ask the network.
        limit_seconds: How long one scanner may take.
        environment: What programs are started with.
    """

    project: Path
    model: Path | None = None
    include: tuple[Path, ...] = ()
    tracked: tuple[Path, ...] = ()
    requirements: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    image: str = ""
    image_digest: str = ""
    allow: tuple[str, ...] = ()
    allow_code_by_value: bool = False
    data: tuple[str, ...] = ()
    database: Path | None = None
    limit_seconds: float = 120.0
    environment: Mapping[str, str] = {}


class Scanner(Protocol):
    """Looks for one kind of danger. One file per scanner; it may run in a thread beside others."""

    name: str
    """As it stands under ``security:`` in the configuration."""

    def scan(self, scanned: Scanned) -> Scan:
        """What it found. Raises NotRun when it is absent, cannot do its work or does not end in time."""


class Sample(msgspec.Struct, frozen=True):
    """One series of an instant query: labels, value, and the time the value was scraped (Unix seconds)."""

    labels: Mapping[str, str]
    value: float
    at: float


class MetricSource(Protocol):
    """A monitoring system. Raises EnvironmentFault when it cannot be reached or does not answer in time."""

    def instant(self, query: str, at: float | None = None) -> Sequence[Sample]:
        """The raw answer to an instant query, unseen series absent."""

    def series(
        self, query: str, start: float, end: float, step: float
    ) -> Mapping[tuple[tuple[str, str], ...], Sequence[tuple[float, float]]]:
        """A range query: sorted label pairs to (time, value) points."""


class LabelledAnswers(msgspec.Struct, frozen=True):
    """Of one colour's answers, those whose label has arrived.

    Args:
        labelled: How many.
        wrong: Of these.
        seconds: The time in which they were given, or their labels came; absent where that is not known.
        delay: Seconds from an answer to its label, about; 0 where that is not known.
    """

    labelled: int
    wrong: int
    seconds: float | None = None
    delay: float = 0.0


class ModelVersion(msgspec.Struct, frozen=True):
    """A version in the registry. ``tags`` hold commit, data version, bundle digest and run."""

    name: str
    version: str
    tags: Mapping[str, str] = {}
    aliases: tuple[str, ...] = ()


class Registry(Protocol):
    """Trainings and the model registry. Raises EnvironmentFault when it cannot be reached."""

    def log_training(self, tags: Mapping[str, str], metrics: Mapping[str, float], params: Mapping[str, str]) -> str:
        """Logs a training once per ``tags['mlpipeline.run']`` and ``tags['mlpipeline.model']``; returns its id there."""

    def register(
        self, name: str, model: Path, tags: Mapping[str, str], metrics: Mapping[str, float], params: Mapping[str, str]
    ) -> ModelVersion:
        """Registers the model folder once per ``tags['mlpipeline.digest']`` and ``tags['mlpipeline.run']``."""

    def version(self, name: str, alias_or_version: str) -> ModelVersion | None: ...

    def set_alias(self, name: str, alias: str, version: str) -> None: ...

    def delete_alias(self, name: str, alias: str) -> None: ...

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None: ...

    def describe(self, name: str, version: str, text: str, files: Mapping[str, bytes]) -> None:
        """Gives a version its description (Markdown), and puts files beside its model; what is there already is left."""


@runtime_checkable
class Console(Protocol):
    """How a verb tells what it is doing. On a terminal with progress bars, elsewhere plain lines on standard error."""

    def say(self, text: str) -> None:
        """One line of news."""

    def progress(self, text: str, done: float, total: float) -> None:
        """How far a wait or a loop has come; cheap to call often. Texts alike before their first ``: `` share one bar."""
