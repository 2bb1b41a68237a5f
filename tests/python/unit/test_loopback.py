"""What counts as an answer of a process of ours, byte by byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from mlpipeline.hosting.loopback import ask

Peer = Callable[[bytes], int]


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Starts a server that answers one request with these bytes and holds the connection until the test ends; its port."""
    done = threading.Event()
    threads = []

    def start(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener, listener.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(answer)
                if answer.endswith(b"!"):
                    done.wait(60)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    done.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes and what nobody asked for!", (200, b"yes")),
        (b"HTTP/1.1 503 No\r\ncontent-length:0\r\n\r\n!", (503, b"")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n!", (200, b"abc")),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", (200, b"until the end")),
    ],
    ids=["length", "empty", "chunked", "until closed"],
)
def test_an_answer_ends_where_it_says(peer: Peer, answer: bytes, expected: tuple[int, bytes]) -> None:
    """Those that end in an exclamation mark are never closed by the peer, as Envoy does for a while."""
    assert ask("127.0.0.1", peer(answer), "/", timeout=30) == expected


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
    ],
    ids=["nothing", "not HTTP", "no status", "cut", "no last chunk", "cut chunk"],
)
def test_half_an_answer_is_none(peer: Peer, answer: bytes) -> None:
    with pytest.raises(OSError, match="HTTP"):
        ask("127.0.0.1", peer(answer), "/", timeout=30)
