"""What the ``staging`` section has of production where it says nothing itself, and the configuration of the service it makes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mlpipeline.config.layers import Values
from mlpipeline.config.model import Config
from mlpipeline.config.sections.rollout import Approval
from mlpipeline.config.text import Way

NAME = "staging"
_OFF: Mapping[str, object] = {"enabled": False}
_VERIFY: Mapping[str, object] = dict.fromkeys(("errors", "latency", "predictions", "disagreement", "accuracy"), _OFF)
_ROLLOUT: Mapping[str, object] = {"strategy": "all_at_once", "bake": "0s", "control": 0}
_SAME_ROLLOUT = frozenset({"smoke", "settle_switch", "hold"})
_COMPARED = frozenset({"score"})


def service(name: str) -> str:
    """Of the environment in front of the service of this name."""
    return f"{name}-{NAME}"


def inherit(values: Values) -> None:
    """Lays production's values below those of ``staging``, where there is such a section; origins go with them."""
    own = values.tree.get(NAME)
    if not isinstance(own, dict):
        return
    tree = values.tree
    below: dict[str, Mapping[str, object]] = {
        "target": _section(tree, "target"),
        "deploy": _section(tree, "deploy"),
        "rollout": _over({name: one for name, one in _section(tree, "rollout").items() if name in _SAME_ROLLOUT}, _ROLLOUT),
        "verify": _over({name: one for name, one in _section(tree, "verify").items() if name not in _COMPARED}, _VERIFY),
    }
    known = dict(values.origins)
    for name, base in below.items():
        mine = own.get(name)
        if mine is None or isinstance(mine, dict):
            own[name] = _over(base, mine or {})
    for way, origin in known.items():
        if way and way[0] in below and _inherited(way):
            values.origins.setdefault((NAME, *way), origin)


def _inherited(way: Way) -> bool:
    """Whether a value of production counts in staging too."""
    if way[:1] == ("rollout",):
        return len(way) > 1 and way[1] in _SAME_ROLLOUT
    if way[:1] == ("verify",) and len(way) > 1:
        return way[1] not in _COMPARED and not (way[1] in _VERIFY and way[-1] == "enabled")
    return True


def staged(config: Config) -> Config:
    """The configuration of the staging environment. Raises ValueError where there is none."""
    if config.staging is None:
        raise ValueError("there is no staging section")
    own = config.staging
    return msgspec.structs.replace(
        config,
        service=service(config.service),
        target=own.target,
        deploy=own.deploy,
        rollout=own.rollout,
        verify=own.verify,
        approval=Approval(),
        staging=None,
    )


def _section(tree: Mapping[str, object], name: str) -> dict[str, object]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """A new mapping: sections merge, everything else is replaced."""
    found: dict[str, object] = {name: _over(one, {}) if isinstance(one, dict) else one for name, one in below.items()}
    for name, one in above.items():
        old = found.get(name)
        found[name] = _over(old if isinstance(old, dict) else {}, one) if isinstance(one, dict) else one
    return found
