"""The container of one colour: which artifact, of which image, how it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mlpipeline.adapters.docker import specification
from mlpipeline.adapters.docker.engine import Engine, said
from mlpipeline.adapters.docker.images import Images
from mlpipeline.adapters.docker.inventory import container_part
from mlpipeline.adapters.docker.network import LOOPBACK, Network
from mlpipeline.config.sections.target import Docker
from mlpipeline.config.serving import answering, answers_key, variables
from mlpipeline.core import container as labels
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.inventory import Part
from mlpipeline.core.traffic import Colour
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed
from mlpipeline.hosting.loopback import ask
from mlpipeline.hosting.machine import free_port
from mlpipeline.hosting.readiness import MACHINE_WORDS, silence, stably_ready
from mlpipeline.hosting.target import ANSWERS_SECONDS, Standing
from mlpipeline.ports import Artifact, Clock, Deployed
from mlpipeline.serving.answers import ANSWERS_PATH

PORT_TRIES = 3
KILL_AFTER_DRAIN = 5.0
"""Seconds past its drain time-out after which a container that will not end is killed."""
TAKEN_WORDS = ("address already in use", "port is already allocated")


class ColourContainer:
    """One colour of a service.

    Args:
        gpus: How many devices the image needs.
        environment: Where a lease says its devices.
    """

    def __init__(
        self,
        engine: Engine,
        images: Images,
        network: Network,
        service: str,
        colour: Colour,
        *,
        settings: Docker,
        gpus: int,
        environment: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._engine, self._images, self._network = engine, images, network
        self._service, self._colour, self._settings, self._clock = service, colour, settings, clock
        self._gpus, self._environment = gpus, environment

    @property
    def standing(self) -> Standing | None:
        found = self._found()
        return None if found is None else _standing(found)

    def alive(self) -> bool:
        found = self._found()
        return found is not None and bool(found["State"]["Running"])

    def address(self) -> Address | None:
        standing = self.standing
        return None if standing is None else self._network.found_by_router(self._colour, standing.port)

    def part(self) -> Part:
        found = self._found()
        return Part() if found is None else container_part(self._engine, found)

    def observe(self) -> Deployed | None:
        found = self._found()
        if found is None:
            return None
        standing = _standing(found)
        detail = self._why_not_ready(found, standing.port)
        return Deployed(self._colour, standing.artifact, ready=not detail, restarts=standing.restarts, detail=detail)

    def start(self, artifact: Artifact, restarts: int) -> None:
        devices = self._devices()
        image = self._images.ensure(artifact.image)
        for tries_left in reversed(range(PORT_TRIES)):
            self.forget()
            port = free_port()
            container = self._create(artifact, image, devices, port=port, restarts=restarts)
            complaint = self._start(container)
            if not complaint and stably_ready(partial(_ready, port), self.alive, self._clock, self._settings.ready_timeout):
                self._engine.restart_by_itself(container, self._settings.restart)
                return
            words = f"{complaint}\n{self._engine.logs(container, 12)}".strip()
            if not tries_left or not any(taken in words.lower() for taken in TAKEN_WORDS):
                break
        raise self._failure(artifact, complaint)

    def stop(self) -> None:
        found = self._found()
        if found is not None:
            self._engine.stop(found["Id"], self._settings.drain_timeout + KILL_AFTER_DRAIN)

    def forget(self) -> None:
        found = self._found()
        if found is not None:
            self._engine.remove(found["Id"])

    def ask(self, path: str, body: bytes | None = None, timeout: float = 2.0) -> tuple[int, bytes]:
        standing = self.standing
        if standing is None:
            raise ConnectionError("nothing is deployed there")
        return ask(LOOPBACK, standing.port, path, body=body, timeout=timeout)

    def answers(self) -> Sequence[tuple[int, bytes]]:
        """By the key that the container was started with: it sees whoever asks at its published port come from its network."""
        key = answers_key(self._environment_of(self._found()))
        return [self.ask(ANSWERS_PATH, key.encode(), ANSWERS_SECONDS)] if key else []

    def words(self, lines: int) -> Mapping[str, object]:
        name = labels.container_name(self._service, self._colour)
        found = self._found()
        return {"log": f"docker logs {name}", "last lines": self._engine.logs(found["Id"], lines) if found else ""}

    def _found(self) -> dict[str, Any] | None:
        return self._engine.container(self._service, self._colour)

    def _environment_of(self, found: dict[str, Any] | None) -> dict[str, str]:
        pairs = (text.partition("=") for text in (found["Config"].get("Env") or () if found else ()))
        return {name: value for name, _, value in pairs}

    def _devices(self) -> str:
        try:
            return labels.gpu_devices(self._settings.gpus, self._gpus, self._environment)
        except ValueError as error:
            found = self._engine.container(self._service, self._colour) or self._engine.container(
                self._service, self._colour.other
            )
            if found is not None and (known := found["Config"]["Labels"].get(labels.DEVICES)):
                return str(known)
            raise ConfigurationError(
                f"target.docker.gpus is leased, but no GPU is: {error}",
                tries=("run it under mlGpu, or set MLPIPELINE_GPUS", "target.docker.gpus: all"),
            ) from error

    def _create(self, artifact: Artifact, image: str, devices: str, *, port: int, restarts: int) -> str:
        settings = self._settings
        host, inside = self._network.listens(port)
        of_config, of_host = self._network.options(self._colour, {inside: (LOOPBACK, port)})
        entrypoint, user = self._images.entrypoint(image)
        limits = variables(settings.serving, "/tmp/requests.jsonl")  # noqa: S108 - a container's own
        environment = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            **limits,
            **self._answering(),
            **settings.environment,
        }
        config: dict[str, object] = {
            "Image": image,
            "Cmd": self._arguments(artifact, host, inside),
            "Env": specification.variables(environment),
            "User": specification.user_of(user),
            "Labels": self._labels(artifact, devices, port, restarts),
            "StopTimeout": specification.stop_timeout(settings.drain_timeout, KILL_AFTER_DRAIN),
            **specification.health(entrypoint, inside),
            **of_config,
            "HostConfig": {**specification.hardened(settings), **specification.devices(devices), **of_host},
        }
        name = labels.container_name(self._service, self._colour)
        with self._engine.asked(f"a container for {self._colour} could not be made", name=name, image=image):
            return str(self._engine.client.create_container_from_config(config, name)["Id"])

    def _answering(self) -> dict[str, str]:
        import secrets

        return answering(self._settings.keep_answers, secrets.token_hex(16))

    def _arguments(self, artifact: Artifact, host: str, port: int) -> list[str]:
        settings = self._settings
        options: tuple[tuple[str, object], ...] = (
            ("host", host),
            ("port", port),
            ("service", self._service),
            ("colour", self._colour),
            ("model-version", artifact.model_version),
            ("digest", artifact.digest),
            ("threads", settings.threads),
            ("drain-timeout", float(settings.drain_timeout)),
        )
        return [text for name, value in options for text in (f"--{name}", str(value))]

    def _labels(self, artifact: Artifact, devices: str, port: int, restarts: int) -> dict[str, str]:
        return {
            labels.SERVICE: self._service,
            labels.ROLE: str(self._colour),
            labels.DIGEST: artifact.digest,
            labels.MODEL_VERSION: artifact.model_version,
            labels.RUN: artifact.run,
            labels.PATH: artifact.path,
            labels.PORT: str(port),
            labels.RESTARTS: str(restarts),
            labels.DEVICES: devices,
            **(labels.image_labels(artifact.image) if artifact.image else {}),
        }

    def _start(self, container: str) -> str:
        """Empty, or why the engine could not start it. Raises EnvironmentFault when that is the machine's fault."""
        import docker

        with self._engine.asked(f"the engine could not start {self._colour}"):
            try:
                self._engine.client.start(container)
            except docker.errors.APIError as error:
                words = said(error)
                if "device driver" in words or "nvidia" in words.lower():
                    raise EnvironmentFault(
                        "the engine cannot give a container GPUs",
                        facts={"found": words},
                        likely="the NVIDIA container toolkit is not installed, or the devices do not exist",
                        tries=("nvidia-ctk runtime configure --runtime=docker", "mlpipeline doctor"),
                    ) from error
                return words
        return ""

    def _why_not_ready(self, found: dict[str, Any], port: int) -> str:
        """Empty when it is ready."""
        state = found["State"]
        if not state["Running"]:
            words = self._engine.logs(found["Id"], 3)
            killed = " because its memory ran out" if state.get("OOMKilled") else ""
            return f"the container has ended{killed}; its last words: {words or state.get('Error') or 'none'}"
        return silence(LOOPBACK, port)

    def _failure(self, artifact: Artifact, complaint: str) -> Failed | EnvironmentFault:
        found = self._found() or {}
        state = found.get("State", {})
        words = self._engine.logs(found["Id"], 12) if found else ""
        facts = {"artifact": artifact.digest, "last lines": complaint or words or "none"}
        if complaint:
            return EnvironmentFault(
                f"the engine could not start {self._colour}",
                facts=facts,
                likely="its options do not fit this machine, or the image is not made for it",
                tries=("mlpipeline doctor",),
            )
        if state.get("OOMKilled"):
            return EnvironmentFault(
                f"the kernel killed {self._colour} while it started: its memory ran out",
                facts={**facts, "target.docker.memory": self._settings.memory or "no limit"},
                tries=("raise target.docker.memory", "lower target.docker.threads"),
            )
        if not state.get("Running") and any(word in words.lower() for word in MACHINE_WORDS):
            return EnvironmentFault(
                f"the machine could not give {self._colour} what it needs",
                facts=facts,
                tries=("raise target.docker.memory or target.docker.scratch", "df -h"),
            )
        if not state.get("Running"):
            return Failed(
                f"{self._colour} ended before it was ready",
                facts={**facts, "exit code": state.get("ExitCode", "unknown")},
                likely="the model cannot be loaded in its own image",
                tries=("mlpipeline package",),
            )
        self._engine.stop(found["Id"], KILL_AFTER_DRAIN)
        return Failed(
            f"{self._colour} was not ready within {self._settings.ready_timeout:g} s",
            facts=facts,
            likely="the model takes longer to load than target.docker.ready_timeout allows, or its start hangs",
            tries=("raise target.docker.ready_timeout",),
        )


def _standing(found: dict[str, Any]) -> Standing:
    """Read from the labels, and what the engine itself restarted."""
    told = found["Config"]["Labels"]
    artifact = Artifact(
        digest=told.get(labels.DIGEST, ""),
        path=told.get(labels.PATH, ""),
        model_version=told.get(labels.MODEL_VERSION, ""),
        run=told.get(labels.RUN, ""),
        image=labels.image_of(told),
    )
    restarts = int(told.get(labels.RESTARTS, "0")) + int(found.get("RestartCount", 0))
    return Standing(artifact=artifact, port=int(told[labels.PORT]), restarts=restarts)


def _ready(port: int) -> bool:
    return not silence(LOOPBACK, port)
