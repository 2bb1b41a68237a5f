"""The process of one colour: which artifact, on which port, how it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from mlpipeline.config.sections.target import Local
from mlpipeline.config.serving import answering, variables
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.inventory import Part
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import EnvironmentFault, Failed
from mlpipeline.hosting.loopback import ask
from mlpipeline.hosting.machine import free_port, out_of_memory_kills
from mlpipeline.hosting.processes import ManagedProcess
from mlpipeline.hosting.readiness import MACHINE_WORDS, silence, stably_ready
from mlpipeline.hosting.target import ANSWERS_SECONDS, Standing
from mlpipeline.ports import Artifact, Clock, Deployed
from mlpipeline.record.files import read_own, write_atomically
from mlpipeline.serving.answers import ANSWERS_PATH

PORT_TRIES = 3
KILL_AFTER_DRAIN = 5.0
"""Seconds past its drain time-out after which a colour that will not end is killed."""


class ColourProcess:
    """One colour of a service.

    Args:
        folder: Its record and log.
        python_for: The interpreter of an artifact's environment.
    """

    def __init__(
        self,
        folder: Path,
        service: str,
        colour: Colour,
        *,
        settings: Local,
        clock: Clock,
        python_for: Callable[[Artifact], Path],
    ) -> None:
        self._folder = folder
        self._service, self._colour, self._settings, self._clock = service, colour, settings, clock
        self._python_for = python_for
        self.process = ManagedProcess(folder, f"{colour} of {service}", clock)

    @property
    def standing(self) -> Standing | None:
        """What stands here; None when nothing does."""
        with suppress(FileNotFoundError):
            file = self._folder / "standing.json"
            tries = (f"mv {file} {file}.broken && mlpipeline rollback    # starts what was live again from its bundle",)
            return read_own(file, Standing, f"the note of what stands in {self._colour}", tries)
        return None

    def alive(self) -> bool:
        return self.process.running() is not None

    def address(self) -> Address | None:
        standing = self.standing
        return None if standing is None else ("127.0.0.1", standing.port)

    def words(self, lines: int) -> Mapping[str, object]:
        return {"log": self.process.log, "last lines": self.process.last_words(lines)}

    def part(self) -> Part:
        from mlpipeline.adapters.local.inventory import colour_part

        standing = self.standing
        return Part() if standing is None else colour_part(self.process, standing.artifact.digest, standing.port)

    def observe(self) -> Deployed | None:
        """Asks the process itself; None when nothing was deployed here."""
        standing = self.standing
        if standing is None:
            return None
        self.process.bound_log()
        detail = self._why_not_ready(standing.port)
        return Deployed(self._colour, standing.artifact, ready=not detail, restarts=standing.restarts, detail=detail)

    def start(self, artifact: Artifact, restarts: int) -> None:
        """Starts the artifact and waits until it is stably ready. An earlier process must have been stopped.

        Raises:
            Failed: It ended, or was not ready in time.
            EnvironmentFault: The bundle or its environment is missing, or memory or ports ran out.
        """
        argv = self._command(artifact)
        kills = out_of_memory_kills()
        for tries_left in reversed(range(PORT_TRIES)):
            port = free_port()
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(
                self._folder / "standing.json", msgspec.json.encode(Standing(artifact=artifact, port=port, restarts=restarts))
            )
            bundle = Path(artifact.path)
            environment = {
                "PYTHONPATH": f"{bundle / 'lib'}:{bundle / 'code'}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
                # One thread a request: the process answers several at once, and a small prediction in parallel is slower.
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
                **answering(self._settings.keep_answers, ""),
                **variables(self._settings.serving, str(self._folder / "requests.jsonl")),
            }
            self.process.start([*argv, "--port", str(port)], environment=environment)
            if stably_ready(partial(self._ready, port), self.alive, self._clock, self._settings.ready_timeout):
                return
            if not tries_left or "address already in use" not in self.process.last_words().lower():
                break
        raise self._failure(artifact, kills)

    def stop(self) -> None:
        """SIGTERM; killed when it has not ended by its drain time-out and a little more."""
        self.process.stop(self._settings.drain_timeout + KILL_AFTER_DRAIN)

    def forget(self) -> None:
        """Nothing stands here any more."""
        (self._folder / "standing.json").unlink(missing_ok=True)

    def ask(self, path: str, body: bytes | None = None, timeout: float = 2.0) -> tuple[int, bytes]:
        """One request straight to the process. Raises OSError when it does not answer."""
        standing = self.standing
        if standing is None:
            raise ConnectionError("nothing is deployed there")
        return ask("127.0.0.1", standing.port, path, body=body, timeout=timeout)

    def answers(self) -> Sequence[tuple[int, bytes]]:
        """Of the one process, which tells them to its own machine."""
        return [self.ask(ANSWERS_PATH, timeout=ANSWERS_SECONDS)]

    def _command(self, artifact: Artifact) -> list[str]:
        bundle, python = Path(artifact.path), Path(self._python_for(artifact))
        for needed, what in ((bundle / "model", "bundle"), (python, "environment")):
            if not needed.exists():
                raise EnvironmentFault(
                    f"the {what} of {artifact.digest} is not on this machine",
                    facts={"missing": needed},
                    likely="it was removed, or the release was packaged on another machine",
                    tries=("mlpipeline package", "mlpipeline deploy"),
                )
        settings = self._settings
        options: Sequence[tuple[str, object]] = (
            ("model", bundle / "model"),
            ("host", "127.0.0.1"),
            ("service", self._service),
            ("colour", self._colour),
            ("model-version", artifact.model_version),
            ("digest", artifact.digest),
            ("threads", settings.threads),
            ("drain-timeout", settings.drain_timeout),
        )
        return [str(python), "-m", "mlpipeline.serving", *(text for name, value in options for text in (f"--{name}", str(value)))]

    def _ready(self, port: int) -> bool:
        return not self._why_not_ready(port)

    def _why_not_ready(self, port: int) -> str:
        """Empty when it is ready."""
        if not self.alive():
            return f"the process has ended; its last words: {self.process.last_words(3) or 'none'}"
        return silence("127.0.0.1", port)

    def _failure(self, artifact: Artifact, kills: int) -> Failed | EnvironmentFault:
        ended = not self.alive()
        words = self.process.last_words()
        facts = {"artifact": artifact.digest, "log": self.process.log, "last lines": words or "none"}
        if not ended:
            self.process.stop(KILL_AFTER_DRAIN)
        if ended and out_of_memory_kills() > kills:
            return EnvironmentFault(
                f"the kernel killed a process while {self._colour} started: memory ran out",
                facts=facts,
                tries=("free memory and run the same command again", "lower target.local.threads"),
            )
        if ended and any(word in words.lower() for word in MACHINE_WORDS):
            return EnvironmentFault(
                f"the machine could not give {self._colour} what it needs", facts=facts, tries=("free -m", "df -h", "ulimit -n")
            )
        if ended:
            return Failed(
                f"{self._colour} ended before it was ready",
                facts=facts,
                likely="the model cannot be loaded in its own environment",
                tries=("mlpipeline package",),
            )
        return Failed(
            f"{self._colour} was not ready within {self._settings.ready_timeout:g} s",
            facts=facts,
            likely="the model takes longer to load than target.local.ready_timeout allows, or its start hangs",
            tries=("raise target.local.ready_timeout",),
        )
