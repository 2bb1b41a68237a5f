"""The container engine: one client, its errors in our words, and the few questions that are asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from mlpipeline.core.container import ROLE, SERVICE
from mlpipeline.errors import EnvironmentFault

TIMEOUT_SECONDS = 120
QUESTIONS = 16
LONGEST_PAUSE_SECONDS = 5
"""Between two of them; together they take about a minute."""
OLDEST_API = (1, 41)
"""Of engine 20.10."""


class Engine:
    """The engine of a Docker host.

    Args:
        address: Such as ``unix:///run/docker.sock``; empty: as the environment says.
        environment: ``DOCKER_HOST`` and its like.
        timeout: Seconds that it may take for one answer.
    """

    def __init__(self, address: str, environment: Mapping[str, str], *, timeout: int = TIMEOUT_SECONDS) -> None:
        self._address, self._environment, self._timeout = address, environment, timeout

    @property
    def address(self) -> str:
        """For messages."""
        return self._address or self._environment.get("DOCKER_HOST", "") or "unix:///var/run/docker.sock"

    @cached_property
    def client(self) -> Any:
        """The connection, made on first use. Raises EnvironmentFault when nobody answers or the engine is too old."""
        import docker

        with self.asked("the container engine does not answer"):
            given = docker.utils.kwargs_from_env(environment=dict(self._environment))
            if self._address:
                given["base_url"] = self._address
            client = docker.APIClient(**given, version="auto", timeout=self._timeout)
        _wait_for(client)
        if tuple(int(part) for part in client.api_version.split(".")) < OLDEST_API:
            raise EnvironmentFault(
                "the container engine is too old",
                facts={"engine": self.address, "API": client.api_version, "needed": ".".join(map(str, OLDEST_API))},
                tries=("upgrade it to 20.10 or newer",),
            )
        return client

    @contextmanager
    def asked(self, what: str, **facts: object) -> Iterator[None]:
        """Turns what goes wrong between us and the engine into an EnvironmentFault that begins with ``what``."""
        import docker
        import requests

        try:
            yield
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
            raise EnvironmentFault(
                what,
                facts={**facts, "engine": self.address, "found": said(error)},
                likely=_likely(error),
                tries=("docker version    # as the user of the worker", "mlpipeline doctor"),
            ) from error

    def container(self, service: str, role: str) -> dict[str, Any] | None:
        """What the engine knows of the container with these labels, running or not; the newest, should there be two."""
        with self.asked("the containers of this service cannot be read", service=service):
            found = self.client.containers(all=True, filters=_labelled(service, role))
            for entry in sorted(found, key=lambda entry: entry["Created"], reverse=True):
                details = self.details(entry["Id"])
                if details is not None:
                    return details
        return None

    def containers(self, service: str) -> list[dict[str, Any]]:
        """All of a service, as the engine lists them."""
        with self.asked("the containers of this service cannot be read", service=service):
            found = self.client.containers(all=True, filters=_labelled(service))
        return list(found)

    def details(self, container: str) -> dict[str, Any] | None:
        """None when it is gone."""
        import docker

        try:
            return dict(self.client.inspect_container(container))
        except docker.errors.NotFound:
            return None

    def networks(self, service: str, role: str = "network") -> list[dict[str, Any]]:
        """Those of a service."""
        with self.asked("the networks of this service cannot be read", service=service):
            return list(self.client.networks(filters=_labelled(service, role)))

    def logs(self, container: str, lines: int) -> str:
        """The end of what a container wrote; empty when nothing can be read."""
        import docker
        import requests

        try:
            text = self.client.logs(container, stdout=True, stderr=True, tail=lines)
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError):
            return ""
        return bytes(text).decode(errors="replace").strip()

    def remove(self, container: str) -> None:
        """Ends it at once if it still runs; gone already is as well."""
        import docker

        with self.asked("a container could not be removed", container=container):
            try:
                self.client.remove_container(container, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != 409:  # being removed by somebody else already
                    raise

    def stop(self, container: str, patience: float) -> None:
        """SIGTERM, and SIGKILL after ``patience`` seconds; the engine does not start it again by itself."""
        import math

        import docker

        with self.asked("a container could not be stopped", container=container):
            try:
                self.client.stop(container, timeout=math.ceil(patience))
            except docker.errors.NotFound:
                return

    def restart_by_itself(self, container: str, policy: str) -> None:
        """From now on; while it starts, the engine must not bring back what cannot start."""
        with self.asked("a container's restart policy could not be set", container=container):
            self.client.update_container(container, restart_policy={"Name": policy})


def _wait_for(client: Any) -> None:
    """An engine that answered once is waited for when it is gone for a while: questions are asked again for about a minute.

    What changes something never is: whether it was done is not known then, and the next look at the engine tells.
    """
    from urllib3.util import Retry

    again = Retry(total=None, connect=0, read=QUESTIONS, status=0, other=0, backoff_factor=0.25, allowed_methods={"GET"})
    again.backoff_max = LONGEST_PAUSE_SECONDS
    for adapter in client.adapters.values():
        adapter.max_retries = again


def said(error: BaseException) -> str:
    """What the engine itself said, in one piece."""
    return str(getattr(error, "explanation", None) or error)[:500]


def _likely(error: BaseException) -> str:
    text = str(error).lower()
    if "permission denied" in text:
        return "this user may not use the engine: it is not in the group docker"
    if "no such file" in text or "connection refused" in text or "connection aborted" in text:
        return "the engine does not run, or DOCKER_HOST names another one"
    return "the engine is overloaded or refuses what was asked of it"


def _labelled(service: str, role: str = "") -> dict[str, list[str]]:
    return {"label": [f"{SERVICE}={service}", f"{ROLE}={role}" if role else ROLE]}
