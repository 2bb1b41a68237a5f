"""The model card: what a person should know before relying on the model, from the record alone (Markdown)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mlpipeline.core.sbom import Metric, Modelled


class Told(msgspec.Struct, frozen=True):
    """What the card is made of.

    Args:
        gates: Verb, verdict and summary of what was judged before the package was made.
        words: What the project itself says of the model (Markdown); empty: nothing.
    """

    model: Modelled
    run: str
    requester: str = ""
    reason: str = ""
    gates: tuple[tuple[str, str, str], ...] = ()
    words: str = ""


class Block(msgspec.Struct, frozen=True):
    """A heading, paragraphs or a table of the card.

    Args:
        level: Of the heading; 0: none.
        text: Of the heading or the paragraph. Words of the project are Markdown, everything else is plain.
        head: Of the table.
    """

    text: str = ""
    level: int = 0
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    own: bool = False
    """Written by the project, not by the worker."""


def blocks(told: Told) -> Iterator[Block]:
    """The card's parts in order."""
    model = told.model
    yield Block(f"Model card: {model.service}", 1)
    changes = " with uncommitted changes" if model.dirty else ""
    yield Block(f"Package {model.digest}, made in run {told.run} from commit {model.commit}{changes}.")
    if told.words.strip():
        yield Block(told.words.strip(), own=True)
    yield from _facts(told)
    yield from _data(model)
    yield from _performance(model)
    if told.gates:
        yield Block("What was judged", 2)
        yield Block(head=("gate", "verdict", "why"), rows=told.gates)
    if model.params:
        yield Block("Parameters of the training", 2)
        yield Block(head=("parameter", "value"), rows=tuple(sorted(model.params.items())))
    yield Block("What this card does not say", 2)
    yield Block(
        "All but the project's own words is made from the record of the release: what was measured, on which data, and what was "
        "decided. What the model is meant for, and for whom it was not tried, only the people who made it can say."
    )


def card(told: Told) -> str:
    """The card as Markdown, with a final newline."""
    lines: list[str] = []
    for block in blocks(told):
        if block.level:
            lines += [f"{'#' * block.level} {_text(block.text)}", ""]
        elif block.head:
            lines += [f"| {' | '.join(block.head)} |", f"|{'---|' * len(block.head)}"]
            lines += [f"| {' | '.join(_text(cell) for cell in row)} |" for row in block.rows]
            lines.append("")
        else:
            lines += [block.text if block.own else _text(block.text), ""]
    return "\n".join(lines)


def _facts(told: Told) -> Iterator[Block]:
    model = told.model
    rows = {
        "loaded by": model.flavour,
        "inputs": ", ".join(model.inputs),
        "outputs": ", ".join(model.outputs),
        "Python": model.python,
        "digest of the model": model.model,
        "asked for by": told.requester,
        "reason": told.reason,
    }
    yield Block("The model", 2)
    yield Block(head=("what", "value"), rows=tuple((name, value) for name, value in rows.items() if value))


def _data(model: Modelled) -> Iterator[Block]:
    yield Block("Data", 2)
    rows = tuple(sorted(model.data.items())) + ((("rows it was judged on", model.holdout),) if model.holdout else ())
    yield Block(head=("file", "version"), rows=rows) if rows else Block("No data version was recorded.")


def _performance(model: Modelled) -> Iterator[Block]:
    yield Block("How it did", 2)
    if not model.metrics:
        yield Block("Nothing was measured.")
        return
    if model.champion:
        yield Block(f"Compared with {model.champion} on the same rows.")
    yield Block(head=("metric", "rows", "value", "interval"), rows=tuple(_row(one) for one in model.metrics))


def _row(one: Metric) -> tuple[str, str, str, str]:
    bounds = "" if one.low is None and one.high is None else f"{_number(one.low)} to {_number(one.high)}"
    return one.name, one.slice or "all", _number(one.value), bounds


def _text(value: str) -> str:
    """One line that cannot end the cell, the table, or become markup."""
    flat = " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return flat.replace("|", "\\|")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
