"""One HTTP request to a process of ours on this machine."""

from __future__ import annotations

import http.client
from contextlib import closing


def ask(host: str, port: int, path: str, *, body: bytes | None = None, timeout: float = 2.0) -> tuple[int, bytes]:
    """GET, or POST of JSON when there is a body: (status, body).

    Args:
        timeout: Seconds for each read.

    Raises:
        OSError: Nobody answered, or not in time, or not in HTTP.
    """
    with closing(http.client.HTTPConnection(host, port, timeout=timeout)) as connection:
        try:
            connection.request(
                "GET" if body is None else "POST", path, body, {"Content-Type": "application/json"} if body is not None else {}
            )
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"no HTTP answer: {error!r}") from error
