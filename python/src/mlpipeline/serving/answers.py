"""The newest answers by request id, so that two colours' answers to copies of one request can be compared.

Told at ``/answers`` to whoever asks the process directly from this machine, and to whoever posts the key that the process was
started with: to a container or a pod everybody comes from elsewhere. A router passes requests on with headers of its own; what
carries any of them and no key came from users, who have no business here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

ANSWERS_PATH = "/answers"
KEEP = "MLPIPELINE_KEEP_ANSWERS"
"""Environment variable: how many. Not an argument, as bundles of earlier versions are to start with it too."""
KEY = "MLPIPELINE_ANSWERS_KEY"
"""Environment variable: by whose value they are told to others than this machine; empty: to nobody else."""
LONGEST = 4096
"""Bytes of an answer that is kept; longer ones are not compared."""
_FROM_A_ROUTER = (b"x-forwarded-proto", b"x-forwarded-for", b"forwarded", b"via", b"x-request-id")
_LOOPBACK = ("127.", "::1", "::ffff:127.")


class Kept:
    """At most ``most`` answers, the oldest dropped first. An id that comes again with another answer is told no more: it does
    not name one request."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: dict[bytes, bytes] = {}

    def add(self, request: bytes, answer: bytes) -> None:
        if len(answer) > LONGEST:
            return
        before = self._answers.pop(request, answer)
        self._answers[request] = answer if before == answer else b""
        if len(self._answers) > self._most:
            del self._answers[next(iter(self._answers))]

    def render(self) -> bytes:
        """A JSON object from request id to the answer's text."""
        named = {name.decode("latin-1"): text.decode(errors="replace") for name, text in self._answers.items() if text}
        return json.dumps(named).encode()


def is_key(key: str, given: bytes) -> bool:
    """Whether what was posted is the key; with no key nothing is."""
    import hmac  # which loads OpenSSL; who only asks what is live does without

    return bool(key) and hmac.compare_digest(key.encode(), given)


def is_direct(client: Iterable[object] | None, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request came from this machine and through no router.

    Args:
        client: ASGI's pair of address and port.
    """
    address = str(next(iter(client or ()), ""))
    return address.startswith(_LOOPBACK) and not any(name in headers for name in _FROM_A_ROUTER)
