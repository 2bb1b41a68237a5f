"""How long users may keep a connection to a router whose end nobody can announce. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEPT_SECONDS = 10
"""After which an answer asks its client to connect anew. Whoever is no longer found by new connections has none left then."""


def with_kept_for(bootstrap: Mapping[str, Any], seconds: int) -> dict[str, object]:
    """A bootstrap whose Envoy lets go of each connection of a user's after a while: with ``Connection: close`` in an answer,
    never by closing one that a request may be on its way through. Needs Envoy 1.32.

    Args:
        bootstrap: As :func:`mlpipeline.core.envoy_files.bootstrap` made it, with one listener for users.
    """
    static = bootstrap["static_resources"]
    listeners = [_kept_for(one, seconds) if one["name"] == "users" else one for one in static["listeners"]]
    return {**bootstrap, "static_resources": {**static, "listeners": listeners}}


def _kept_for(listener: Mapping[str, Any], seconds: int) -> dict[str, object]:
    (chain,) = listener["filter_chains"]
    (manager,) = chain["filters"]
    told = manager["typed_config"]
    options = {**told["common_http_protocol_options"], "max_connection_duration": f"{seconds}s"}
    changed = {**told, "common_http_protocol_options": options, "http1_safe_max_connection_duration": True}
    return {**listener, "filter_chains": [{**chain, "filters": [{**manager, "typed_config": changed}]}]}
