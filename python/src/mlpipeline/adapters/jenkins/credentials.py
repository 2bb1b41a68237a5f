"""Where the address and the token of a Jenkins come from: the environment or a file, never the command line."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from mlpipeline.errors import ConfigurationError

VARIABLES = {"url": "MLPIPELINE_JENKINS_URL", "user": "MLPIPELINE_JENKINS_USER", "token": "MLPIPELINE_JENKINS_TOKEN"}


class Credentials(msgspec.Struct, frozen=True):
    """How to reach a Jenkins. The token shows in no text of this object.

    Args:
        token: An API token of the user, not a password: it needs no crumb and can be revoked alone.
    """

    url: str
    user: str
    token: str

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, user={self.user!r})"

    __str__ = __repr__


def find_credentials(environment: Mapping[str, str], file: Path | None = None) -> Credentials:
    """From the file when one is named (lines ``url=``, ``user=``, ``token=``), else from the environment.

    Raises ConfigurationError when something is missing, the URL is none, or others may read the file.
    """
    given = _of_file(file) if file else {key: environment.get(name, "") for key, name in VARIABLES.items()}
    missing = [key for key in VARIABLES if not given.get(key)]
    if missing:
        where = ", ".join(missing) if file else ", ".join(VARIABLES[key] for key in missing)
        raise ConfigurationError(
            f"the credentials of Jenkins are incomplete: {where} {'is' if len(missing) == 1 else 'are'} not set",
            facts={"file": file} if file else {},
            tries=(
                "bind them in Jenkins: withCredentials([usernamePassword(...)])",
                "write a file with the lines url=, user=, token= (mode 600) and name it with --credentials FILE",
            ),
        )
    url = given["url"].rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError("the address of Jenkins is no http or https URL", tries=("https://jenkins.example.org",))
    if parts.username or parts.password:
        raise ConfigurationError(
            "the address of Jenkins carries a user or a password",
            likely="it was copied from a browser or a script",
            tries=("leave them out of the URL and set user and token on their own",),
        )
    return Credentials(url=url, user=given["user"], token=given["token"])


def _of_file(file: Path) -> dict[str, str]:
    try:
        mode, content = file.stat().st_mode, file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("the credentials file cannot be read", facts={"file": file, "found": error}) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            "others may read the credentials file",
            facts={"file": file, "mode": f"{stat.S_IMODE(mode):o}"},
            tries=(f"chmod 600 {file}",),
        )
    found: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        key, equals, value = line.strip().partition("=")
        if not key or key.startswith("#"):
            continue
        if not equals or key.strip() not in VARIABLES:
            # The line itself is not told: it may hold the token.
            raise ConfigurationError(
                "a line of the credentials file is not understood",
                facts={"file": f"{file}:{number}"},
                tries=("one of url=..., user=..., token=... on each line",),
            )
        found[key.strip()] = value.strip()
    return found
