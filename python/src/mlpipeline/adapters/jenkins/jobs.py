"""What jobs look like to Jenkins: ``config.xml`` made from templates, and compared as XML, not as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import msgspec

from mlpipeline.errors import EnvironmentFault

_TIMER = "hudson.triggers.TimerTrigger"
_MARK = re.compile(r"@([A-Z_]+)@")


class JobText(msgspec.Struct, frozen=True):
    """A folder or job as it should be.

    Args:
        name: Full name, such as ``churn/nightly``.
        xml: Its ``config.xml``.
    """

    name: str
    xml: str


def rendered(template: str, values: Mapping[str, str]) -> str:
    """A template of ``templates/jenkins`` with its marks replaced; values are data and become text, never markup."""
    text = (files("mlpipeline") / "templates" / "jenkins" / template).read_text("utf-8")
    return _MARK.sub(lambda mark: escape(_printable(values[mark[1]]), quote=False), text)


def folder_text() -> str:
    """The ``config.xml`` of a new folder."""
    return rendered("folder.xml", {})


def merged(wanted: str, found: str) -> str:
    """What Jenkins has, with what the template says put into it; all else of a job, such as what people added to it, stays.

    Elements that are empty in the template say nothing. Schedules are ours altogether: a second one would start every nightly
    twice. Returns ``found`` itself when it is right already.
    """
    from xml.etree import ElementTree

    root = _parsed(found)
    before = _leaves(root)
    _put(_parsed(wanted), root)
    return found if _leaves(root) == before else ElementTree.tostring(root, encoding="unicode")


def difference(before: str, after: str) -> list[str]:
    """Lines ``- before`` and ``+ after`` for what differs, each with its place in the file; empty when nothing does."""
    import difflib

    old, new = _leaves(_parsed(before)), _leaves(_parsed(after))
    lines: list[str] = []
    for path in dict.fromkeys((*old, *new)):
        changed = (line for line in difflib.ndiff([*old.get(path, ())], [*new.get(path, ())]) if line[0] in "+-")
        lines.extend(f"{line[0]} {path}: {line[2:]}" for line in changed)
    return lines


def schedule_in(xml: str) -> str:
    """The schedule of a job's own timer; empty when it has none. Polling a repository is no schedule."""
    timers = (element for element in _parsed(xml).iter() if element.tag == _TIMER)
    return "\n".join(timer.findtext("spec") or "" for timer in timers).strip()


def _put(wanted: Any, found: Any) -> None:
    taken: set[int] = set()
    for child in wanted:
        match = next((one for one in found if id(one) not in taken and _same(child, one)), None)
        if match is None:
            found.append(child)
            taken.add(id(child))
            continue
        taken.add(id(match))
        if len(child):
            _put(child, match)
        elif (child.text or "").strip():
            match.text = child.text
    for extra in [one for one in found if one.tag == _TIMER and id(one) not in taken]:
        found.remove(extra)


def _same(wanted: Any, found: Any) -> bool:
    """Parameters are told apart by their names, everything else by its tag and place."""
    named = wanted.tag.endswith("ParameterDefinition")
    return wanted.tag == found.tag and (not named or wanted.findtext("name") == found.findtext("name"))


def _leaves(root: Any) -> dict[str, tuple[str, ...]]:
    """Path to the texts that stand there; elements without text or children count as nothing."""
    found: dict[str, tuple[str, ...]] = {}

    def walk(element: Any, path: str) -> None:
        children = list(element)
        text = " ".join((element.text or "").split()) if not children else ""
        if text:
            found[path] = (*found.get(path, ()), text)
        for child in children:
            walk(child, f"{path}/{child.tag}")

    walk(root, str(root.tag))
    return found


def _parsed(xml: str) -> Any:
    """Jenkins declares XML 1.1, which Python's parser does not read; nothing in a configuration needs it."""
    from xml.etree import ElementTree

    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", xml)
    try:
        return ElementTree.fromstring(text)  # noqa: S314
    except ElementTree.ParseError as error:
        raise EnvironmentFault(
            "the configuration that Jenkins gave is not XML",
            facts={"found": error},
            likely="a proxy or a login page stands before it",
        ) from error


def _printable(value: str) -> str:
    """Without control characters, which no XML 1.0 may hold."""
    return "".join(character for character in value if character in "\n\t" or ord(character) >= 32)
