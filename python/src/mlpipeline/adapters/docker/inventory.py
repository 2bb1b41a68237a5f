"""How the containers of a service run, as the engine itself says, and who else is in their network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlpipeline.adapters.docker.engine import Engine
from mlpipeline.core import container as labels
from mlpipeline.core.inventory import ABSENT, Part, concealed

_OURS = "a container of mlpipeline"
_LIMITS = {
    "Memory": "memory limit",
    "MemorySwap": "memory and swap limit",
    "NanoCpus": "processor limit",
    "CpuQuota": "processor quota",
    "PidsLimit": "process limit",
    "ReadonlyRootfs": "read-only root",
    "Privileged": "privileged",
    "NetworkMode": "network",
}


def container_part(engine: Engine, found: Mapping[str, Any]) -> Part:
    """One container: its image, what it was started with, and what it is allowed."""
    config, host = found["Config"], found["HostConfig"]
    marks = config.get("Labels") or {}
    image = str(found["Image"])
    facts = {
        "package": marks.get(labels.DIGEST, ABSENT),
        "state": "running" if found["State"]["Running"] else "ended",
        "image": image,
        "command": " ".join([*(config.get("Entrypoint") or ()), *_without_port(config.get("Cmd") or ())]),
        "user": str(config.get("User") or "root"),
        "environment": ", ".join(sorted(concealed(*text.partition("=")[::2]) for text in config.get("Env") or ())),
        "devices": str(host.get("DeviceRequests") or ABSENT),
        "capabilities": f"dropped {_listed(host.get('CapDrop'))}, added {_listed(host.get('CapAdd'))}",
        "security": _listed(host.get("SecurityOpt")),
        "restart policy": str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        "mounts": _listed(f"{mount['Source']} at {mount['Destination']}" for mount in found.get("Mounts") or ()),
        **{what: str(host.get(key)) for key, what in _LIMITS.items()},
    }
    wanted = {"state": "running"}
    if made_of := marks.get(labels.IMAGE_ID):
        wanted["image"] = made_of
    return Part(facts, wanted, _changed(engine, found), str(found["Id"]))


def strangers(engine: Engine, service: str) -> dict[str, Part]:
    """Containers in the service's network that mlpipeline did not make: the router may send users there."""
    parts = {}
    for network in engine.networks(service):
        with engine.asked("the network of this service cannot be read", network=network["Name"]):
            joined = engine.client.inspect_network(network["Id"]).get("Containers") or {}
        for number, entry in joined.items():
            details = engine.details(number)
            if details is None or (details["Config"].get("Labels") or {}).get(labels.SERVICE) == service:
                continue
            address = str(entry.get("IPv4Address", "")).partition("/")[0]
            text = f"one of {details['Config']['Image']}, at {address}"
            parts[f"container {entry.get('Name', number[:12])}"] = Part(
                {"kind": text}, {"kind": _OURS}, f"it was made {details['Created'][:19]}Z", str(number)
            )
    return parts


def _changed(engine: Engine, found: Mapping[str, Any]) -> str:
    """The engine tells when, never who."""
    told = [f"container {str(found['Id'])[:12]} was made {found['Created'][:19]}Z", *_updates(engine, found)]
    return "; ".join(told)


def _updates(engine: Engine, found: Mapping[str, Any]) -> list[str]:
    """Changes to the container that the engine remembers: the newest few hundred events of all containers."""
    from datetime import UTC, datetime

    from mlpipeline.clock import iso

    now = int(datetime.now(UTC).timestamp()) + 1
    filters = {"container": [str(found["Id"])], "event": ["update", "restart", "exec_start", "kill"]}
    with engine.asked("the events of the engine cannot be read"):
        events = engine.client.events(since=0, until=now, filters=filters, decode=True)
        last = {str(event.get("Action", "")).partition(":")[0]: int(event.get("time", 0)) for event in events}
    return [f"last {action} {iso(datetime.fromtimestamp(at, UTC))}" for action, at in sorted(last.items()) if action]


def _without_port(words: Sequence[str]) -> list[str]:
    """On the host's network the port is another one after each start."""
    return [word for before, word in zip(["", *words], words, strict=False) if "--port" not in {before, word}]


def _listed(values: Any) -> str:
    return ", ".join(sorted(str(value) for value in values or ())) or "none"
