"""What an apply would change of an object, field by field, and who had the field before. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

ABSENT = "nothing"
_OF_THE_SERVER = {"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink"}
_KEYS = ("name", "containerPort", "port", "mountPath", "key", "ip", "uid")
"""By which a cluster tells items of a list apart, the usual ones first."""
_LONGEST = 120


class FieldChange(msgspec.Struct, frozen=True):
    """One field that would be another.

    Args:
        what: Kind and name of the object.
        field: Such as ``spec.template.spec.containers[model].image``; empty: the object itself.
        before: As it lives; ``nothing`` where it is new.
        after: As it would be; ``nothing`` where it would go.
        owners: Who manages it now, and since when; empty: nobody.
        foreign: Whether any of these is not this program.
    """

    what: str
    field: str
    before: str
    after: str
    owners: str = ""
    foreign: bool = False

    def __str__(self) -> str:
        owned = f" (managed by {self.owners})" if self.owners else ""
        return f"{self.what}: {self.field or 'the object'}: {self.before} -> {self.after}{owned}"


Step = str | Mapping[str, Any]


def changes(what: str, live: Mapping[str, Any] | None, after: Mapping[str, Any], manager: str) -> list[FieldChange]:
    """The fields in which an object would differ.

    Args:
        live: As it is; None: there is none.
        after: The server's answer to the same apply as a dry run, its defaults filled in.
        manager: The name that this program applies under.
    """
    if live is None:
        return [FieldChange(what, "", ABSENT, "made anew")]
    found = []
    for way, before, now in _differences((), _plain(live), _plain(after)):
        owners = [entry for entry in live.get("metadata", {}).get("managedFields") or () if _holds(entry, way)]
        found.append(
            FieldChange(
                what,
                dotted(way),
                _told(before),
                _told(now),
                ", ".join(dict.fromkeys(f"{one.get('manager', 'somebody')} since {one.get('time', 'ever')}" for one in owners)),
                any(one.get("manager") != manager for one in owners),
            )
        )
    return found


def conflicts_of(message: str) -> list[tuple[str, str]]:
    """Manager and field of each conflict that a server tells of; none for a message about something else."""
    found: list[tuple[str, str]] = []
    for manager, rest in re.findall(r'conflicts? with "([^"]+)"[^:]*:((?:(?!conflicts? with ").)*)', message, re.S):
        fields = re.findall(r"\.[^\s,]+", rest)
        found.extend((manager, field) for field in fields)
    return found


def dotted(way: Sequence[Step]) -> str:
    """The way to a field as people write it."""
    text = ""
    for step in way:
        if isinstance(step, str):
            text += f"[{step}]" if "/" in step or "." in step else f".{step}"
        else:
            text += f"[{', '.join(str(value) for value in step.values())}]"
    return text.removeprefix(".")


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the server notes by itself."""
    metadata = {name: value for name, value in found.get("metadata", {}).items() if name not in _OF_THE_SERVER}
    kept = {name: value for name, value in found.items() if name not in ("status", "apiVersion", "kind")}
    return {**kept, "metadata": metadata}


def _differences(way: tuple[Step, ...], before: Any, after: Any) -> Iterator[tuple[tuple[Step, ...], Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _differences((*way, name), before.get(name), after.get(name))
        return
    if isinstance(before, list) and isinstance(after, list) and (key := _key(before + after)):
        left, right = ({item[key]: item for item in items} for items in (before, after))
        for name in [*left, *(name for name in right if name not in left)]:
            yield from _differences((*way, {key: name}), left.get(name), right.get(name))
        return
    if before != after:
        yield way, before, after


def _key(items: Sequence[Any]) -> str:
    """What tells the items of a list apart; empty: nothing does."""
    if not all(isinstance(item, Mapping) for item in items):
        return ""
    return next((key for key in _KEYS if items and all(key in item for item in items)), "")


def _holds(entry: Mapping[str, Any], way: Sequence[Step]) -> bool:
    """Whether a manager has this very field, or a whole above it."""
    fields: Any = entry.get("fieldsV1") or {}
    for step in way:
        fields = _inner(fields, step)
        if fields is None:
            return False
        if not fields:
            return True
    return True


def _inner(fields: Mapping[str, Any], step: Step) -> Any:
    if isinstance(step, str):
        return fields.get(f"f:{step}")
    for name, inner in fields.items():
        if name.startswith("k:") and step.items() <= json.loads(name[2:]).items():
            return inner
    return None


def _told(value: Any) -> str:
    if value is None:
        return ABSENT
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
