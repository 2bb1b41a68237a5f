"""What Envoy is told, as plain data: the bootstrap it starts with, and the two kinds of files it watches.

Pure functions. Envoy reads JSON where it reads YAML. A route file holds exactly one traffic plan and the plan can be read
back from it, so that the file (and Envoy's own dump of it) is the truth and nobody has to remember.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlpipeline.core import envoy_failover as failing
from mlpipeline.core.envoy_failover import Backup
from mlpipeline.core.traffic import Colour, Pinned, TrafficPlan

ROUTES = "mlpipeline"
"""Name of the route configuration; also in the statistics: ``http.model.rds.mlpipeline``."""
STATISTICS = "model"
ROUTE_TYPE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
ENDPOINT_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
ROUTER_TYPE = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
MANAGER_TYPE = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
PROTOCOL_TYPE = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

ROUTE_TIMEOUT_SECONDS = 15
CONNECT_TIMEOUT_SECONDS = 2
READABLE = ("/ready", "/stats", "/stats/prometheus", "/config_dump", "/clusters")
"""Pages of the admin port that tell something and change nothing."""
METADATA = "mlpipeline"
"""Under this name a cohort's route tells what it is of."""
AT_ONCE = 10_000
"""Connections and requests that may be open to one colour; the serving process has its own, smaller limit."""


Address = tuple[str, int]
"""Where something listens: IP address and port."""


def routes_file(folder: Path) -> Path:
    return folder / "routes.json"


def endpoints_file(folder: Path, colour: Colour) -> Path:
    return folder / f"endpoints-{colour}.json"


def bootstrap(folder: Path, users: Address, admin: Address, *, failover: bool = True) -> dict[str, object]:
    """What Envoy starts with: a listener for users, an admin port, both colours; the rest comes from files.

    Args:
        folder: Where Envoy itself finds the files.
        users: Where it listens for users.
        admin: Where it listens for the worker; port 0 takes a free one.
        failover: Whether routes may ask one colour after the other; without, an Envoy of any age starts with this.
    """
    both = [_cluster(folder, colour) for colour in Colour]
    in_turn = failing.clusters(_limits(), f"{CONNECT_TIMEOUT_SECONDS}s") if failover else ()
    return {
        "node": {"id": "mlpipeline", "cluster": "mlpipeline"},
        "admin": {"address": _address(admin)},
        "stats_flush_interval": "1s",
        "static_resources": {
            "listeners": [
                {
                    "name": "users",
                    "address": _address(users),
                    # without this a second router could share the port, and half of the users would be its
                    "enable_reuse_port": False,
                    "filter_chains": [
                        {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager(folder)}]}
                    ],
                }
            ],
            "clusters": [*both, *in_turn],
        },
    }


