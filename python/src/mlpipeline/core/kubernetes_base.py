"""A Deployment of the user's own as the base of each colour: all of it stays but what a release decides. Pure functions."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mlpipeline.core import container as labels
from mlpipeline.core.kubernetes_places import CONTAINER

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_TOLD_BY_NAME = {"env": "name", "volumes": "name", "volumeMounts": "mountPath", "imagePullSecrets": "name"}


def model_deployment(documents: Sequence[Mapping[str, Any]], service: str) -> Mapping[str, Any]:
    """The Deployment that is the model's: the only one, or the only one with the label of the service.

    Raises ValueError when there is none or more than one.
    """
    found = [one for one in documents if one.get("kind") == "Deployment"]
    if not found:
        kinds = ", ".join(sorted({str(one.get("kind", "something without a kind")) for one in documents})) or "nothing at all"
        raise ValueError(f"there is no Deployment among them, but {kinds}")
    marked = [one for one in found if (_metadata(one).get("labels") or {}).get(labels.SERVICE) == service]
    chosen = marked or found
    if len(chosen) > 1:
        names = ", ".join(str(_metadata(one).get("name", "without a name")) for one in chosen)
        raise ValueError(f"{len(chosen)} Deployments could be the model's: {names}; label one with {labels.SERVICE}: {service}")
    return chosen[0]


def model_container(deployment: Mapping[str, Any]) -> str:
    """The name of the container that serves: the only one, the one called ``model``, or the default one.

    Raises ValueError when it is not to be told.
    """
    template = _mapping(_mapping(deployment.get("spec")).get("template"))
    names = [str(one.get("name", "")) for one in _mapping(template.get("spec")).get("containers") or ()]
    named = (_metadata(template).get("annotations") or {}).get(DEFAULT_CONTAINER)
    if named in names:
        return str(named)
    if CONTAINER in names:
        return CONTAINER
    if len(names) != 1:
        which = f"{len(names)} containers could be the model's: {', '.join(names)}" if names else "it has no container"
        raise ValueError(f"{which}; call one {CONTAINER}, or name it by the annotation {DEFAULT_CONTAINER}")
    return names[0]


def on_base(base: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """The Deployment of a colour: the user's own, with what a release decides.

    Ours are name, namespace, selector, labels, image, arguments and the port; all else is the user's where they say anything,
    and ours where they do not. Raises ValueError as :func:`model_container`.
    """
    name = model_container(base)
    theirs = copy.deepcopy(dict(base))
    found = _filled(theirs, ours)
    found["apiVersion"], found["kind"] = ours["apiVersion"], ours["kind"]
    found["metadata"] = {
        **{key: value for key, value in ours["metadata"].items() if key in ("name", "namespace")},
        "labels": {**(_metadata(theirs).get("labels") or {}), **ours["metadata"]["labels"]},
        "annotations": {**(_metadata(theirs).get("annotations") or {}), **ours["metadata"].get("annotations", {})},
    }
    found.pop("status", None)
    spec = found["spec"]
    spec["selector"] = ours["spec"]["selector"]
    if "replicas" not in ours["spec"]:
        spec.pop("replicas", None)
    template, wanted = _mapping(_mapping(theirs.get("spec")).get("template")), ours["spec"]["template"]
    spec["template"]["metadata"] = {
        "labels": {**(_metadata(template).get("labels") or {}), **wanted["metadata"]["labels"]},
        "annotations": {
            **{key: value for key, value in (_metadata(template).get("annotations") or {}).items() if key != DEFAULT_CONTAINER},
            **wanted["metadata"].get("annotations", {}),
        },
    }
    spec["template"]["spec"] = _pod(_mapping(template.get("spec")), wanted["spec"], name)
    return found


def _pod(theirs: Mapping[str, Any], ours: Mapping[str, Any], name: str) -> dict[str, Any]:
    mine = ours["containers"][0]
    containers = []
    for one in theirs["containers"]:
        if one.get("name") != name:
            containers.append(one)
            continue
        merged = _filled(dict(one), mine)
        merged |= {"name": CONTAINER, "image": mine["image"], "args": mine["args"], "ports": _ports(one, mine)}
        containers.append(merged)
    found = _filled({key: value for key, value in theirs.items() if key != "containers"}, ours)
    found["containers"] = containers
    longest = (theirs.get("terminationGracePeriodSeconds") or 0, ours["terminationGracePeriodSeconds"])
    found["terminationGracePeriodSeconds"] = max(longest)
    return found


def _ports(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> list[Any]:
    taken = {(port.get("name"), port.get("containerPort")) for port in mine["ports"]}
    names, numbers = {name for name, _ in taken}, {number for _, number in taken}
    kept = [one for one in theirs.get("ports") or () if one.get("name") not in names and one.get("containerPort") not in numbers]
    return [*mine["ports"], *kept]


def _filled(theirs: dict[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Theirs, and ours where they say nothing."""
    found = dict(theirs)
    for key, value in ours.items():
        if key not in found or found[key] is None:
            found[key] = copy.deepcopy(value)
        elif isinstance(found[key], Mapping) and isinstance(value, Mapping) and not _is_choice(found[key], value):
            found[key] = _filled(dict(found[key]), value)
        elif key in _TOLD_BY_NAME and isinstance(found[key], list):
            by = _TOLD_BY_NAME[key]
            known = {one.get(by) for one in found[key]}
            found[key] = [*found[key], *(copy.deepcopy(one) for one in value if one.get(by) not in known)]
    return found


def _is_choice(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether the two are alternatives, such as probes of another kind or another strategy: then theirs is whole."""
    kinds = {"httpGet", "tcpSocket", "exec", "grpc", "sleep", "preStop", "type"}
    return bool(kinds & set(theirs)) and bool(kinds & set(ours))


def _metadata(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(found.get("metadata"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
