"""Whose name and password a registry is told. They are never written, logged or put into an error."""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlpipeline.errors import ConfigurationError

_HELPER_SECONDS = 30.0
_ALIASES = {"docker.io": "https://index.docker.io/v1/", "registry-1.docker.io": "https://index.docker.io/v1/"}


class Login(msgspec.Struct, frozen=True):
    """A user with a password, or an identity token (``token``) that is exchanged for access."""

    user: str = ""
    password: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"

    def __bool__(self) -> bool:
        return bool(self.user or self.token)


def login(host: str, environment: Mapping[str, str]) -> Login:
    """For the registry that ``MLPIPELINE_REGISTRY`` names: ``MLPIPELINE_REGISTRY_USER`` and ``_PASSWORD``. For any: what Docker's
    ``config.json`` and its helpers know, else nobody.

    Raises ConfigurationError for a file that cannot be read; what stands in it is not repeated.
    """
    if environment.get("MLPIPELINE_REGISTRY_USER") and environment.get("MLPIPELINE_REGISTRY") == host:
        return Login(environment["MLPIPELINE_REGISTRY_USER"], environment.get("MLPIPELINE_REGISTRY_PASSWORD", ""))
    folder = environment.get("DOCKER_CONFIG", "") or str(Path(environment.get("HOME", "") or "/nonexistent", ".docker"))
    file = Path(folder, "config.json")
    if not file.is_file():
        return Login()
    try:
        config = json.loads(file.read_bytes())
        return _helped(config, host, environment) or _written(config, host)
    except (OSError, ValueError, AttributeError, TypeError, binascii.Error):
        raise ConfigurationError(
            "Docker's file of logins cannot be read", facts={"file": file}, tries=(f"docker login {host}",)
        ) from None


def _names(host: str) -> tuple[str, ...]:
    return tuple(name for name in (host, f"https://{host}", f"http://{host}", _ALIASES.get(host, "")) if name)


def _written(config: Mapping[str, object], host: str) -> Login:
    auths = config.get("auths")
    known = auths if isinstance(auths, dict) else {}
    entry = next((known[name] for name in _names(host) if known.get(name)), None)
    if entry is None:
        return Login()
    if entry.get("identitytoken"):
        return Login(token=str(entry["identitytoken"]))
    if entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        return Login(user, password)
    return Login(str(entry.get("username", "")), str(entry.get("password", "")))


def _helped(config: Mapping[str, object], host: str, environment: Mapping[str, str]) -> Login:
    """What a credential helper says: the one of this registry, else the store of all. One that knows nobody is none."""
    helpers = config.get("credHelpers")
    chosen = (helpers.get(host) if isinstance(helpers, dict) else None) or config.get("credsStore")
    if not chosen:
        return Login()
    for name in _names(host):
        try:
            done = subprocess.run(
                [f"docker-credential-{chosen}", "get"],
                input=name.encode(),
                env=dict(environment),
                capture_output=True,
                timeout=_HELPER_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return Login()
        if done.returncode == 0:
            answer = json.loads(done.stdout)
            user, secret = str(answer.get("Username", "")), str(answer.get("Secret", ""))
            return Login(token=secret) if user == "<token>" else Login(user, secret)
    return Login()
