"""The router of one service: an Envoy that outlives the worker, what it was told, and what it says it does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import time_ns

import msgspec

from mlpipeline.core import envoy_files as files
from mlpipeline.core.envoy_failover import NEEDS, Backup
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.inventory import Part
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.errors import EnvironmentFault
from mlpipeline.hosting.envoy_admin import EnvoyAdmin
from mlpipeline.hosting.loopback import ask
from mlpipeline.hosting.machine import require_free
from mlpipeline.hosting.waiting import until
from mlpipeline.hosting.writer import Fence, alone
from mlpipeline.ports import Clock, RouterCounts
from mlpipeline.record.files import write_atomically

START_SECONDS = 30.0
CONFIRM_SECONDS = 60.0
"""A router that was stopped for half a minute is waited for: it reads the newest file when it goes on."""
PORT_RELEASE_SECONDS = 5.0
POLL_SECONDS = 0.003
ADMIN_FILTER = r"^cluster\.(blue|green)\.|^http\.model\."
"""The statistics worth scraping."""


class Router(ABC):
    """The conversation with an Envoy, whatever runs it.

    Args:
        folder: Its files.
        users: Address and port that users reach on this machine.
        service: For messages.
        key: The configuration's section, such as ``target.local``.
        mode: Permission bits of the files; None: for this user alone.
        failover: Whether one colour may answer what the other did not.

    Attributes:
        fence: Asked with each write.
    """

    def __init__(
        self,
        folder: Path,
        users: Address,
        service: str,
        clock: Clock,
        *,
        key: str,
        mode: int | None = None,
        failover: bool = True,
    ) -> None:
        self._own_folder, self._users, self._service, self._key, self._mode = folder, users, service, key, mode
        self._failover = failover
        self._clock = clock
        self.fence: Fence = lambda: None
        self._admin = EnvoyAdmin(self._ask)

    @property
    def folder(self) -> Path:
        """Where its files are on this machine."""
        return self._own_folder

    @abstractmethod
    def alive(self) -> bool:
        """Whether it runs, answering or not."""

    @abstractmethod
    def known(self) -> bool:
        """Whether it was ever started."""

    @abstractmethod
    def admin_port(self) -> int | None:
        """Of the one that runs now, on loopback; None while there is none."""

    @abstractmethod
    def stop(self, patience: float) -> None:
        """Ends it; killed after ``patience`` seconds."""

    @abstractmethod
    def bound_log(self) -> None:
        """Keeps its log small while it goes on writing."""

    @abstractmethod
    def words(self, lines: int) -> Mapping[str, object]:
        """Where its log is and how it ends, for messages."""

    @abstractmethod
    def part(self) -> Part:
        """How its process or container itself runs now; nothing while it does not."""

    def inventory(self, addresses: Mapping[Colour, Address | None]) -> Part:
        """How it runs now and what it follows, against where each colour listens."""
        from mlpipeline.hosting.inventory import router_part

        up = self.running()
        return router_part(self.folder, self.part(), addresses, up=up, applied=self.applied() if up else None)

    @abstractmethod
    def _start(self) -> None:
        """Starts it with the files as they are. It does not run."""

    def running(self) -> bool:
        """Whether it lives and its admin port answers."""
        return self.alive() and self._admin.answers()

    def ordered(self) -> TrafficPlan | None:
        """The plan of the route file: what a restarted router would do. None before the first release."""
        file = files.routes_file(self.folder)
        if not file.is_file():
            return None
        try:
            return files.plan_of(msgspec.json.decode(file.read_bytes())["resources"][0])
        except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
            raise EnvironmentFault(
                "the router's route file is not readable",
                facts={"file": file, "found": error},
                likely="something else wrote into the folder of the target",
                tries=("mlpipeline rollback", f"remove {file}; the next switch writes it anew"),
            ) from error

    def applied(self) -> TrafficPlan | None:
        """The plan that Envoy itself says it follows; None while it is down or has none."""
        return self._admin.applied()

    def require_port(self) -> None:
        """Raises an EnvironmentFault that names the holder when somebody else has the users' port.

        A router that was just killed may hold it a moment longer than it is seen to run.
        """
        deadline = self._clock.monotonic() + (PORT_RELEASE_SECONDS if self.known() else 0)
        while not self.alive():
            try:
                return require_free(*self._users, f"the router of {self._service}", f"{self._key}.port")
            except EnvironmentFault:
                if self._clock.monotonic() >= deadline:
                    raise
            self._clock.sleep(POLL_SECONDS)
        return None

    def ensure(self) -> None:
        """Starts it with the files as they are, unless it runs.

        One that lives but does not answer is waited for and never ended: it may well be serving users.
        """
        if self.alive():
            self._until(self.running, "lives but its admin port does not answer")
            return
        self.require_port()
        for colour in Colour:
            if not files.endpoints_file(self.folder, colour).is_file():
                self._write(files.endpoints_file(self.folder, colour), files.endpoints(colour, None, _version()))
        if not self._failover:
            self._write_without_backup()
        self._start()
        self._wait_until_live()

    def set_endpoint(self, colour: Colour, address: Address | None) -> None:
        """Tells where a colour listens, and waits until a running router knows."""
        self._write(files.endpoints_file(self.folder, colour), files.endpoints(colour, address, _version()))
        if self.running():
            wanted = set() if address is None else {address}
            self._until(lambda: set(self._admin.hosts(colour)) == wanted, f"did not take over where {colour} listens")

    def knows(self, colour: Colour, address: Address | None) -> bool:
        file = files.endpoints_file(self.folder, colour)
        return file.is_file() and files.tells_endpoint(file.read_bytes(), colour, address)

    def apply(self, plan: TrafficPlan, *, warm: bool = False) -> None:
        """Writes the plan, makes sure that the router runs, and waits until it confirms this very file.

        A refused plan is taken back, so that a later restart does not meet it.
        """
        self._follow(plan, self._backup(warm=warm))

    def leave_out(self, colour: Colour) -> None:
        """Nothing is asked of this colour any more that the live one did not answer."""
        if self._written() is not Backup.WARM:
            return
        plan = self.ordered()
        if plan is not None and plan.live is not colour:
            self._follow(plan, self._backup(warm=False))

    def _backup(self, *, warm: bool) -> Backup:
        """None while the one that runs was started without the clusters for it."""
        if not self._failover:
            return Backup.NONE
        if self.alive():
            self.ensure()
            if not self._admin.fails_over():
                return Backup.NONE
        return Backup.WARM if warm else Backup.USERS

    def _written(self) -> Backup | None:
        file = files.routes_file(self.folder)
        return files.backup_in(file.read_bytes()) if file.is_file() else None

    def _write_without_backup(self) -> None:
        """A router that is started without the clusters for it would refuse the routes it had."""
        if self._written() not in (None, Backup.NONE):
            plan = self.ordered()
            assert plan is not None  # noqa: S101 - what was written is a plan
            self._write(files.routes_file(self.folder), files.routes(plan, _version()))

    def _follow(self, plan: TrafficPlan, backup: Backup) -> None:
        file = files.routes_file(self.folder)
        former = file.read_bytes() if file.is_file() else None
        version = _version()
        refused_before = self._admin.refusals()
        self._write(file, files.routes(plan, version, backup))
        self.ensure()
        try:
            self._until(
                lambda: self._admin.follows(version),
                "did not confirm the new traffic plan",
                give_up=lambda: self._admin.refusals() > refused_before,
            )
        except EnvironmentFault:
            if former is not None:
                with alone(self.folder, self.fence, self._clock):
                    write_atomically(file, former, mode=self._mode)
            raise

    def counts(self) -> dict[Colour, RouterCounts]:
        """Live counters, no flush delay. Raises OSError while the router is down."""
        return self._admin.counts()

    def _ask(self, path: str, timeout: float = 5.0) -> tuple[int, bytes]:
        port = self.admin_port()
        if port is None:
            raise ConnectionError("the router does not run")
        return ask("127.0.0.1", port, path, timeout=timeout)

    def _wait_until_live(self) -> None:
        deadline = self._clock.monotonic() + START_SECONDS
        while self._clock.monotonic() < deadline:
            with suppress(OSError):
                if self._admin.ready():
                    return
            if not self.alive():
                self.require_port()
                break
            self._clock.sleep(0.01)
        facts = self.words(12)
        self.stop(5)
        raise EnvironmentFault("the router did not start", facts=facts, likely=too_old(facts), tries=("mlpipeline doctor",))

    def _until(self, condition: Callable[[], bool], complaint: str, *, give_up: Callable[[], bool] = lambda: False) -> None:
        if until(condition, self._clock, within=CONFIRM_SECONDS, poll=POLL_SECONDS, give_up=give_up):
            return
        raise EnvironmentFault(
            f"the router {complaint}",
            facts=self.words(4),
            likely="the machine is overloaded, or something else writes into the router's folder",
            tries=("run the same command again: nothing was lost",),
        )

    def _write(self, file: Path, content: Mapping[str, object]) -> None:
        try:
            with alone(self.folder, self.fence, self._clock):
                write_atomically(file, msgspec.json.format(msgspec.json.encode(content)) + b"\n", mode=self._mode)
        except OSError as error:
            raise EnvironmentFault(
                f"the router's file could not be written: {error.strerror}", facts={"file": file}, tries=("df -h",)
            ) from error


def too_old(said: Mapping[str, object]) -> str:
    """What is likely when an Envoy does not start and says this; empty when it is something else."""
    if "clusters.composite" not in str(said):
        return ""
    return f"this Envoy is older than {NEEDS}: take a newer one, or set target.failover: false"


def _version() -> str:
    """Never the same twice on one machine."""
    return str(time_ns())
