"""Elements of HTML, SVG and XML as text. Whatever is not markup already is escaped, so a value can never become an element."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

VOID = frozenset({"br", "img", "link", "meta"})
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Markup(str):
    """Text that is markup."""

    __slots__ = ()


def text(value: object) -> Markup:
    """The value as text: escaped, characters that XML forbids replaced. Markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(escape(_FORBIDDEN.sub("\ufffd", str(value)), quote=True))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element. ``class_`` stands for ``class``; ``_`` in names becomes ``-``; an attribute that is None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items() if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Markup:
    """All parts after each other."""
    return Markup(between.join(text(part) for part in parts))
