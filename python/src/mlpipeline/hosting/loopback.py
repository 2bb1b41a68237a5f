"""One HTTP request to a process of ours on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO


def ask(host: str, port: int, path: str, *, body: bytes | None = None, timeout: float = 2.0) -> tuple[int, bytes]:
    """GET, or POST of JSON when there is a body: (status, body).

    A socket is enough for peers of ours; ``http.client`` would be a fifth of the start-up time of ``mlpipeline status``.

    Args:
        timeout: Seconds for each read.

    Raises:
        OSError: Nobody answered, or not in time, or not in HTTP.
    """
    import socket

    head = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: {host}:{port}", "Connection: close"]
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + (body or b""))
        with connection.makefile("rb") as answer:
            return _read(answer)


def _read(answer: BinaryIO) -> tuple[int, bytes]:
    """Stops where the answer says it ends: Envoy keeps a closed connection for a while."""
    first = answer.readline()
    parts = first.split(maxsplit=2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise ConnectionError(f"no HTTP answer: {first[:60]!r}")
    fields = {}
    while line := answer.readline().strip():
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        return int(parts[1]), b"".join(_chunks(answer))
    if b"content-length" in fields:
        return int(parts[1]), _exactly(answer, int(fields[b"content-length"]))
    return int(parts[1]), answer.read()


def _chunks(answer: BinaryIO) -> Iterator[bytes]:
    while length := _chunk_length(answer.readline()):
        yield _exactly(answer, length)
        answer.readline()


def _chunk_length(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise ConnectionError(f"the HTTP answer ended early: {line[:60]!r} is no length of a chunk") from None


def _exactly(answer: BinaryIO, length: int) -> bytes:
    content = answer.read(length)
    if len(content) < length:
        raise ConnectionError(f"the HTTP answer ended after {len(content)} of {length} bytes")
    return content
