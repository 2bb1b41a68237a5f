"""Whether a table has the columns and kinds of values it should have. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mlpipeline.core.expectations import Kind, nearest
from mlpipeline.errors import ConfigurationError

FITTING: Mapping[str, frozenset[Kind]] = {
    "integer": frozenset({"integer"}),
    "number": frozenset({"integer", "number", "float32"}),
    "string": frozenset({"string"}),
    "boolean": frozenset({"boolean"}),
    "timestamp": frozenset({"timestamp"}),
}
"""The kinds of columns that satisfy each name a configuration may use."""

MISSING_TEXTS = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL"),
    *("NaN", "None", "n/a", "nan", "null"),
)
"""What counts as missing in CSV: the list of ``pandas.read_csv``, because training most likely reads the file with it."""


class Finding(msgspec.Struct, frozen=True):
    """One rule of the schema: its name (``column.<name>`` or ``extra_columns``), whether it holds, one line."""

    rule: str
    holds: bool
    summary: str


def check_schema(wanted: Mapping[str, str], kinds: Mapping[str, Kind], *, extra: str, source: str) -> list[Finding]:
    """Compares the table's columns with the wanted ones.

    Args:
        wanted: Column name to one of the names in ``FITTING``; another name is a ConfigurationError.
        kinds: What the table has.
        extra: ``fail`` when no other columns may be there.
        source: Where the schema stands, for messages.
    """
    findings = []
    for name, kind in wanted.items():
        if kind not in FITTING:
            raise ConfigurationError(
                f"there is no kind of column {kind!r}",
                facts={"at": f"{source}.{name}", "kinds": ", ".join(FITTING)},
                tries=(f"{name}: {nearest(kind, FITTING) or 'number'}",),
            )
        findings.append(_check_column(name, kind, kinds))
    others = [name for name in kinds if name not in wanted]
    if extra == "fail":
        summary = (
            f"{len(others)} column(s) that the schema does not have: {', '.join(others[:10])}" if others else "no other columns"
        )
        findings.append(Finding("extra_columns", not others, summary))
    return findings


def _check_column(name: str, kind: str, kinds: Mapping[str, Kind]) -> Finding:
    rule = f"column.{name}"
    if name not in kinds:
        near = nearest(name, kinds)
        return Finding(rule, False, f"column {name} is missing" + (f"; did you mean {near}?" if near else ""))
    found = kinds[name]
    holds = found in FITTING[kind]
    shown = "number" if found == "float32" else found
    return Finding(rule, holds, f"column {name} holds {shown} values" + ("" if holds else f", wanted {kind}"))
