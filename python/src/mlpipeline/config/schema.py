"""The JSON schema of ``mlpipeline.yaml``, made from the models and the texts that stand beside their fields."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from mlpipeline.config import model, sections
from mlpipeline.config.durations import PATTERN, written_duration
from mlpipeline.config.model import Config
from mlpipeline.config.shape import field_types, is_section, plain_type
from mlpipeline.config.values import Duration

Texts = dict[str, dict[str, str]]
"""Model name to field name to description; the model's own stands under the empty name."""


def texts() -> Texts:
    """Reads the docstrings of classes and the strings after fields from the models' source."""
    files = [Path(model.__file__), *sorted(Path(sections.__file__).parent.glob("*.py"))]
    bodies = [ast.parse(file.read_text("utf-8")).body for file in files]
    return {node.name: _texts_of(node) for body in bodies for node in body if isinstance(node, ast.ClassDef)}


def json_schema() -> dict[str, Any]:
    """Draft 2020-12, with a description wherever the models have one."""
    definitions: dict[str, Any] = {}
    whole = _schema_of(Config, definitions, texts())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mlpipeline.yaml", **whole, "$defs": definitions}


def written_schema() -> str:
    """As committed: indented, sorted, final newline."""
    return msgspec.json.format(msgspec.json.encode(json_schema(), order="sorted")).decode() + "\n"


def _texts_of(node: ast.ClassDef) -> dict[str, str]:
    found = {"": _joined(ast.get_docstring(node) or "")}
    for before, after in zip(node.body, node.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            value = after.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[before.target.id] = _joined(value.value)
    return found


def _joined(text: str) -> str:
    return " ".join(text.split())


def _schema_of(wanted: Any, definitions: dict[str, Any], known: Texts) -> dict[str, Any]:
    kind = plain_type(wanted)
    if is_section(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            definitions[kind.__name__] = _section(kind, definitions, known)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if kind is Duration:
        return {"type": ["string", "number"], "pattern": PATTERN, "minimum": 0}
    arguments = get_args(kind)
    if get_origin(kind) is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema_of(arguments[0], definitions, known)}
    if get_origin(kind) is dict:
        return {"type": "object", "additionalProperties": _schema_of(arguments[1], definitions, known)}
    return msgspec.json.schema(wanted)


def _section(kind: Any, definitions: dict[str, Any], known: Texts) -> dict[str, Any]:
    described = known.get(kind.__name__, {})
    properties = {}
    for name, hint in field_types(kind).items():
        schema = _schema_of(hint, definitions, known)
        properties[name] = {**schema, **({"description": described[name]} if name in described else {})}
    fields = msgspec.structs.fields(kind)
    for field in fields:
        if isinstance(field.default, Duration):
            properties[field.name]["default"] = written_duration(field.default)
        elif isinstance(field.default, str | int | float):
            properties[field.name]["default"] = field.default
    return {
        "type": "object",
        **({"description": described[""]} if described.get("") else {}),
        "properties": properties,
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }
