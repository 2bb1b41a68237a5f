"""How the objects of a service are called in a cluster, and how they are found again."""

from __future__ import annotations

import re

import msgspec

from mlpipeline.core import container as labels

MANAGED_BY = "app.kubernetes.io/managed-by"
FIELD_MANAGER = "mlpipeline"
"""Under this name fields are applied; those of everybody else are left alone."""
CONTAINER = "model"
"""The container of a colour that serves."""
ROUTER_CONTAINER = "envoy"
ROUTER = "router"
SERVICE_PORT = 8080
"""On which the serving process listens in its pod."""
USERS_PORT = 8080
"""On which the router listens for users in its pod."""
INSIDE_PORT = 9902
"""On which the router tells, to whoever may reach pods, what it counts and what it follows; nothing can be changed there."""
ADMIN_PORT = 9901
"""Of the router's own admin page, on loopback of its pod."""
LONGEST_SERVICE = 55
"""Characters of a service's name, so that every name made of it is one of a Service."""
_UNFIT = re.compile(r"[^-A-Za-z0-9_.]")


class Names(msgspec.Struct, frozen=True):
    """What the objects of a service are called. Users call ``active``."""

    service: str

    @property
    def active(self) -> str:
        return self.service

    @property
    def preview(self) -> str:
        return f"{self.service}-preview"

    @property
    def router(self) -> str:
        return f"{self.service}-router"

    @property
    def lease(self) -> str:
        return f"{self.service}-release"

    @property
    def making(self) -> str:
        """The Lease of whoever makes a release, from its data gate on."""
        return f"{self.service}-making"

    def of(self, role: str) -> str:
        """Of a colour, or of the router."""
        return f"{self.service}-{role}"


def owned_labels(service: str, role: str, model_version: str = "") -> dict[str, str]:
    """What every object of a service is found by.

    Args:
        role: ``blue``, ``green``, ``router``, ``active`` or ``preview``.
    """
    found = {MANAGED_BY: FIELD_MANAGER, labels.SERVICE: service, labels.ROLE: str(role)}
    return {**found, labels.MODEL_VERSION: label(model_version)} if label(model_version) else found


def selector_of(service: str, role: str = "") -> str:
    """As a query of the API has it."""
    return f"{labels.SERVICE}={service}" + (f",{labels.ROLE}={role}" if role else "")


def label(text: str) -> str:
    """What of a text fits into a label's value."""
    return _UNFIT.sub("-", text)[:63].strip("-_.")
