"""The bill of materials of a package: its environment, and the model with its data and how it did (CycloneDX 1.6, ML-BOM).

Nothing in it depends on when, where or by whom it was made: the same package of the same commit has the same bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
MEDIA_TYPE = "application/vnd.cyclonedx+json"
_NAMESPACE = uuid.UUID("6f0e4c0a-6f0c-5f43-8f5e-6d6c50697065")
_ALGORITHMS = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


class Metric(msgspec.Struct, frozen=True):
    """One measured number. ``low`` and ``high`` bound it, where they are known."""

    name: str
    value: float
    slice: str = ""
    low: float | None = None
    high: float | None = None


class Modelled(msgspec.Struct, frozen=True):
    """What is told of a model.

    Args:
        digest: ``sha256:...`` of the bundle.
        model: ``sha256:...`` over the model's files.
        commit: Full hash.
        made: The commit's time; ISO 8601, UTC.
        flavour: Which library loads it, such as ``mlflow.sklearn``.
        inputs, outputs: Names (or kinds) of columns.
        data: Path to ``md5:...`` or ``sha256:...``.
        params: Of the training.
        metrics: In the order they are told.
        champion: Digest of the version it was compared with.
    """

    service: str
    digest: str
    commit: str
    made: str
    worker: str
    model: str = ""
    dirty: str = ""
    python: str = ""
    flavour: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    data: Mapping[str, str] = {}
    holdout: str = ""
    params: Mapping[str, str] = {}
    metrics: tuple[Metric, ...] = ()
    champion: str = ""


def bill(modelled: Modelled, environment: Mapping[str, Any]) -> bytes:
    """The whole document.

    Args:
        environment: ``components`` and ``dependencies`` of the locked environment, as CycloneDX 1.6's JSON.
    """
    data = _datasets(modelled)
    root = _root(modelled)
    libraries: list[Mapping[str, Any]] = list(environment.get("components", []))
    needs = [*(one["bom-ref"] for one in libraries), *(one["bom-ref"] for one in data)]
    document: dict[str, Any] = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": modelled.made,
            "tools": {"components": [{"type": "application", "name": "mlpipeline", "version": modelled.worker}]},
            "component": root,
        },
        "components": [*data, *libraries],
        "dependencies": [{"ref": root["bom-ref"], "dependsOn": sorted(needs)}, *environment.get("dependencies", [])],
    }
    content = msgspec.json.encode(document, order="sorted")
    named = {**document, "serialNumber": uuid.uuid5(_NAMESPACE, content.decode()).urn}
    return msgspec.json.format(msgspec.json.encode(named, order="sorted")) + b"\n"


def described_digest(content: bytes) -> str:
    """``sha256:...`` of the bundle that a bill is of. Raises ValueError when the content is no bill of ours."""
    try:
        found = msgspec.json.decode(content)
        hashes = found["metadata"]["component"]["hashes"]
        return next(f"sha256:{one['content']}" for one in hashes if one["alg"] == "SHA-256")
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, StopIteration) as error:
        raise ValueError("it is not a bill of materials of a model") from error


def measured(trained: Mapping[str, Any], judged: Mapping[str, Any]) -> tuple[Metric, ...]:
    """The numbers of a training's and a model gate's evidence. What no number was measured for is left out."""
    found = [Metric(f"training: {name}", value) for name, value in sorted(_dict(trained.get("metrics")).items())]
    for row in judged.get("metrics", []):
        name, part = str(row.get("name", "")), str(row.get("slice", ""))
        if isinstance(row.get("candidate"), int | float):
            found.append(Metric(name, float(row["candidate"]), part))
        if isinstance(row.get("difference"), int | float):
            found.append(
                Metric(
                    f"{name}: gain over the champion",
                    float(row["difference"]),
                    part,
                    _float(row.get("low")),
                    _float(row.get("high")),
                )
            )
    return tuple(found)


def _root(modelled: Modelled) -> dict[str, Any]:
    facts = {
        "mlpipeline:model": modelled.model,
        "mlpipeline:uncommitted-changes": modelled.dirty,
        "mlpipeline:python": modelled.python,
        "mlpipeline:champion": modelled.champion,
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"pkg:generic/{modelled.service}@{modelled.digest}",
        "name": modelled.service,
        "version": modelled.commit,
        "hashes": _hashes(modelled.digest),
        "properties": [{"name": name, "value": value} for name, value in facts.items() if value],
        "modelCard": _card(modelled),
    }


def _card(modelled: Modelled) -> dict[str, Any]:
    parameters: dict[str, Any] = {"datasets": [{"ref": one["bom-ref"]} for one in _datasets(modelled)]}
    if modelled.flavour:
        parameters["architectureFamily"] = modelled.flavour
    if modelled.inputs:
        parameters["inputs"] = [{"format": text} for text in modelled.inputs]
    if modelled.outputs:
        parameters["outputs"] = [{"format": text} for text in modelled.outputs]
    card: dict[str, Any] = {"modelParameters": parameters}
    if modelled.metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": [_metric(one) for one in modelled.metrics]}
    if modelled.params:
        card["properties"] = [{"name": f"parameter: {name}", "value": text} for name, text in sorted(modelled.params.items())]
    return card


def _metric(one: Metric) -> dict[str, Any]:
    told: dict[str, Any] = {"type": one.name, "value": _number(one.value), "slice": one.slice or "all rows"}
    bounds = {"lowerBound": one.low, "upperBound": one.high}
    within = {name: _number(bound) for name, bound in bounds.items() if bound is not None}
    return {**told, "confidenceInterval": within} if within else told


def _datasets(modelled: Modelled) -> list[dict[str, Any]]:
    known = {**{f"data:{path}": (path, version) for path, version in modelled.data.items()}}
    if modelled.holdout and modelled.holdout not in modelled.data.values():
        known["data:holdout"] = ("holdout", modelled.holdout)
    return [
        {
            "type": "data",
            "bom-ref": reference,
            "name": name,
            "data": [{"type": "dataset", "name": name}],
            **({"hashes": _hashes(version)} if _hashes(version) else {"version": version}),
        }
        for reference, (name, version) in sorted(known.items())
    ]


def _hashes(digest: str) -> list[dict[str, str]]:
    """What stands in a bill; a version that is no such hash (DVC calls that of a folder ``md5:...dir``) has its digits alone."""
    kind, _, value = digest.partition(":")
    digits = value.removesuffix(".dir")
    return [{"alg": _ALGORITHMS[kind], "content": digits}] if kind in _ALGORITHMS and digits else []


def _number(value: float) -> str:
    return repr(round(value, 12) + 0.0)


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def text_columns(signature: str) -> tuple[str, ...]:
    """What an MLflow signature (JSON) names: ``distance: double``; tensors by their kind. Empty for anything unreadable."""
    try:
        columns: Sequence[Any] = msgspec.json.decode(signature or "[]")
    except msgspec.DecodeError:
        return ()
    return tuple(_column(one) for one in columns if isinstance(one, Mapping)) if isinstance(columns, list) else ()


def _column(one: Mapping[str, Any]) -> str:
    kind = str(one.get("type", ""))
    if kind == "tensor":
        kind = f"tensor of {_dict(one.get('tensor-spec')).get('dtype', '')}"
    return f"{one['name']}: {kind}" if one.get("name") else kind
