"""Hands our own numbers to a Prometheus: by a Pushgateway, the one way that needs nobody who scrapes the worker."""

from __future__ import annotations

from urllib.parse import quote

from mlpipeline.adapters.prometheus.source import innermost
from mlpipeline.errors import EnvironmentFault


def push(gateway: str, service: str, exposition: str, *, timeout: float) -> None:
    """Replaces the group ``job=mlpipeline, service=...`` of the Pushgateway. Raises EnvironmentFault when it does not take it.

    Args:
        timeout: Seconds.
    """
    import requests

    url = f"{gateway.rstrip('/')}/metrics/job/mlpipeline/service/{quote(service, safe='')}"
    try:
        answer = requests.put(
            url, data=exposition.encode(), headers={"Content-Type": "text/plain; version=0.0.4"}, timeout=timeout
        )
    except requests.RequestException as error:
        raise EnvironmentFault(
            "the Pushgateway cannot be reached", facts={"server": url, "found": innermost(error)[:300]}
        ) from error
    if not answer.ok:
        raise EnvironmentFault(
            "the Pushgateway did not take the verdict",
            facts={"server": url, "status": answer.status_code, "said": " ".join(answer.text.split())[:300]},
        )
