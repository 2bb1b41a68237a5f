"""What one Envoy says of itself on its admin page, whoever carries the questions there."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import msgspec

from mlpipeline.core import envoy_files as files
from mlpipeline.core.envoy_failover import first
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.traffic import Colour, TrafficPlan
from mlpipeline.ports import RouterCounts

_COUNTED = r"external\.upstream_rq_completed|external\.upstream_rq_5xx|upstream_rq_retry_success|upstream_rq_active"
_COUNTS = re.compile(rf"^cluster\.(blue|green)\.({_COUNTED}): (\d+)$", re.M)
_COUNTS_FILTER = rf"^cluster\.(blue|green)\.({_COUNTED})$"

Ask = Callable[[str, float], tuple[int, bytes]]
"""Path and seconds to status and body; raises OSError when nobody answers."""


class EnvoyAdmin:
    """The admin page of one Envoy. Every question raises OSError while it does not answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def answers(self) -> bool:
        """Whether it says anything, ready or not."""
        with suppress(OSError):
            return self._ask("/ready", 2.0)[0] in (200, 503)
        return False

    def ready(self) -> bool:
        """Whether it serves users."""
        return self._ask("/ready", 5.0)[0] == 200

    def applied(self) -> TrafficPlan | None:
        """The plan that it follows; None while it is down or has none."""
        with suppress(OSError, ValueError, KeyError, IndexError, TypeError):
            status, body = self._ask("/config_dump?resource=dynamic_route_configs", 5.0)
            if status == 200:
                for dumped in msgspec.json.decode(body)["configs"]:
                    return files.plan_of(dumped["route_config"])
        return None

    def follows(self, version: str) -> bool:
        """Whether its routes are of this very file."""
        confirmed = f'http.{files.STATISTICS}.rds.{files.ROUTES}.version_text: "{version}"'
        return confirmed in self._statistics(rf"rds\.{files.ROUTES}\.version_text")

    def refusals(self) -> int:
        """How often it refused a route file; 0 while it is down."""
        with suppress(OSError):
            text = self._statistics(rf"rds\.{files.ROUTES}\.(update_rejected|update_failure)")
            return sum(int(line.rpartition(": ")[2]) for line in text.splitlines())
        return 0

    def counts(self) -> dict[Colour, RouterCounts]:
        """Live counters, no flush delay."""
        found = {(name, what): int(number) for name, what, number in _COUNTS.findall(self._statistics(_COUNTS_FILTER))}
        return {
            colour: RouterCounts(
                completed=found.get((colour, "external.upstream_rq_completed"), 0),
                failed=found.get((colour, "external.upstream_rq_5xx"), 0) + found.get((colour, "upstream_rq_retry_success"), 0),
                active=found.get((colour, "upstream_rq_active"), 0),
            )
            for colour in Colour
        }

    def fails_over(self) -> bool:
        """Whether it was started with clusters that ask one colour after the other."""
        body = msgspec.json.decode(self._ask("/clusters?format=json", 5.0)[1])
        known = {cluster["name"] for cluster in body["cluster_statuses"]}
        return all(first(colour) in known for colour in Colour)

    def hosts(self, colour: Colour) -> dict[Address, bool]:
        """Where it finds a colour, and whether it reaches it there, as far as it checks."""
        body = msgspec.json.decode(self._ask("/clusters?format=json", 5.0)[1])
        return {
            (host["address"]["socket_address"]["address"], host["address"]["socket_address"]["port_value"]): not host.get(
                "health_status", {}
            ).get("failed_active_health_check", False)
            for cluster in body["cluster_statuses"]
            if cluster["name"] == colour
            for host in cluster.get("host_statuses", ())
        }

    def _statistics(self, expression: str) -> str:
        return self._ask(f"/stats?filter={quote(expression)}", 5.0)[1].decode()
