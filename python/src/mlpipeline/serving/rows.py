"""The short way for the commonest request: complete rows of plain values, exactly as the signature wants them.

MLflow builds, casts and checks a data frame column by column, which takes longer than many models. Where nothing needs casting
the same frame can be built at once. Whatever is not plainly such a request (another form, a column more or less, a value of
another type, a signature with more than numbers, texts and booleans) is left to MLflow, so that it alone says what is an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import pandas
    from mlflow.types import Schema

SPLIT = "dataframe_split"
RECORDS = "dataframe_records"
NULL = type(None)
#: The exact types of JSON values that need no cast for a column of this MLflow type, and the type of the column in NumPy.
PLAIN: dict[str, tuple[frozenset[type], str]] = {
    "double": (frozenset({float, int, NULL}), "float64"),
    "long": (frozenset({int}), "int64"),
    "string": (frozenset({str}), "object"),
    "boolean": (frozenset({bool}), "bool"),
}


class RowReader:
    """Reads plain requests for one signature.

    Args:
        names: The signature's columns in its order.
        types: Their MLflow types, all of them in ``PLAIN``.
    """

    def __init__(self, names: Sequence[str], types: Sequence[str]) -> None:
        import pandas

        self._names = tuple(names)
        self._known = frozenset(names)
        self._accepted = tuple(PLAIN[one][0] for one in types)
        self._stored = tuple(PLAIN[one][1] for one in types)
        self.only_numbers = set(types) == {"double"}
        self._index = pandas.Index(self._names)

    def read(self, body: bytes) -> pandas.DataFrame | None:
        """The frame that MLflow would hand to the model, or nothing when the request is not a plain one."""
        try:
            rows = self.rows(body)
            return self.frame(rows) if rows else None
        except (ValueError, TypeError, OverflowError):
            return None

    def rows(self, body: bytes) -> list[list[Any]] | None:
        """The rows of a plain request, in the signature's order and of its types, or nothing when it is not one."""
        try:
            content = json.loads(body)
            rows = self._rows(content) if type(content) is dict and len(content) == 1 else None
            return rows if rows and self._plain(rows) else None
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None

    def frame(self, rows: list[list[Any]]) -> pandas.DataFrame:
        """Plain rows as the frame that MLflow would hand to the model. Raises OverflowError for numbers that fit no column."""
        import numpy
        import pandas

        if self.only_numbers:
            return pandas.DataFrame(numpy.array(rows, dtype="float64"), columns=self._index)
        columns = zip(*rows, strict=True)
        arrays = {
            name: numpy.array(column, dtype=stored)
            for name, column, stored in zip(self._names, columns, self._stored, strict=True)
        }
        return pandas.DataFrame(arrays)

    def _rows(self, content: dict[str, Any]) -> list[list[Any]] | None:
        """The values in the signature's order."""
        if type(split := content.get(SPLIT)) is dict and split.keys() == {"columns", "data"}:
            return self._from_split(split["columns"], split["data"])
        if type(records := content.get(RECORDS)) is list and all(
            type(row) is dict and row.keys() == self._known for row in records
        ):
            return [[row[name] for name in self._names] for row in records]
        return None

    def _from_split(self, columns: Any, data: Any) -> list[list[Any]] | None:
        width = len(self._names)
        if type(columns) is not list or type(data) is not list or len(columns) != width or set(columns) != self._known:
            return None
        if not all(type(row) is list and len(row) == width for row in data):
            return None
        if tuple(columns) == self._names:
            return data
        order = [columns.index(name) for name in self._names]
        return [[row[place] for place in order] for row in data]

    def array(self, rows: list[list[Any]]) -> numpy.ndarray[Any, Any]:
        """Plain rows without the columns' names; only for signatures of numbers."""
        import numpy

        return numpy.array(rows, dtype="float64")

    def _plain(self, rows: list[list[Any]]) -> bool:
        if self.only_numbers:
            return self._accepted[0].issuperset(map(type, chain.from_iterable(rows)))
        columns = zip(*rows, strict=True)
        return all(accepted.issuperset(map(type, column)) for accepted, column in zip(self._accepted, columns, strict=True))


def reader_for(schema: Schema | None) -> RowReader | None:
    """A reader for this signature, or nothing when it has optional, unnamed or nested columns or types that may need a cast."""
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return None
    types = [getattr(one, "name", "") for one in schema.input_types()]
    if any(one not in PLAIN for one in types) or list(schema.required_input_names()) != list(schema.input_names()):
        return None
    return RowReader(schema.input_names(), types)
