"""What is sent to prove who asks, and what no error may tell of it."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, quote_plus

from mlpipeline.config.sections.verification import Verify
from mlpipeline.errors import ConfigurationError

HIDDEN = "***"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_IMPOSSIBLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SHORT = 4
"""A secret of fewer characters is hidden only where it stands alone: a tenant "1" is part of every other number."""


@dataclass(frozen=True, repr=False)
class Access:
    """Headers and login as they are sent, the login as UTF-8 as curl sends it, and the secrets among them."""

    headers: Mapping[str, str]
    login: tuple[bytes, bytes] | None
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, settings: Verify, environment: Mapping[str, str]) -> Self:
        """Raises ConfigurationError for a variable that is not set and for a header that cannot be sent; never tells a value."""
        headers = {name: _header(name, text, environment) for name, text in settings.headers.items()}
        user = settings.login.user
        password = _filled("login.password", settings.login.password, environment) if user else ""
        login = (_bytes(user), _bytes(password)) if user else None
        told = [password, *(part for value in headers.values() for part in (value, *value.split()[1:]))]
        if login:
            told.append(b64encode(b":".join(login)).decode())
        variables = _VARIABLE.findall(" ".join((settings.login.password if user else "", *settings.headers.values())))
        told.extend(environment[braced or plain].strip() for braced, plain in variables)
        return cls(headers, login, tuple(sorted({secret for secret in told if secret}, key=len, reverse=True)))

    def hidden(self, text: str) -> str:
        """The text without any secret, however a server or Python wrote it."""
        for secret in self.secrets:
            for form in sorted(set(_forms(secret)), key=len, reverse=True):
                pattern = re.escape(form)
                text = re.sub(rf"(?<!\w){pattern}(?!\w)" if len(secret) < _SHORT else pattern, HIDDEN, text)
        return text


def _header(name: str, text: str, environment: Mapping[str, str]) -> str:
    value = _filled(f"headers.{name}", text, environment).strip()
    fault = (
        "its name is none of a header"
        if not _NAME.fullmatch(name)
        else "its value has a line break or another control character within"
        if _IMPOSSIBLE.search(value)
        else "its value has a character that no header can carry (beyond Latin-1)"
        if any(ord(character) > 255 for character in value)
        else ""
    )
    if fault:
        raise ConfigurationError(
            f"verify.headers.{name} cannot be sent: {fault}",
            facts={"key": f"verify.headers.{name}"},
            likely="the variable it is filled from holds something else than the secret, or more" if "$" in text else "",
            tries=("a token or tenant of plain letters and digits",),
        )
    return value


def _filled(key: str, text: str, environment: Mapping[str, str]) -> str:
    """With the variables replaced, without the space around them: what reads a secret from a file keeps its last line break."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in environment:
            raise ConfigurationError(
                f"verify.{key.partition('.')[0]} needs the environment variable {name}, which is not set",
                facts={"key": f"verify.{key}"},
                tries=(f"export {name}=...", "bind the credential in Jenkins to this name"),
            )
        return environment[name].strip()

    return _VARIABLE.sub(value, text)


def _bytes(text: str) -> bytes:
    # bytes of the environment that are no UTF-8 reach us as surrogates, and leave as they came
    return text.encode(errors="surrogateescape")


def _forms(secret: str) -> Iterator[str]:
    """As it stands, in JSON, in an address, on a page, in base64, and as Python writes a text or bytes."""
    raw = _bytes(secret)
    yield from (secret, json.dumps(secret)[1:-1], quote(raw), quote_plus(raw), html.escape(secret), b64encode(raw).decode())
    yield from (repr(secret)[1:-1], repr(raw)[2:-1])
