"""YAML text to plain values, with the line of each. Scalars follow YAML 1.2: only ``true`` and ``false`` are booleans, so
that ``no`` stays a word, ``1e-3`` is a number and ``12:30`` is not 750."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpipeline.errors import ConfigurationError

if TYPE_CHECKING:
    import yaml

Way = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {"": None, "~": None, "null": None, "true": True, "false": False, ".nan": float("nan"), ".inf": float("inf")}

_LIMIT_BYTES = 1 << 20
_LIMIT_VALUES = 20_000
_LIMIT_DEPTH = 50
"""Far beyond any honest file; what lies above is a mistake or an attack, and would cost minutes or the stack."""

_STANDARD = "tag:yaml.org,2002:"
_TAGS = frozenset({"str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value"})
"""What plain YAML resolves to by itself; everything else was written as a tag."""


class Parsed(msgspec.Struct, frozen=True):
    """Plain values and the line (from 1) on which each begins."""

    value: object
    lines: Mapping[Way, int]


def read_file(path: Path) -> Parsed:
    """Raises ConfigurationError with file and line for everything that is not one clean YAML mapping."""
    if path.is_dir():
        raise ConfigurationError(
            "the configuration is a folder, not a file", facts={"file": path}, tries=(f"mv {path.name} {path.name}.old",)
        )
    try:
        content = _content(path)
    except PermissionError as error:
        raise ConfigurationError("the configuration may not be read", facts={"file": path}, tries=(f"ls -l {path}",)) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            "the configuration is not UTF-8 text",
            facts={"file": f"{path}:{line}", "found": f"byte 0x{content[error.start]:02x}"},
            likely="an editor saved it in another encoding",
            tries=(f"iconv -f latin1 -t utf-8 {path.name} > fixed.yaml",),
        ) from error
    parsed = parse(text, str(path))
    if parsed.value is None:
        raise ConfigurationError(
            "the configuration is empty",
            facts={"file": path},
            tries=(
                "the smallest one:\nservice: churn\ntrain:\n  command: dvc repro",
                "mlpipeline init (in a folder without one)",
            ),
        )
    if not isinstance(parsed.value, dict):
        raise ConfigurationError(
            "the configuration is not a list of keys and values",
            facts={"file": f"{path}:1", "found": _shown(parsed.value)},
            tries=("start like this:\nservice: churn\ntrain:\n  command: dvc repro",),
        )
    return parsed


def _content(path: Path) -> bytes:
    """The bytes of a regular file of a sensible size; a pipe would be waited for without end."""
    if not path.is_file():
        raise ConfigurationError("the configuration is not a regular file", facts={"file": path}, tries=(f"ls -l {path}",))
    size = path.stat().st_size
    if size > _LIMIT_BYTES:
        raise ConfigurationError(
            f"the configuration is larger than {_LIMIT_BYTES >> 20} MiB",
            facts={"file": path, "size": f"{size / (1 << 20):.1f} MiB"},
            likely="another file was named or copied there",
            tries=(f"head {path}",),
        )
    return path.read_bytes()


def parse(text: str, name: str) -> Parsed:
    """One YAML document. ``name`` is what errors call the text."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, name) from error
    except RecursionError as error:
        raise _too_deep(name) from error
    finally:
        loader.dispose()
    lines: dict[Way, int] = {}
    value = None if node is None else _plain(node, (), lines, name, frozenset())
    return Parsed(value=value, lines=lines)


def _too_deep(where: str) -> ConfigurationError:
    return ConfigurationError(
        "the configuration is nested too deeply",
        facts={"file": where},
        likely="brackets or braces that are never closed",
        tries=("mlpipeline config --schema (every key, for an editor)",),
    )


def scalar(written: str) -> object:
    """A plain (unquoted) word as its value."""
    if written.lower() in _SPECIAL:
        return _SPECIAL[written.lower()]
    if _INTEGER.fullmatch(written):
        # Python refuses to read thousands of digits; as a float they are infinite, which every check refuses.
        return int(written) if len(written) < 300 else float(written)
    return float(written) if _FLOAT.fullmatch(written) else written


def _plain(node: yaml.Node, way: Way, lines: dict[Way, int], name: str, above: frozenset[int]) -> object:
    import yaml

    line = node.start_mark.line + 1
    lines.setdefault(way, line)
    if len(lines) > _LIMIT_VALUES:
        raise ConfigurationError(
            f"the configuration has more than {_LIMIT_VALUES} values",
            facts={"file": f"{name}:{line}"},
            likely="aliases that repeat other aliases",
            tries=("write out the few values that are meant",),
        )
    if len(way) > _LIMIT_DEPTH:
        raise _too_deep(f"{name}:{line}")
    if id(node) in above:
        raise ConfigurationError("an alias contains itself", facts={"file": f"{name}:{line}"})
    if node.tag.removeprefix(_STANDARD) not in _TAGS:
        raise ConfigurationError("YAML tags are not understood here", facts={"file": f"{name}:{line}", "found": node.tag})
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*way, index), lines, name, above) for index, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return node.value if getattr(node, "style", None) else scalar(node.value)
    values: dict[str, object] = {}
    for key_node, child in node.value:
        key = _key(key_node, name)
        if key in values:
            raise ConfigurationError(
                f"the key {key!r} stands there twice",
                facts={"file": f"{name}:{key_node.start_mark.line + 1}", "first": f"{name}:{lines[(*way, key)]}"},
                likely="the later one would silently win",
                tries=("keep one of the two",),
            )
        lines[(*way, key)] = key_node.start_mark.line + 1
        values[key] = _plain(child, (*way, key), lines, name, above)
    return values


def _key(node: yaml.Node, name: str) -> str:
    import yaml

    if not isinstance(node, yaml.ScalarNode):
        raise ConfigurationError("a key must be one word", facts={"file": f"{name}:{node.start_mark.line + 1}"})
    return str(node.value)


def _syntax_error(error: Any, text: str, name: str) -> ConfigurationError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    number = mark.line + 1 if mark is not None else text[: getattr(error, "position", 0)].count("\n") + 1
    rows = text.splitlines()
    row = rows[number - 1] if 0 < number <= len(rows) else ""
    facts: dict[str, object] = {"file": f"{name}:{number}", "line": row.replace("\t", "→") or "(empty)"}
    if "\t" in row[: len(row) - len(row.lstrip())]:
        return ConfigurationError(
            "a tab stands in the indentation, and YAML allows only spaces there",
            facts=facts,
            tries=("expand -t 2 mlpipeline.yaml > fixed.yaml",),
        )
    if "single document" in str(error):
        return ConfigurationError("the file holds several YAML documents", facts=facts, tries=("remove the lines ---",))
    return ConfigurationError(
        "the configuration is not valid YAML",
        facts={**facts, "YAML says": problem},
        likely="the indentation, a missing quote, or a colon inside an unquoted text",
        tries=('quote texts that contain a colon or a brace: command: "python train.py: all"',),
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
