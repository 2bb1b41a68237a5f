"""``router: gateway`` against a real API server with the real definitions. No controller runs here: what one would say of a
route, the tests say in its place. That a controller then divides users as it says is its own promise."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from gateway_controller import Controller
from image_parts import until
from kubernetes_cluster import cluster, gateway_api, own_namespace
from mlpipeline.adapters.kubernetes.api import Cluster
from mlpipeline.adapters.kubernetes.fencing import TOKEN
from mlpipeline.adapters.kubernetes.routers_gateway import GatewayRouter
from mlpipeline.clock import SystemClock
from mlpipeline.config.sections.target import Kubernetes
from mlpipeline.core.traffic import Colour, Pinned, TrafficPlan
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Held

pytestmark = pytest.mark.real
SETTINGS = Kubernetes(router="gateway", gateway="public", hostnames=("churn.example.org",))


@pytest.fixture(scope="module")
def api() -> Iterator[Cluster]:
    gateway_api()
    with own_namespace() as namespace:
        yield cluster(namespace)


def router(api: Cluster, service: str, token: int = 0) -> GatewayRouter:
    return GatewayRouter(api, service, settings=SETTINGS, clock=SystemClock(), token=lambda: token)


def test_a_plan_counts_once_a_controller_says_that_it_follows(api: Cluster) -> None:
    plans = [
        TrafficPlan(Colour.BLUE),
        TrafficPlan(Colour.BLUE, mirror=True),
        TrafficPlan(Colour.BLUE, share=10, cohorts=(Pinned("beta", "yes", Colour.GREEN, header="x-beta"),)),
        TrafficPlan(Colour.BLUE, cohorts=(Pinned("beta", "yes", Colour.GREEN, cookie="beta"),)),
        TrafficPlan(Colour.GREEN),
    ]
    routes = router(api, "moves")
    assert (routes.known(), routes.running(), routes.applied()) == (False, False, None)
    with Controller(api.namespace, "moves"):
        for plan in plans:
            routes.apply(plan)
            assert (routes.running(), routes.applied()) == (True, plan)
    assert routes.inventory({}).facts == routes.inventory({}).wanted


def test_a_refused_plan_is_taken_back_and_told_in_the_words_of_the_controller(api: Cluster) -> None:
    routes = router(api, "refused")
    with Controller(api.namespace, "refused", refuses="mirroring is not supported"):
        routes.apply(TrafficPlan(Colour.BLUE))
        with pytest.raises(EnvironmentFault, match="refuses the traffic plan") as caught:
            routes.apply(TrafficPlan(Colour.BLUE, mirror=True))
        assert "mirroring is not supported" in caught.value.facts["found"]
        until(lambda: routes.applied() == TrafficPlan(Colour.BLUE), "the former plan is back")


def test_without_a_controller_nothing_is_called_done(api: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpipeline.adapters.kubernetes.routers_gateway.CONFIRM_SECONDS", 0.5)
    routes = router(api, "alone")
    with pytest.raises(EnvironmentFault, match="no controller took over"):
        routes.apply(TrafficPlan(Colour.BLUE))
    assert routes.applied() is None


def test_who_slept_cannot_overwrite_who_came_later(api: Cluster) -> None:
    with Controller(api.namespace, "fenced"):
        router(api, "fenced", token=2).apply(TrafficPlan(Colour.BLUE))
        with pytest.raises(Held, match="took over"):
            router(api, "fenced", token=1).apply(TrafficPlan(Colour.GREEN))
        later = router(api, "fenced", token=3)
        later.stamp(3)
        with pytest.raises(Held):
            router(api, "fenced", token=2).apply(TrafficPlan(Colour.GREEN))
    found = api.read("HTTPRoute", "fenced")
    assert found is not None
    assert found["metadata"]["annotations"][TOKEN] == "3"
    assert later.ordered() == TrafficPlan(Colour.BLUE)
    later.remove()
    assert not later.known()


def test_a_cluster_without_the_gateway_api_is_told_so(tmp_path: Path) -> None:
    """As a real 1.34 without the definitions answers."""
    with _bare_cluster() as port:
        file = tmp_path / "kubeconfig"
        file.write_text(
            f'{{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{{"name": "c", "context":'
            f' {{"cluster": "c", "user": "u"}}}}], "clusters": [{{"name": "c", "cluster": {{"server":'
            f' "http://127.0.0.1:{port}"}}}}], "users": [{{"name": "u", "user": {{}}}}]}}'
        )
        bare = Cluster(str(file), "", "team", environment={}, clock=SystemClock())
        with pytest.raises(ConfigurationError, match="has no Gateway API") as caught:
            router(bare, "churn").apply(TrafficPlan(Colour.BLUE))
    assert "envoy" in str(caught.value.tries)


@contextlib.contextmanager
def _bare_cluster() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"404 page not found\n")

        def log_message(self, *words: object) -> None:
            """Not to the terminal."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