def with_readers(bootstrap: Mapping[str, object], inside: Address, admin_port: int) -> dict[str, object]:
    """A bootstrap whose admin page may be read, and never written, on one more port: where others than the worker reach it.

    Args:
        bootstrap: As :func:`bootstrap` made it, its admin page on loopback.
        inside: Where what Envoy counts and follows is told.
        admin_port: On loopback.
    """
    reads: list[dict[str, object]] = [{"name": ":method", "string_match": {"exact": "GET"}}]
    readers = {
        "@type": MANAGER_TYPE,
        "stat_prefix": "inside",
        "route_config": {
            "name": "inside",
            "virtual_hosts": [
                {
                    "name": "inside",
                    "domains": ["*"],
                    "routes": [{"match": {"path": path, "headers": reads}, "route": {"cluster": "admin"}} for path in READABLE],
                }
            ],
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER_TYPE}}],
    }
    listener = {
        "name": "inside",
        "address": _address(inside),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": readers}]},
        ],
    }
    endpoint = {"endpoint": {"address": _address(("127.0.0.1", admin_port))}}
    cluster = {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": f"{CONNECT_TIMEOUT_SECONDS}s",
        "load_assignment": {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    static = msgspec.convert(bootstrap["static_resources"], dict[str, list[object]])
    more = {"listeners": [*static["listeners"], listener], "clusters": [*static["clusters"], cluster]}
    return {**bootstrap, "static_resources": {**static, **more}}


def with_checks(bootstrap: Mapping[str, object], path: str) -> dict[str, object]:
    """A bootstrap whose Envoy asks both colours itself, so that it can tell whether it reaches one before users are sent there. A
    colour that does not answer still gets its users: there is no better place for them.

    Args:
        path: What a colour answers with 200.
    """
    check = {
        "timeout": "2s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 1,
        "http_health_check": {"path": path},
    }
    static = msgspec.convert(bootstrap["static_resources"], dict[str, list[dict[str, object]]])
    clusters = [
        {**cluster, "health_checks": [check], "ignore_health_on_host_removal": True} if cluster.get("type") == "EDS" else cluster
        for cluster in static["clusters"]
    ]
    return {**bootstrap, "static_resources": {**static, "clusters": clusters}}


def routes(plan: TrafficPlan, version: str, backup: Backup = Backup.NONE) -> dict[str, object]:
    """The file that is one traffic plan. ``version`` comes back in Envoy's statistics once it is applied."""
    action = _action(plan.live, plan, backup)
    if plan.share:
        weights = [
            {"name": failing.cluster_for(colour, plan, backup), "weight": plan.percent(colour)}
            for colour in (plan.live, plan.live.other)
        ]
        del action["cluster"]
        action["weighted_clusters"] = {"clusters": weights}
    everybody = {"match": {"prefix": "/"}, "route": action}
    longest = {} if backup is Backup.NONE else {"request_body_buffer_limit": failing.REPEATED_BYTES}
    configuration = {
        "@type": ROUTE_TYPE,
        "name": ROUTES,
        # a route to a colour Envoy does not know must be refused, not answered with 503
        "validate_clusters": True,
        "virtual_hosts": [
            {
                "name": "users",
                "domains": ["*"],
                **longest,
                "routes": [*(_pinned(cohort, plan, backup) for cohort in plan.cohorts), everybody],
            }
        ],
    }
    return {"version_info": version, "resources": [configuration]}


def plan_of(configuration: object) -> TrafficPlan:
    """Reads the plan back from a route configuration, ours or Envoy's dump of it. Raises ValueError for a foreign one."""
    try:
        host = msgspec.convert(configuration, _RouteConfiguration).virtual_hosts[0]
        *first, everybody = host.routes
        cohorts = tuple(_cohort_of(route) for route in first)
        action = everybody.route
        if action.weighted_clusters is not None:
            live, other = action.weighted_clusters.clusters
            return TrafficPlan(live=failing.colour_of(live.name), share=other.weight, cohorts=cohorts)
        return TrafficPlan(live=failing.colour_of(action.cluster), mirror=bool(action.request_mirror_policies), cohorts=cohorts)
    except (msgspec.ValidationError, IndexError, KeyError, ValueError) as error:
        raise ValueError(f"not a route configuration of mlpipeline: {error}") from error


def backup_of(content: object) -> Backup | None:
    """Which colour may answer for the other by this route file; None for one that we would not write so."""
    try:
        file = msgspec.convert(content, _RouteFile)
        plan = plan_of(file.resources[0])
    except (msgspec.ValidationError, IndexError, ValueError):
        return None
    written = (backup for backup in Backup if msgspec.to_builtins(routes(plan, file.version_info, backup)) == content)
    return next(written, None)


def backup_in(text: str | bytes) -> Backup | None:
    """As :func:`backup_of`, of the text of a route file."""
    try:
        return backup_of(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return None


def endpoints(colour: Colour, address: Address | None, version: str) -> dict[str, object]:
    """Where a colour listens; None while it does not run."""
    hosts = [] if address is None else [{"endpoint": {"address": _address(address)}}]
    assignment = {"@type": ENDPOINT_TYPE, "cluster_name": colour, "endpoints": [{"lb_endpoints": hosts}] if hosts else []}
    return {"version_info": version, "resources": [assignment]}


def tells_endpoint(content: bytes, colour: Colour, address: Address | None) -> bool:
    """Whether a file of :func:`endpoints` says that; False for one that nobody of us wrote."""
    try:
        known = msgspec.json.decode(content, type=dict[str, object])
    except msgspec.DecodeError:
        return False
    return known == endpoints(colour, address, str(known.get("version_info", "")))


def workers() -> int:
    """Threads for Envoy: it needs few, and the models need the processors."""
    return max(1, min(4, (os.cpu_count() or 2) // 2))


def _action(colour: Colour, plan: TrafficPlan, backup: Backup) -> dict[str, object]:
    """To one colour; what the live one answers is copied where the plan mirrors."""
    cluster = failing.cluster_for(colour, plan, backup)
    action: dict[str, object] = {
        "timeout": f"{ROUTE_TIMEOUT_SECONDS}s",
        "retry_policy": failing.retries(cluster),
        "cluster": cluster,
    }
    if plan.mirror and colour is plan.live:
        action["request_mirror_policies"] = [{"cluster": plan.live.other}]
    return action


def _pinned(cohort: Pinned, plan: TrafficPlan, backup: Backup) -> dict[str, object]:
    """A route of a cohort's own. What it is of stands in its metadata too, from where it is read back."""
    match: dict[str, object] = {"exact": cohort.value} if cohort.header else {"safe_regex": {"regex": _cookie(cohort)}}
    header = {"name": cohort.header or "cookie", "string_match": match}
    told = {"cohort": cohort.name, "header": cohort.header, "cookie": cohort.cookie, "value": cohort.value}
    return {
        "match": {"prefix": "/", "headers": [header]},
        "metadata": {"filter_metadata": {METADATA: told}},
        "route": _action(cohort.colour, plan, backup),
    }


def _cookie(cohort: Pinned) -> str:
    """RE2, fitting the whole header: one of its pairs has exactly this name and value; nothing in them is an expression."""
    pair = f"{re.escape(cohort.cookie)}={re.escape(cohort.value)}"
    return rf"(?:.*;)?[ \t]*{pair}[ \t]*(?:;.*)?"


def _cohort_of(route: _Route) -> Pinned:
    told = route.metadata["filter_metadata"][METADATA]
    return Pinned(
        told["cohort"], told["value"], failing.colour_of(route.route.cluster), header=told["header"], cookie=told["cookie"]
    )


class _Weighted(msgspec.Struct):
    name: str
    weight: int = 0


class _WeightedClusters(msgspec.Struct):
    clusters: tuple[_Weighted, _Weighted]


class _Action(msgspec.Struct):
    cluster: str = ""
    weighted_clusters: _WeightedClusters | None = None
    request_mirror_policies: list[object] = []


class _Route(msgspec.Struct):
    route: _Action
    metadata: dict[str, dict[str, dict[str, str]]] = {}


class _Host(msgspec.Struct):
    routes: list[_Route]


class _RouteConfiguration(msgspec.Struct):
    virtual_hosts: list[_Host]


class _RouteFile(msgspec.Struct):
    resources: list[object]
    version_info: str = ""


def _manager(folder: Path) -> dict[str, object]:
    return {
        "@type": MANAGER_TYPE,
        "stat_prefix": STATISTICS,
        "rds": {"route_config_name": ROUTES, "config_source": _watched(routes_file(folder), folder)},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER_TYPE, "suppress_envoy_headers": True}}
        ],
        # every user is external, also one on this machine, and none can pretend to be a mirrored copy, which is internal
        "use_remote_address": True,
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "stream_idle_timeout": "60s",
        "common_http_protocol_options": {"headers_with_underscores_action": "ALLOW"},
    }


def _cluster(folder: Path, colour: Colour) -> dict[str, object]:
    return {
        "name": colour,
        "type": "EDS",
        "connect_timeout": f"{CONNECT_TIMEOUT_SECONDS}s",
        "eds_cluster_config": {"eds_config": _watched(endpoints_file(folder, colour), folder)},
        "circuit_breakers": _limits(),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": PROTOCOL_TYPE,
                # shorter than any server's own limit, so that no request meets a connection that is just being closed
                "common_http_protocol_options": {"idle_timeout": "3s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _limits() -> dict[str, object]:
    counted = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(counted, AT_ONCE)]}


def _watched(file: Path, folder: Path) -> dict[str, object]:
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(file), "watched_directory": {"path": str(folder)}},
    }


def _address(address: Address) -> dict[str, object]:
    return {"socket_address": {"address": address[0], "port_value": address[1]}}
