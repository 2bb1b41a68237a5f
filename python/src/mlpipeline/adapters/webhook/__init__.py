"""Asks somebody else's service one question by HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

_SAID = 4096
"""Bytes of an answer that are read."""


class Answer(msgspec.Struct, frozen=True):
    """What came back.

    Args:
        status: 0 when nobody answered in time.
        verdict: Its own word on it: empty when it gave none.
        said: Its reason, the text it answered, or why there was no answer.
    """

    status: int
    verdict: Literal["pass", "fail", "inconclusive", ""]
    said: str


class _Body(msgspec.Struct, frozen=True):
    verdict: Literal["pass", "fail", "inconclusive", ""] = ""
    reason: str = ""


def ask(url: str, facts: Mapping[str, object], *, timeout: float) -> Answer:
    """Posts the facts as JSON and reads the first part of the answer. Follows no redirect. Never raises for what others do.

    Args:
        timeout: Seconds for the connection, and for each part of the answer.
    """
    import requests

    try:
        with requests.post(url, json=dict(facts), timeout=timeout, allow_redirects=False, stream=True) as answer:
            text = next(answer.iter_content(_SAID), b"").decode(errors="replace")
    except requests.RequestException as error:
        return Answer(0, "", f"nobody answered at {shown(url)}: {type(error).__name__}")
    try:
        body = msgspec.json.decode(text.encode(), type=_Body)
    except msgspec.DecodeError as error:
        # An object with a verdict that nobody knows is no consent.
        unclear = '"verdict"' in text
        return Answer(answer.status_code, "inconclusive" if unclear else "", f"{error}: {text[:300]}" if unclear else text[:300])
    return Answer(answer.status_code, body.verdict, body.reason or text[:300])


def shown(url: str) -> str:
    """Without what may be secret: user, password and query."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))
