"""Pushing the verdict to a Pushgateway."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mlpipeline.adapters.prometheus.export import push
from mlpipeline.errors import EnvironmentFault


@pytest.mark.parametrize("status", [200, 400])
def test_the_group_of_the_service_is_replaced(status: int) -> None:
    seen = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"two\nlines")

        def log_request(self, code: object = None, size: object = None) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        if status == 200:
            push(url, "iris", "a 1\n", timeout=10)
        else:
            with pytest.raises(EnvironmentFault, match="did not take") as caught:
                push(url, "iris", "a 1\n", timeout=10)
            assert caught.value.facts["said"] == "two lines"
        server.shutdown()
        thread.join(10)
    assert seen == [("/metrics/job/mlpipeline/service/iris", b"a 1\n")]
    with pytest.raises(EnvironmentFault, match="cannot be reached"):
        push(url, "iris", "a 1\n", timeout=10)
