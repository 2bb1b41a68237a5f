"""Where containers find each other: a bridge of the service's own with fixed addresses, or the host's network."""

from __future__ import annotations

import ipaddress
from typing import Any

from mlpipeline.adapters.docker.engine import Engine
from mlpipeline.core.container import ROLE, SERVICE, container_name
from mlpipeline.core.envoy_files import Address
from mlpipeline.core.image import PORT
from mlpipeline.errors import EnvironmentFault

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a container; what is published is on loopback
ADMIN_PORT = 9901
PLACES = {"router": 2, "blue": 3, "green": 4}
"""Of each role, counted from the network's own address: the first belongs to the bridge."""
SMALLEST = 16
"""Addresses of a network whose lower half has room for these."""
TRIES = 5


class Network:
    """How the containers of a service are reached, by its configuration.

    Args:
        bridged: A network of its own; else the host's.
    """

    def __init__(self, engine: Engine, service: str, *, bridged: bool) -> None:
        self._engine, self._service, self.bridged = engine, service, bridged

    def listens(self, port: int, inside: int = PORT) -> Address:
        """Where a process listens that the worker reaches at this port of loopback."""
        return (EVERYWHERE, inside) if self.bridged else (LOOPBACK, port)

    def users(self, reached: Address) -> Address:
        """Where the router listens for users who reach it there on this machine."""
        return (EVERYWHERE, PORT) if self.bridged else reached

    def found_by_router(self, role: str, port: int) -> Address | None:
        """Where the router finds a colour; None while there is no network."""
        if not self.bridged:
            return (LOOPBACK, port)
        subnet = self._subnet()
        return None if subnet is None else (str(subnet[PLACES[role]]), PORT)

    def options(self, role: str, published: dict[int, Address]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a container is created with: for its configuration, and for its host configuration.

        Args:
            published: Ports inside of it, and where they are reached on this machine.
        """
        if not self.bridged:
            return {}, {"NetworkMode": "host"}
        name, subnet = self.ensure()
        ports = {f"{inside}/tcp": [{"HostIp": host, "HostPort": str(port)}] for inside, (host, port) in published.items()}
        endpoint = {"IPAMConfig": {"IPv4Address": str(subnet[PLACES[role]])}, "Aliases": [role]}
        config = {
            "ExposedPorts": {inside: {} for inside in ports},
            "NetworkingConfig": {"EndpointsConfig": {name: endpoint}},
        }
        return config, {"NetworkMode": name, "PortBindings": ports}

    def ensure(self) -> tuple[str, ipaddress.IPv4Network]:
        """The service's own network; made when there is none.

        The engine gives fixed addresses only in a network whose range was asked for, so it is first let choose a free one.
        """
        name = container_name(self._service, "network")
        for _ in range(TRIES):
            subnet = self._subnet()
            if subnet is not None:
                return name, subnet
            self._make(name)
        raise EnvironmentFault(
            "the engine could not make a network for this service",
            facts={"network": name, "engine": self._engine.address},
            likely="it has no free range of addresses, or none of 16 addresses or more",
            tries=("docker network prune", "target.docker.network: host"),
        )

    def release(self) -> None:
        """Removes the network once nothing of the service is left in it."""
        import docker

        if not self.bridged or self._engine.containers(self._service):
            return
        for found in (*self._engine.networks(self._service), *self._engine.networks(self._service, "trial")):
            with self._engine.asked("the network of this service could not be removed", network=found["Name"]):
                try:
                    self._engine.client.remove_network(found["Id"])
                except docker.errors.NotFound:
                    continue
                except docker.errors.APIError as error:
                    if "active endpoints" not in str(error):
                        raise

    def _make(self, name: str) -> None:
        import docker

        labels = {SERVICE: self._service, ROLE: "network"}
        with self._engine.asked(
            "the engine could not make a network; where it has no bridges, set target.docker.network: host", network=name
        ):
            for left in self._engine.networks(self._service, "trial"):
                self._engine.client.remove_network(left["Id"])
            trial = {**labels, ROLE: "trial"}
            free = self._engine.client.create_network(f"{name}-trial", driver="bridge", labels=trial, check_duplicate=True)
            subnet = _subnet_of(self._engine.client.inspect_network(free["Id"]))
            self._engine.client.remove_network(free["Id"])
            if subnet is None or subnet.num_addresses < SMALLEST:
                return
            # Whoever joins later gets an address of the upper half, never one that the router sends users to.
            pool = {
                "Subnet": str(subnet),
                "Gateway": str(subnet[1]),
                "IPRange": str(list(subnet.subnets())[1]),
            }
            ipam = {"Driver": "default", "Config": [pool]}
            try:
                self._engine.client.create_network(name, driver="bridge", ipam=ipam, labels=labels, check_duplicate=True)
            except docker.errors.APIError as error:
                if "overlaps" not in str(error) and "already exists" not in str(error):
                    raise

    def _subnet(self) -> ipaddress.IPv4Network | None:
        for found in self._engine.networks(self._service):
            return _subnet_of(found)
        return None


def _subnet_of(network: dict[str, Any]) -> ipaddress.IPv4Network | None:
    for pool in (network.get("IPAM") or {}).get("Config") or ():
        subnet = ipaddress.ip_network(pool.get("Subnet", ""), strict=False)
        if isinstance(subnet, ipaddress.IPv4Network):
            return subnet
    return None
