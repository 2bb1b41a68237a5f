"""A request of as many rows as wanted, made of one with fewer."""

from __future__ import annotations

import json
from typing import Any


def repeated(example: bytes, rows: int) -> bytes:
    """A request of so many rows: those of the example, over and over."""

    def filled(values: Any) -> Any:
        if isinstance(values, dict):
            return {name: filled(column) for name, column in values.items()}
        return [values[index % len(values)] for index in range(rows)] if isinstance(values, list) and values else values

    request = json.loads(example)
    for name, value in request.items():
        if name == "dataframe_split":
            request[name] = {"columns": value["columns"], "data": filled(value["data"])}
        elif name != "params":
            request[name] = filled(value)
    return json.dumps(request).encode()
