"""Plain values to the models, with every problem at its own path: unknown keys, wrong types, missing keys."""

from __future__ import annotations

import types
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from mlpipeline.config.durations import parse_duration, written_duration
from mlpipeline.config.text import Way
from mlpipeline.config.values import Duration

_EXAMPLES: dict[str, object] = {
    "service": "churn",
    "train": {"command": "dvc repro"},
    "train.command": "dvc repro",
    "data.files": {"trips": {"path": "data/trips.parquet"}},
    "gate.holdout": "data/holdout.parquet",
    "gate.label": "late",
    "gate.metrics": [{"metric": "roc_auc", "at_least": 0.7}],
    "verify.prometheus": "http://prometheus:9090",
    "tracking.uri": "http://mlflow:5000",
    "rollout.steps": [10, 50],
}


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with one value.

    Args:
        way: Where; its last part is the offending key when the key itself is unknown.
        what: One line.
        nearest: The key or value that was probably meant, or empty.
        allowed: What may stand there.
        example: YAML that would be right.
    """

    way: Way
    what: str
    nearest: str = ""
    allowed: str = ""
    example: str = ""
    found: str = ""


def dotted(way: Iterable[str | int]) -> str:
    """``gate.metrics[0].metric``"""
    text = ""
    for part in way:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def closest(word: str, known: Iterable[str]) -> str:
    """What was probably meant, or empty."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)), "")


@cache
def field_types(model: type) -> dict[str, Any]:
    """Field names to their types, ``Annotated`` kept."""
    return get_type_hints(model, include_extras=True)


def plain_type(wanted: Any) -> Any:
    """Without ``Annotated`` and without ``| None``."""
    if get_origin(wanted) is Annotated:
        return plain_type(get_args(wanted)[0])
    if get_origin(wanted) in {Union, types.UnionType}:
        inner = [kind for kind in get_args(wanted) if kind is not type(None)]
        return plain_type(inner[0]) if len(inner) == 1 else wanted
    return wanted


def is_section(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, msgspec.Struct)


def inner_type(wanted: Any, key: str) -> Any:
    """The type of what stands under ``key``; ``None`` for an unknown one."""
    wanted = plain_type(wanted)
    if is_section(wanted):
        return plain_type(field_types(wanted).get(key))
    return plain_type(get_args(wanted)[1]) if get_origin(wanted) is dict else None


def build(wanted: Any, value: object, way: Way, problems: list[Problem]) -> Any:
    """The value as the wanted type; problems are added to the list, and the answer is then of no use."""
    optional = get_origin(wanted) in {Union, types.UnionType} and type(None) in get_args(wanted)
    kind = plain_type(wanted)
    if optional and value is None:
        return None
    if is_section(kind):
        return _section(kind, value, way, problems)
    if get_origin(kind) is dict:
        return _named(kind, value, way, problems)
    if get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis:
        return _listed(get_args(kind)[0], kind, value, way, problems)
    return _single(wanted, kind, value, way, problems)


def _section(kind: Any, value: object, way: Way, problems: list[Problem]) -> Any:
    value = {} if value is None and way else value  # a heading whose lines are all commented out
    if not isinstance(value, dict):
        problems.append(_wrong_type(kind, value, way, "a section with keys"))
        return None
    hints = field_types(kind)
    unknown = [_unknown(kind, key, (*way, key), list(hints)) for key in value if key not in hints]
    problems.extend(unknown)
    built = {key: build(hints[key], inner, (*way, key), problems) for key, inner in value.items() if key in hints}
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in value:
            built[field.name] = None
            if any(problem.nearest == dotted((*way, field.name)) for problem in unknown):
                continue  # one slip of the pen, one message
            problems.append(
                Problem(
                    (*way, field.name),
                    f"{dotted((*way, field.name))} is missing",
                    example=example((*way, field.name), hints[field.name]),
                )
            )
    return kind(**built)


def _named(kind: Any, value: object, way: Way, problems: list[Problem]) -> Any:
    value = {} if value is None else value
    if not isinstance(value, dict):
        problems.append(_wrong_type(kind, value, way, "names with values"))
        return {}
    return {key: build(get_args(kind)[1], inner, (*way, key), problems) for key, inner in value.items()}


def _listed(inner: Any, kind: Any, value: object, way: Way, problems: list[Problem]) -> Any:
    if not isinstance(value, list | tuple):
        problems.append(_wrong_type(kind, value, way, "a list"))
        return ()
    return tuple(build(inner, one, (*way, index), problems) for index, one in enumerate(value))


def _single(wanted: Any, kind: Any, value: object, way: Way, problems: list[Problem]) -> Any:
    try:
        return parse_duration(value) if kind is Duration else msgspec.convert(value, wanted)
    except (msgspec.ValidationError, ValueError):
        problems.append(_wrong_type(wanted, value, way, expected(wanted)))
        return None


