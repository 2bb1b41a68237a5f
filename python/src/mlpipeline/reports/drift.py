"""Drift on the page of a release: which columns moved, how far, and the worst of them as pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlpipeline.record.result import Result
from mlpipeline.reports import plots
from mlpipeline.reports.markup import Markup, element, join
from mlpipeline.reports.wording import mapping

Plot = Callable[[str, Markup, str, str], Markup]
"""Keeps a picture beside the page and answers the element that shows it: name, content, description, class."""

_SHOWN = 4
_WIDTH, _ROW, _BAR, _LEFT, _TOP = 460, 26, 9, 150, 40


def drift(result: Result | None, plot: Plot) -> Markup | None:
    """What every file came to against every reference; None when no drift was looked for."""
    found = result.evidence.get("drift") if result else None
    if not isinstance(found, Mapping) or not found:
        return None
    parts = [element("h3", "Drift")]
    for name, references in found.items():
        if not isinstance(references, Mapping):
            continue
        for place, facts in enumerate(references.values()):
            if isinstance(facts, Mapping):
                parts.append(_against(str(name), place, facts, plot))
    return join(parts)


def _against(name: str, place: int, facts: Mapping[str, Any], plot: Plot) -> Markup:
    columns = [one for one in _list(facts.get("columns")) if isinstance(one, Mapping)]
    drifted = [str(one) for one in _list(facts.get("drifted"))]
    words = (
        f"{name} against {facts.get('reference', '')}: {len(drifted)} of {facts.get('compared', 0)} columns moved by at least "
        f"{_float(facts.get('effect')):g}, with at most {_float(facts.get('false_alarms')):.2g} probability of any false alarm."
    )
    drawn = [one for one in columns if _list(one.get("labels"))][:_SHOWN]
    pictures = [
        plot(_file(name, place, number), picture(one, drifted=one.get("column") in drifted), described(one), "drift")
        for number, one in enumerate(drawn)
    ]
    return element("div", element("p", words), _table(columns, drifted), element("div", *pictures, class_="plots"))


def _table(columns: Sequence[Mapping[str, Any]], drifted: Sequence[str]) -> Markup:
    head = [element("th", "column"), *(element("th", one, class_="number") for one in ("moved by", "p", "PSI", "JS", "missing"))]
    rows = []
    for one in columns:
        distances = mapping(one.get("distances"))
        numbers = (
            f"{_float(one.get('effect')):.3f}",
            f"{_float(one.get('adjusted')):.2g}",
            _shown(distances.get("psi")),
            _shown(distances.get("js")),
            f"{_float(distances.get('missing_now')):.1%}",
        )
        sign = " drifted" if one.get("column") in drifted else ""
        rows.append(
            element(
                "tr",
                element("th", one.get("column", ""), element("small", f"{sign}{_news(one)}"), scope="row"),
                *(element("td", number, class_="number") for number in numbers),
            )
        )
    return element("table", element("thead", element("tr", *head)), element("tbody", *rows))


def _news(one: Mapping[str, Any]) -> str:
    fresh, gone = (", ".join(str(value) for value in _list(one.get(key))[:3]) for key in ("new", "vanished"))
    return (f"; new: {fresh}" if fresh else "") + (f"; vanished: {gone}" if gone else "")


def described(one: Mapping[str, Any]) -> str:
    """The picture in words."""
    pairs = zip(_list(one.get("labels")), _list(one.get("before")), _list(one.get("now")), strict=False)
    worst = max(pairs, key=lambda pair: abs(_float(pair[1]) - _float(pair[2])), default=("", 0, 0))
    told = f"most at {worst[0]}: {_float(worst[1]):.1%} before, {_float(worst[2]):.1%} now"
    return f"Drift of {one.get('column', '')}: moved by {_float(one.get('effect')):.3f}, {told}"


def picture(one: Mapping[str, Any], *, drifted: bool) -> Markup:
    """Shares before and now, two bars for each bin; the scale is that of the greatest."""
    labels = [str(label) for label in _list(one.get("labels"))]
    before, now = ([_float(value) for value in _list(one.get(key))] for key in ("before", "now"))
    height = _TOP + _ROW * len(labels) + 8
    most = max((*before, *now), default=0.0) or 1.0
    colour = plots.BAD if drifted else plots.CANDIDATE
    parts = [
        element("rect", x=0, y=0, width=_WIDTH, height=height, fill="#ffffff"),
        _words(8, 18, str(one.get("column", "")), fill=plots.INK, size=14),
        _words(8, 34, "grey before, coloured now", fill=plots.FAINT, size=11),
    ]
    for place, (label, old, new) in enumerate(zip(labels, before, now, strict=False)):
        top = _TOP + _ROW * place
        parts.append(
            _words(_LEFT - 8, top + 14, label if len(label) <= 20 else f"{label[:19]}…", fill=plots.INK, size=11, anchor="end")
        )
        for row, (share, fill) in enumerate(((old, "#b8c2cc"), (new, colour))):
            width = (_WIDTH - _LEFT - 60) * share / most
            parts.append(element("rect", x=_LEFT, y=top + row * (_BAR + 1), width=f"{width:.1f}", height=_BAR, fill=fill))
            parts.append(_words(_LEFT + width + 4, top + 8 + row * (_BAR + 1), f"{share:.1%}", fill=plots.FAINT, size=9))
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">'
        f"{join([element('title', described(one)), *parts])}</svg>\n"
    )


def _words(x: float, y: float, words: str, *, fill: str, size: int, anchor: str = "start") -> Markup:
    return element("text", words, x=f"{x:.1f}", y=y, fill=fill, font_size=size, font_family=plots.FONT, text_anchor=anchor)


def _file(name: str, place: int, number: int) -> str:
    """A name that no value can make strange."""
    return f"drift-{re.sub(r'[^A-Za-z0-9]', '-', name)}-{place}-{number}.svg"


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _shown(value: object) -> str:
    return f"{_float(value):.3f}" if value is not None else ""
