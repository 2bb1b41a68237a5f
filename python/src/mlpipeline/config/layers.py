"""Where values come from, weakest first: built-in default, metric pack, library default, file, environment, command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from mlpipeline.config.shape import inner_type
from mlpipeline.config.text import Parsed, Way, parse
from mlpipeline.errors import ConfigurationError

PREFIX = "MLPIPELINE__"


class Layer(StrEnum):
    BUILT_IN = "built-in default"
    PACK = "metric pack"
    LIBRARY = "library default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


class Origin(msgspec.Struct, frozen=True):
    """Which layer set a value, and where in it (``mlpipeline.yaml:12``, ``$MLPIPELINE__VERIFY__INTERVAL``)."""

    layer: Layer
    where: str = ""


class Values(msgspec.Struct):
    """Plain values merged so far, and the origin of each."""

    tree: dict[str, object] = {}
    origins: dict[Way, Origin] = {}


def add(values: Values, tree: Mapping[str, object], origins: Mapping[Way, Origin]) -> None:
    """Lays one layer over the others: sections and named entries merge, lists and single values replace."""
    _merge(values, values.tree, tree, (), origins)


def _merge(
    values: Values, below: dict[str, object], above: Mapping[str, object], way: Way, origins: Mapping[Way, Origin]
) -> None:
    for key, value in above.items():
        here = (*way, key)
        old = below.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            values.origins[here] = origins[here]
            _merge(values, old, value, here, origins)
            continue
        for gone in [known for known in values.origins if known[: len(here)] == here]:
            del values.origins[gone]
        below[key] = _copied(value)
        values.origins.update({known: origin for known, origin in origins.items() if known[: len(here)] == here})


def _copied(value: object) -> object:
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def of_file(parsed: Parsed, layer: Layer, name: str) -> tuple[dict[str, object], dict[Way, Origin]]:
    tree = parsed.value
    assert isinstance(tree, dict)  # noqa: S101 - read_file refuses everything else
    return tree, {way: Origin(layer, f"{name}:{line}") for way, line in parsed.lines.items()}


def of_environment(environment: Mapping[str, str]) -> list[tuple[dict[str, object], dict[Way, Origin]]]:
    """One small layer per variable ``MLPIPELINE__SECTION__KEY``."""
    return [
        _single(_keys_of_variable(name), value, Origin(Layer.ENVIRONMENT, f"${name}"))
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX)
    ]


def of_command_line(settings: Iterable[str]) -> list[tuple[dict[str, object], dict[Way, Origin]]]:
    """One small layer per ``section.key=value``."""
    layers = []
    for setting in settings:
        path, sign, value = setting.partition("=")
        if not sign or not all(part.strip() for part in path.split(".")):
            raise ConfigurationError(
                f"--set wants a key and a value, not {setting!r}", tries=("mlpipeline --set verify.interval=5s config",)
            )
        layers.append(_single(path.strip().split("."), value, Origin(Layer.COMMAND_LINE, f"--set {path.strip()}")))
    return layers


def of_mapping(tree: dict[str, object], where: str) -> tuple[dict[str, object], dict[Way, Origin]]:
    """Overrides that come as nested JSON."""
    origin = Origin(Layer.COMMAND_LINE, where)
    return tree, dict.fromkeys(_ways(tree, ()), origin)


def of_pack(tree: dict[str, object], name: str) -> tuple[dict[str, object], dict[Way, Origin]]:
    """What suits the runtime of a metric pack."""
    return tree, dict.fromkeys(_ways(tree, ()), Origin(Layer.PACK, name))


def _ways(value: object, way: Way) -> Iterable[Way]:
    yield way
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _ways(inner, (*way, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _ways(inner, (*way, index))


def _keys_of_variable(name: str) -> list[str]:
    keys = [part.lower() for part in name[len(PREFIX) :].split("__")]
    if not all(keys):
        raise ConfigurationError(
            f"the variable ${name} names no key",
            facts={"environment": f"${name}"},
            tries=(f"unset {name}", f"export {PREFIX}VERIFY__INTERVAL=5s"),
        )
    return keys


def _single(keys: list[str], written: str, origin: Origin) -> tuple[dict[str, object], dict[Way, Origin]]:
    value = _value(keys, written, origin.where)
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)  # noqa: S101 - a path has at least one key
    return value, dict.fromkeys(_ways(value, ()), origin)


def _value(keys: list[str], written: str, where: str) -> object:
    """Text stays text where the key wants text, so that ``--set gate.positive=1`` needs no quotes inside quotes."""
    from mlpipeline.config.model import Config

    wanted: object = Config
    for key in keys:
        wanted = inner_type(wanted, key)
    return written if wanted is str else parse(written, where).value
