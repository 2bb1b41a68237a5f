"""Reads ``mlpipeline.yaml`` and everything that may override it, strictly, and remembers where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from mlpipeline import packs
from mlpipeline.config import combinations, layers, limits, shape, staging_layer, text
from mlpipeline.config.layers import Layer, Origin, Values
from mlpipeline.config.model import Config
from mlpipeline.config.text import Way
from mlpipeline.errors import ConfigurationError

FILE = "mlpipeline.yaml"
DEFAULTS_VARIABLE = "MLPIPELINE_DEFAULTS"

Laid = tuple[dict[str, object], dict[Way, Origin]]
"""One layer: its values, and the origin of each."""


class Loaded(msgspec.Struct, frozen=True):
    """The effective configuration.

    Args:
        origins: Dotted path of every single value to the layer that set it.
        warnings: What is allowed but probably not meant.
    """

    config: Config
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...] = ()


def load(
    project: Path,
    *,
    overrides: Sequence[str] = (),
    overlay: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    defaults: Path | None = None,
) -> Loaded:
    """Reads and checks all layers.

    Args:
        project: Folder of ``mlpipeline.yaml``.
        overrides: ``section.key=value``, as given to ``--set``.
        overlay: Nested overrides of the arguments file; weaker than ``overrides``.
        environment: Variables; only ``MLPIPELINE__...`` and ``MLPIPELINE_DEFAULTS`` are looked at.
        defaults: The library default file; else ``$MLPIPELINE_DEFAULTS`` names it.

    Raises ConfigurationError with file, line, the nearest valid key and an example.
    """
    environment = environment or {}
    found: list[Laid] = []
    library = defaults or (Path(environment[DEFAULTS_VARIABLE]) if environment.get(DEFAULTS_VARIABLE) else None)
    if library is not None:
        found.append(layers.of_file(_read_defaults(library), Layer.LIBRARY, str(library)))
    file = project / FILE
    if not file.exists():
        raise _no_file(project)
    found.append(layers.of_file(text.read_file(file), Layer.FILE, FILE))
    found.extend(layers.of_environment(environment))
    if overlay:
        found.append(layers.of_mapping(dict(overlay), "arguments file"))
    found.extend(layers.of_command_line(overrides))
    values = _with_pack(found)
    staging_layer.inherit(values)
    config = _checked(values)
    return Loaded(config=config, origins=_origins(config, values.origins), warnings=tuple(combinations.warnings(config)))


def digest(config: Config) -> str:
    """``sha256:...`` of the effective values, whatever layer they came from."""
    import hashlib

    return f"sha256:{hashlib.sha256(msgspec.json.encode(config, order='sorted', enc_hook=float)).hexdigest()}"


def leaves(value: object, way: Way = ()) -> Iterator[tuple[Way, object]]:
    """Every single value of a configuration with its path; empty lists, empty mappings and absent sections count as one."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from leaves(getattr(value, name), (*way, name))
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*way, key))
    elif isinstance(value, tuple) and any(isinstance(inner, msgspec.Struct) for inner in value):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*way, index))
    else:
        yield way, value


def _with_pack(found: Sequence[Laid]) -> Values:
    """All layers over each other, those of the chosen metric pack at the bottom."""
    values = _merged(found)
    verify = values.tree.get("verify")
    name = verify.get("pack") if isinstance(verify, dict) else None
    if not isinstance(name, str) or name not in packs.PACKS:
        return values
    settings = packs.find(name).settings
    tree: dict[str, object] = {"verify": {section: dict(rules) for section, rules in settings.items()}}
    return _merged([layers.of_pack(tree, name), *found]) if settings else values


def _merged(found: Sequence[Laid]) -> Values:
    values = Values()
    for layer in found:
        layers.add(values, *layer)
    return values


def _read_defaults(path: Path) -> text.Parsed:
    if not path.is_file():
        raise ConfigurationError(
            "the file with the library's defaults does not exist",
            facts={"file": path},
            tries=(f"unset {DEFAULTS_VARIABLE}, or name an existing file",),
        )
    return text.read_file(path)


def _no_file(project: Path) -> ConfigurationError:
    above = next((folder for folder in project.absolute().parents if (folder / FILE).is_file()), None)
    return ConfigurationError(
        f"there is no {FILE} in this folder" if project.is_dir() else "the project folder does not exist",
        facts={"folder": project.absolute()},
        likely=f"it lies in {above}" if above else "",
        tries=(f"mlpipeline --project {above} ..." if above else "mlpipeline init (writes one that fits this repository)",),
    )


def _checked(values: Values) -> Config:
    found: list[shape.Problem] = []
    config = shape.build(Config, values.tree, (), found)
    if not found:
        found.extend([*limits.problems(config), *combinations.problems(config, values.origins)])
    if found:
        raise _error(found, values.origins)
    assert isinstance(config, Config)  # noqa: S101 - build answers the wanted type when it found no problem
    return config


def _error(found: Sequence[shape.Problem], origins: Mapping[Way, Origin]) -> ConfigurationError:
    first = found[0]
    facts: dict[str, str] = {_label(first, origins): _where(first.way, origins)}
    if first.found:
        facts["found"] = first.found
    if first.nearest:
        facts["nearest"] = first.nearest
    if first.allowed:
        facts["allowed"] = first.allowed
    if first.example:
        facts["example"] = first.example
    if len(found) > 1:
        facts["also"] = "\n".join(f"{_where(problem.way, origins)}: {problem.what}" for problem in found[1:])
    return ConfigurationError(first.what, facts=facts, tries=("mlpipeline config --schema (every key, for an editor)",))


def _nearest_origin(way: Way, origins: Mapping[Way, Origin]) -> Origin:
    for length in range(len(way), -1, -1):
        if way[:length] in origins:
            return origins[way[:length]]
    return Origin(Layer.FILE, FILE)


def _label(problem: shape.Problem, origins: Mapping[Way, Origin]) -> str:
    layer = _nearest_origin(problem.way, origins).layer
    return {Layer.ENVIRONMENT: "variable", Layer.COMMAND_LINE: "option"}.get(layer, "file")


def _where(way: Way, origins: Mapping[Way, Origin]) -> str:
    return _nearest_origin(way, origins).where or FILE


def _origins(config: Config, known: Mapping[Way, Origin]) -> dict[str, Origin]:
    built_in = Origin(Layer.BUILT_IN)
    return {shape.dotted(way): known.get(way, built_in) for way, _ in leaves(config)}
