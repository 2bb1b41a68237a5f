"""What the router of a host follows, compared with what mlpipeline writes, and who changed a file."""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from mlpipeline.clock import iso
from mlpipeline.core import envoy_files as files
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.inventory import Part
from mlpipeline.core.traffic import Colour, TrafficPlan

OURS = "as mlpipeline writes it"
ITS_OWN = "where the colour listens"
NOWHERE = "nowhere"


def router_part(
    folder: Path, own: Part, addresses: Mapping[Colour, Address | None], *, up: bool, applied: TrafficPlan | None
) -> Part:
    """The router: whether it runs, how, each of its files, and the routes that it says it follows.

    Args:
        folder: Of its files.
        own: Its process or container.
        addresses: Where each colour listens now; None where nothing stands.
        applied: The plan that it says it follows.
    """
    route_file = files.routes_file(folder)
    ordered = _content(route_file)
    plan = _plan(ordered)
    found = {"state": "up" if up else "down", **own.facts}
    wanted = {"state": "up", **own.wanted}
    changed = [own.changed]
    configuration = folder / "envoy.yaml"
    with suppress(OSError):
        found["configuration"] = f"sha256:{sha256(configuration.read_bytes()).hexdigest()}"
        changed.append(by_whom(configuration))
    if ordered is not None:
        found["route file"] = OURS if files.backup_of(ordered) is not None else _told(ordered, plan)
        wanted["route file"] = OURS
        if found["route file"] != OURS:
            changed.append(by_whom(route_file))
    if up and plan is not None:
        found["routes"] = "as its route file says" if applied == plan else f"not those of its route file, but {words(applied)}"
        wanted["routes"] = "as its route file says"
    for colour, address in addresses.items():
        file = files.endpoints_file(folder, colour)
        if not file.is_file():
            continue
        what, right = f"endpoint of {colour}", NOWHERE if address is None else ITS_OWN
        found[what] = _endpoint(_content(file), address)
        wanted[what] = right
        if found[what] != right:
            changed.append(by_whom(file))
    return Part(found, wanted, "; ".join(dict.fromkeys(text for text in changed if text)), own.instance)


def words(plan: TrafficPlan | None) -> str:
    """A plan for people."""
    if plan is None:
        return "none of mlpipeline's"
    mirror = f", copies to {plan.live.other}" if plan.mirror else ""
    cohorts = f", cohorts {plan.cohort_words}" if plan.cohorts else ""
    return f"{plan.percent(plan.live)} % to {plan.live}, {plan.percent(plan.live.other)} % to {plan.live.other}{mirror}{cohorts}"


def by_whom(file: Path) -> str:
    """Whose file it is and when it was last written; empty when it is gone."""
    with suppress(OSError):
        known = file.stat()
        return f"{file.name} was last written {iso(datetime.fromtimestamp(known.st_mtime, UTC))} by {user_of(known.st_uid)}"
    return ""


def user_of(number: int) -> str:
    """The name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _content(file: Path) -> Any:
    """The JSON of a file; an empty object when it holds none, None when there is no file."""
    try:
        return msgspec.json.decode(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError):
        return {}


def _resource(content: Any) -> Any:
    resources = content.get("resources") if isinstance(content, dict) else None
    return resources[0] if isinstance(resources, list) and len(resources) == 1 else None


def _plan(content: Any) -> TrafficPlan | None:
    with suppress(ValueError):
        return files.plan_of(_resource(content))
    return None


def _told(content: Any, plan: TrafficPlan | None) -> str:
    resource = _resource(content)
    hosts = (resource.get("virtual_hosts") if isinstance(resource, dict) else None) or []
    routes = [route for host in hosts if isinstance(host, dict) for route in host.get("routes") or []]
    first = words(plan) if plan is not None else "no plan of mlpipeline"
    return f"changed: {len(hosts)} hosts with {len(routes)} routes; {first}"


def _endpoint(content: Any, address: Address | None) -> str:
    try:
        known = [
            host["endpoint"]["address"]["socket_address"]
            for places in _resource(content)["endpoints"]
            for host in places["lb_endpoints"]
        ]
        found = [(host["address"], host["port_value"]) for host in known]
    except (TypeError, KeyError):
        return "no endpoint file of mlpipeline"
    if not found:
        return NOWHERE
    return ITS_OWN if address is not None and found == [address] else ", ".join(f"{host}:{port}" for host, port in found)
