"""The model card as a page: no script, no inline style, so that any server may show it."""

from __future__ import annotations

from collections.abc import Iterator

from mlpipeline.core.model_card import Block, Told, blocks
from mlpipeline.reports.markup import Markup, element


def card_page(told: Told) -> bytes:
    """HTML of its own; ``style.css`` of a report beside it is used where there is one."""
    parts = list(blocks(told))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("title", parts[0].text),
        element("link", rel="stylesheet", href="style.css"),
    )
    body = element("body", element("main", element("section", *(part for block in parts for part in _parts(block)))))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode()


def _parts(block: Block) -> Iterator[Markup]:
    if block.level:
        yield element(f"h{block.level}", block.text)
    elif block.head:
        head = element("thead", element("tr", *(element("th", name) for name in block.head)))
        rows = (element("tr", *(element("td", cell) for cell in row)) for row in block.rows)
        yield element("table", head, element("tbody", *rows))
    else:
        for paragraph in block.text.split("\n\n"):
            yield element("p", paragraph)
