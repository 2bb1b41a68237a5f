"""The model card: what a person should know before relying on the model, from the record alone (Markdown)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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


def card(told: Told) -> str:
    """The card, with a final newline."""
    return "\n".join([*_lines(told), ""])


def _lines(told: Told) -> Iterator[str]:
    model = told.model
    yield f"# Model card: {_text(model.service)}"
    yield ""
    yield f"Package `{model.digest}`, made in run {_text(told.run)} from commit `{model.commit}`" + (
        " with uncommitted changes." if model.dirty else "."
    )
    yield ""
    if told.words.strip():
        yield told.words.strip()
        yield ""
    yield from _facts(told)
    yield from _data(model)
    yield from _performance(model)
    yield from _gates(told)
    yield from _parameters(model)
    yield "## What this card does not say"
    yield ""
    yield "It is made from the record of the release: what was measured, on which data, and what was decided. What the"
    yield "model is meant for, and for whom it was not tried, only the people who made it can say."


def _facts(told: Told) -> Iterator[str]:
    model = told.model
    yield "## The model"
    yield ""
    rows = {
        "loaded by": model.flavour,
        "inputs": ", ".join(model.inputs),
        "outputs": ", ".join(model.outputs),
        "Python": model.python,
        "digest of the model": model.model,
        "asked for by": told.requester,
        "reason": told.reason,
    }
    yield from _table(("what", "value"), [(name, value) for name, value in rows.items() if value])


def _data(model: Modelled) -> Iterator[str]:
    yield "## Data"
    yield ""
    rows = [(path, version) for path, version in sorted(model.data.items())]
    if model.holdout:
        rows.append(("rows it was judged on", model.holdout))
    yield from _table(("file", "version"), rows) if rows else iter(["No data version was recorded.", ""])


def _performance(model: Modelled) -> Iterator[str]:
    yield "## How it did"
    yield ""
    if not model.metrics:
        yield "Nothing was measured."
        yield ""
        return
    if model.champion:
        yield f"Compared with `{model.champion}` on the same rows."
        yield ""
    yield from _table(("metric", "rows", "value", "interval"), [_row(one) for one in model.metrics])


def _row(one: Metric) -> tuple[str, str, str, str]:
    bounds = "" if one.low is None and one.high is None else f"{_number(one.low)} to {_number(one.high)}"
    return one.name, one.slice or "all", _number(one.value), bounds


def _gates(told: Told) -> Iterator[str]:
    if told.gates:
        yield "## What was judged"
        yield ""
        yield from _table(("gate", "verdict", "why"), list(told.gates))


def _parameters(model: Modelled) -> Iterator[str]:
    if model.params:
        yield "## Parameters of the training"
        yield ""
        yield from _table(("parameter", "value"), sorted(model.params.items()))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"
    yield ""


def _text(value: str) -> str:
    """One line that cannot end the cell, the table, or become markup."""
    flat = " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return flat.replace("|", "\\|")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