def _unknown(kind: type, key: str, way: Way, known: list[str]) -> Problem:
    nearest = closest(key.lower().replace("-", "_"), known)
    shown = nearest or next(iter(known))
    return Problem(
        way,
        f"unknown key {dotted(way)}",
        nearest=dotted((*way[:-1], nearest)) if nearest else "",
        allowed=", ".join(sorted(known)),
        example=example((*way[:-1], shown), field_types(kind)[shown]),
    )


def _wrong_type(wanted: Any, value: object, way: Way, needed: str) -> Problem:
    kind = plain_type(wanted)
    nearest = ""
    if get_origin(kind) is Literal and isinstance(value, str):
        nearest = closest(value, [str(one) for one in get_args(kind)])
    elif kind is bool and isinstance(value, str) and value.lower() in {"yes", "on", "y"}:
        nearest = "true"
    elif kind is bool and isinstance(value, str) and value.lower() in {"no", "off", "n"}:
        nearest = "false"
    return Problem(
        way,
        f"{dotted(way) or 'the file'} must be {needed}",
        nearest=nearest,
        example=example(way, wanted),
        found=described(value),
    )


def described(value: object) -> str:
    """A value in the words of the file."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else f"the text {value[:57]!r}..."
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list | tuple) else "a section with keys"


def expected(wanted: Any) -> str:  # noqa: PLR0911 - one answer per kind of type
    """What may stand there, in words."""
    kind = plain_type(wanted)
    if kind is Duration:
        return "a length of time (500ms, 30s, 5m, 2h, 40d)"
    if get_origin(kind) is Literal:
        return " or ".join(str(one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return "a list of two, such as [0, 100] or [null, 100]" if get_args(kind)[-1] is not Ellipsis else "a list"
    if get_origin(kind) is dict:
        return "names with values"
    if is_section(kind):
        return "a section with keys"
    if get_origin(kind) in {Union, types.UnionType}:
        return " or ".join(expected(one) for one in get_args(kind))
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return words.get(kind, str(kind)) + _limits(wanted)


def _limits(wanted: Any) -> str:
    if get_origin(wanted) in {Union, types.UnionType}:
        wanted = next(one for one in get_args(wanted) if one is not type(None))
    metas = [meta for meta in getattr(wanted, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    words: list[str] = []
    for meta in metas:
        if meta.description:
            words.append(f"of {meta.description}, beginning and ending with a letter or digit, at most 63")
            continue
        pairs = (("at least", meta.ge), ("more than", meta.gt), ("at most", meta.le), ("less than", meta.lt))
        words.append(" and ".join(f"{word} {limit:g}" for word, limit in pairs if limit is not None))
    return f" {', '.join(words)}" if words else ""


def example(way: Way, wanted: Any) -> str:
    """YAML in which the key is right, nested as in the file."""
    names = [part for part in way if isinstance(part, str)]
    value = _EXAMPLES.get(".".join(names), _value_like(wanted))
    lines = []
    depth = 0
    for index, part in enumerate(way):
        if isinstance(part, int):
            continue
        before = way[index - 1] if index else None
        dash = "- " if isinstance(before, int) else ""
        lines.append(f"{'  ' * depth}{dash}{part}:")
        depth += 2 if dash else 1
    if lines:
        lines[-1] += f" {in_yaml(value)}"
    return "\n".join(lines)


def _value_like(wanted: Any) -> object:  # noqa: PLR0911 - one answer per kind of type
    kind = plain_type(wanted)
    if kind is Duration:
        return "30s"
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if get_origin(kind) is tuple:
        return [_value_like(one) for one in get_args(kind) if one is not Ellipsis]
    if get_origin(kind) is dict:
        return {"name": _value_like(get_args(kind)[1])}
    if is_section(kind):
        hints = field_types(kind)
        required = [field.name for field in msgspec.structs.fields(kind) if field.required]
        return {name: _value_like(hints[name]) for name in required or list(hints)[:1]}
    if get_origin(kind) in {Union, types.UnionType}:
        return _value_like(get_args(kind)[0])
    return {bool: True, int: _within(wanted, 10), float: _within(wanted, 0.5), str: "text"}.get(kind, "text")


def _within(wanted: Any, usual: float) -> float:
    for meta in getattr(wanted, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.gt is not None and usual <= meta.gt:
            return meta.gt + 1
    return usual


def in_yaml(value: object) -> str:  # noqa: PLR0911 - one answer per kind of value
    """One value in YAML's flow form."""
    if isinstance(value, Duration):
        return written_duration(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {in_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(in_yaml(inner) for inner in value) + "]"
    if isinstance(value, str):
        from mlpipeline.config.text import scalar

        plain = (
            value
            and value == value.strip()
            and isinstance(scalar(value), str)
            and not set(value) & set(":#{}[],&*!|>'\"%@`\n\t?")
        )
        return (
            value
            if plain and not value.startswith("-")
            else '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        )
    return str(value)
