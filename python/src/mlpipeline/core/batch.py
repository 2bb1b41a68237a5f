"""A batch to be scored: what the model's signature wants of its columns, and what became of the rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv")

_FITS: Mapping[str, frozenset[str]] = {
    "boolean": frozenset({"boolean"}),
    "integer": frozenset({"integer"}),
    "long": frozenset({"integer"}),
    "float": frozenset({"integer", "float"}),
    "double": frozenset({"integer", "float"}),
    "string": frozenset({"string"}),
    "datetime": frozenset({"datetime"}),
    "binary": frozenset({"binary"}),
}
"""Kinds of columns that each type of a signature can be had from without loss."""


class Wanted(msgspec.Struct, frozen=True):
    """A column of the model's signature. ``type`` is MLflow's: ``double``, ``long``, ``string``..."""

    name: str
    type: str
    required: bool = True


def signature(inputs: str) -> tuple[Wanted, ...]:
    """The columns of an MLflow signature's JSON; none when it names none (a tensor). Raises ValueError for anything else."""
    try:
        listed = msgspec.json.decode(inputs, type=list[dict[str, object]])
    except msgspec.DecodeError as error:
        raise ValueError(f"the model's signature cannot be read: {error}") from error
    found = []
    for one in listed:
        if "name" not in one or not isinstance(one.get("type"), str) or one["type"] == "tensor":
            return ()
        found.append(Wanted(str(one["name"]), str(one["type"]), bool(one.get("required", True))))
    return tuple(found)


def misses(wanted: Sequence[Wanted], kinds: Mapping[str, str]) -> list[str]:
    """In words, what the input lacks of the signature.

    Args:
        kinds: Of the input's columns: ``boolean``, ``integer``, ``float``, ``string``, ``datetime``, ``binary`` or another word.
    """
    from difflib import get_close_matches

    found = []
    for one in wanted:
        if one.name not in kinds:
            near = get_close_matches(one.name, list(kinds), n=1)
            if one.required:
                found.append(f"column {one.name} is missing" + (f"; did you mean {near[0]}?" if near else ""))
        elif one.type not in _FITS:
            found.append(f"column {one.name} is to be {one.type}, which no column of a table is")
        elif kinds[one.name] not in _FITS[one.type]:
            found.append(f"column {one.name} is to be {one.type} and holds {kinds[one.name]}")
    return found


def format_of(name: str) -> str:
    """``parquet`` or ``csv`` by the name of a file; empty for another one, such as a folder's."""
    plain = name.lower()
    if plain.endswith(PARQUET):
        return "parquet"
    return "csv" if plain.removesuffix(".gz").endswith(CSV) else ""


def part_name(relative: str, form: str) -> str:
    """Where a partition's answers go in the output's folder: as in the input, with the suffix of the form."""
    path = PurePosixPath(relative)
    if format_of(path.name) == form:
        return str(path)
    stem = path.name.lower().removesuffix(".gz")
    for suffix in (*PARQUET, *CSV):
        stem = stem.removesuffix(suffix)
    return str(path.with_name(path.name[: len(stem)] + (".parquet" if form == "parquet" else ".csv")))
