"""The effective configuration as a table for people or JSON for programs."""

from __future__ import annotations

from mlpipeline.config.load import Loaded, leaves
from mlpipeline.config.shape import dotted, in_yaml


def table(loaded: Loaded, *, as_json: bool = False) -> str:
    """Every effective value and the layer that set it."""
    rows = []
    for way, value in leaves(loaded.config):
        name = dotted(way)
        origin = loaded.origins[name]
        rows.append((name, in_yaml(value), str(origin.layer), origin.where))
    if as_json:
        import msgspec

        keys = ("value", "layer", "where")
        plain = {row[0]: {key: text for key, text in zip(keys, row[1:], strict=True) if text} for row in rows}
        return msgspec.json.format(msgspec.json.encode(plain)).decode()
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = []
    for name, value, layer, where in rows:
        came = f"{layer} ({where})" if where else layer
        lines.append(f"{name:<{widths[0]}}  {value:<{min(widths[1], 40)}}  {came}")
    lines.extend(f"note: {warning}" for warning in loaded.warnings)
    return "\n".join(lines)
