"""What a controller of the Gateway API says of a route, where none runs."""

from __future__ import annotations

import threading
from typing import Any

from kubernetes_cluster import client

ROUTES = ("gateway.networking.k8s.io", "v1")
PLURAL = "httproutes"


class Controller:
    """Says of a route what a controller would: accepted or not, in each of its versions. By the cluster's own client, so that
    what it asks is never taken for what the worker asks."""

    def __init__(self, namespace: str, service: str, refuses: str = "") -> None:
        self._namespace, self._service, self._refuses = namespace, service, refuses
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Controller:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        from kubernetes import client as library

        api = library.CustomObjectsApi(client())
        said = -1
        while not self._end.wait(0.05):
            try:
                found = api.get_namespaced_custom_object(*ROUTES, self._namespace, PLURAL, self._service)
                if found["metadata"]["generation"] != said:
                    status = {"status": {"parents": [self._said(found)]}}
                    api.patch_namespaced_custom_object_status(*ROUTES, self._namespace, PLURAL, self._service, status)
                    said = found["metadata"]["generation"]
            except library.exceptions.ApiException as refusal:
                if refusal.status != 404:  # not there yet, or no more
                    raise

    def _said(self, found: Any) -> dict[str, object]:
        mirrored = any("filters" in rule for rule in found["spec"]["rules"])
        refused = self._refuses if mirrored else ""
        common = {"observedGeneration": found["metadata"]["generation"], "lastTransitionTime": "2026-01-01T00:00:00Z"}
        conditions = [
            {"type": "Accepted", "status": "False" if refused else "True", "reason": "Test", "message": refused, **common},
            {"type": "ResolvedRefs", "status": "True", "reason": "Test", "message": "", **common},
        ]
        return {"parentRef": {"name": "public"}, "controllerName": "example.org/test", "conditions": conditions}
