"""Native histograms as Prometheus' HTTP API answers them, read like classic ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mlpipeline.adapters.prometheus import PrometheusSource
from mlpipeline.core.counters import Counters, Point
from mlpipeline.core.histogram import bound_of, slower_than

LABELS = {"__name__": "seconds", "service": "iris", "colour": "green", "job": "j", "instance": "i"}


def histogram(*buckets: tuple[float, float, int]) -> dict[str, object]:
    listed = [[0, str(low), str(high), str(count)] for low, high, count in buckets]
    return {"count": str(sum(count for *_, count in buckets)), "sum": "1", "buckets": listed}


BEFORE = histogram((0.21022410381342863, 0.25, 40), (0.25, 0.2973017787506803, 10))
AFTER = histogram(
    (0.0625, 0.07432544468767006, 5), (0.21022410381342863, 0.25, 60), (0.25, 0.2973017787506803, 20), (4.0, 4.756828460010884, 5)
)


@pytest.fixture
def answers() -> Iterator[tuple[str, list[object]]]:
    rows: list[object] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: object = None, size: object = None) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", rows
        server.shutdown()
        thread.join(10)


def test_increments_are_exact_also_when_a_bucket_was_empty_before(answers: tuple[str, list[object]]) -> None:
    url, rows = answers
    rows.append({"metric": LABELS, "histograms": [[100, BEFORE], [110, AFTER]]})
    series: dict[tuple[tuple[str, str], ...], list[Point]] = {}
    for sample in PrometheusSource(url).instant("seconds[30s]"):
        series.setdefault(tuple(sorted(sample.labels.items())), []).append(Point(sample.at, sample.value))
    assert {dict(labels)["__name__"] for labels in series} == {"seconds_bucket"}
    counters = Counters()
    counters.take(series, 100)
    found = {bound_of(dict(labels)["le"]): value for labels, value in counters.take(series, 110).items()}
    assert slower_than(found, 0.25) == (40, 15)
    assert slower_than(found, 1.0) == (40, 5)


def test_an_instant_answer_is_read_too_and_classic_buckets_beside_it_win(answers: tuple[str, list[object]]) -> None:
    url, rows = answers
    rows.append({"metric": LABELS, "histogram": [100, BEFORE]})
    alone = PrometheusSource(url).instant("seconds")
    assert {sample.labels["le"]: sample.value for sample in alone}["0.25"] == 40
    rows.append({"metric": {**LABELS, "__name__": "seconds_bucket", "le": "0.25"}, "value": [100, "40"]})
    assert len(PrometheusSource(url).instant("seconds")) == 1
