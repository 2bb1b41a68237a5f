"""What jobs look like to Jenkins: ``config.xml`` made from templates, and compared as XML, not as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import msgspec

from mlpipeline.errors import EnvironmentFault

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


def difference(wanted: str, found: str) -> list[str]:
    """Lines ``- found`` and ``+ wanted`` for what differs, each with its place in the file; empty when nothing does.

    Only what the template says is compared: Jenkins adds ``plugin`` attributes, empty elements and defaults to what it stores.
    """
    import difflib

    here, there = _leaves(wanted), _leaves(found)
    lines: list[str] = []
    for path in dict.fromkeys((*there, *here)):
        ours, theirs = here.get(path, ()), there.get(path, ())
        if ours == theirs or (not ours and not _owned(path, here)):
            continue
        changed = (line for line in difflib.ndiff([*theirs], [*ours]) if line[0] in "+-")
        lines.extend(f"{line[0]} {path}: {line[2:]}" for line in changed)
    return lines


def schedule_in(xml: str) -> str:
    """The schedule of a job's own timer; empty when it has none. Polling a repository is no schedule."""
    timers = (element for element in _parsed(xml).iter() if element.tag == "hudson.triggers.TimerTrigger")
    return "\n".join(timer.findtext("spec") or "" for timer in timers).strip()


def _owned(path: str, ours: Mapping[str, tuple[str, ...]]) -> bool:
    """Triggers are ours altogether: a second schedule in the job would start every nightly twice."""
    return "TimerTrigger" in path and bool(ours)


def _leaves(xml: str) -> dict[str, tuple[str, ...]]:
    """Path to the texts that stand there; elements without text or children count as nothing."""
    found: dict[str, tuple[str, ...]] = {}

    def walk(element: Any, path: str) -> None:
        children = list(element)
        text = " ".join((element.text or "").split()) if not children else ""
        if text:
            found[path] = (*found.get(path, ()), text)
        for child in children:
            walk(child, f"{path}/{child.tag}")

    root = _parsed(xml)
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
