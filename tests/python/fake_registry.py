"""A registry that misbehaves on purpose: enough of the protocol for what a real one cannot be made to do."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class FakeRegistry:
    """Set its fields to have it misbehave.

    Args:
        fail_uploads: So many parts of uploads end in the middle of the request, then it does well.
        always_fail: Every part does.
        lie: The digest it answers with instead of the right one.
        serve: Manifest it serves instead of the one that was put.
        user: Name and password that are asked for, by basic authentication, or by a token when ``tokens``.
        status: What every upload is answered with, if not 0.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens_given: list[str] = []
        self.fail_uploads = 0
        self.always_fail = False
        self.lie = ""
        self.serve = b""
        self.user = ""
        self.tokens = False
        self.status = 0
        self.mountable: dict[str, bytes] = {}
        self._uploads: dict[str, bytes] = {}
        self._lock = threading.Lock()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def handle_all(self) -> None:
                with registry._lock:
                    registry.requests.append(f"{self.command} {self.path}")
                registry._handle(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_all

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that go away are wanted here
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        answer = request.answer  # type: ignore[attr-defined]
        path = urlsplit(request.path)
        query = parse_qs(path.query)
        if path.path == "/token":
            return self._token(request, query)
        if not self._allowed(request):
            kind = f'Bearer realm="http://{self.host}/token",service="fake"' if self.tokens else 'Basic realm="fake"'
            self._drain(request)
            return answer(401, b"", WWW_Authenticate=kind)
        kind, _, name = path.path.removeprefix("/v2/team/tiny/").partition("/")
        if kind == "manifests":
            return self._manifest(request, name)
        if kind == "blobs" and not name.startswith("uploads/"):
            found = self.blobs.get(name)
            return answer(200, found, Docker_Content_Digest=name) if found is not None else answer(404)
        return self._upload(request, name.removeprefix("uploads/"), query)

    def _manifest(self, request: BaseHTTPRequestHandler, name: str) -> None:
        answer = request.answer  # type: ignore[attr-defined]
        if request.command == "PUT":
            content = self._drain(request)
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            self.manifests[name] = self.manifests[digest] = self.serve or content
            return answer(201, b"", Docker_Content_Digest=self.lie or digest)
        found = self.manifests.get(name)
        if found is None:
            return answer(404)
        return answer(200, found, Docker_Content_Digest=f"sha256:{hashlib.sha256(found).hexdigest()}")

    def _upload(self, request: BaseHTTPRequestHandler, name: str, query: dict[str, list[str]]) -> None:
        answer = request.answer  # type: ignore[attr-defined]
        if request.command == "POST":
            mount = query.get("mount", [""])[0]
            if mount in self.mountable:
                self.blobs[mount] = self.mountable[mount]
                return answer(201)
            upload = f"u{len(self._uploads)}"
            self._uploads[upload] = b""
            return answer(202, b"", Location=f"/v2/team/tiny/blobs/uploads/{upload}?state=1")
        if request.command == "DELETE":
            self._uploads.pop(name, None)
            return answer(204)
        if request.command == "GET":
            return answer(204, b"", Range=f"0-{max(len(self._uploads[name]) - 1, 0)}", Location=request.path)
        if self.status:
            self._drain(request)
            return answer(self.status, b'{"errors":[{"code":"DENIED"}]}')
        if self.always_fail or self.fail_uploads > 0:
            self.fail_uploads -= 1
            request.rfile.read(int(request.headers["Content-Length"]) // 2)
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
            return None
        if request.command == "PATCH":
            begin = int(request.headers["Content-Range"].partition("-")[0])
            content = self._drain(request)
            assert begin == len(self._uploads[name]), "a part that does not follow"
            self._uploads[name] += content
            here = f"/v2/team/tiny/blobs/uploads/{name}?state=2"
            return answer(202, b"", Range=f"0-{len(self._uploads[name]) - 1}", Location=here)
        content = self._uploads.pop(name) + self._drain(request)
        digest = query["digest"][0]
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            return answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        self.blobs[digest] = content
        return answer(201, b"", Docker_Content_Digest=digest)

    def _token(self, request: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        answer = request.answer  # type: ignore[attr-defined]
        if request.headers.get("Authorization") != self._basic():
            return answer(401)
        self.tokens_given.append(" ".join(query["scope"]))
        return answer(200, json.dumps({"token": f"t{len(self.tokens_given)}"}).encode())

    def _allowed(self, request: BaseHTTPRequestHandler) -> bool:
        said = request.headers.get("Authorization", "")
        if not self.user:
            return True
        return said == f"Bearer t{len(self.tokens_given)}" if self.tokens else said == self._basic()

    def _basic(self) -> str:
        return f"Basic {base64.b64encode(self.user.encode()).decode()}"

    @staticmethod
    def _drain(request: BaseHTTPRequestHandler) -> bytes:
        return request.rfile.read(int(request.headers.get("Content-Length", 0) or 0))


@contextlib.contextmanager
def fake_registry() -> Iterator[FakeRegistry]:
    registry = FakeRegistry()
    try:
        yield registry
    finally:
        registry.stop()
