"""Summaries of columns that can be merged and written down: a window of live traffic, a file, a hundred million rows.

Numbers are counted over a fixed grid of about two thousand quantiles of the reference, so that two summaries over one grid
are compared at its edges without the rows. Categories are counted exactly while they are few; all of them are also counted in
groups by a hash of their text, which is what is compared once they are many. Merging adds counts: any order, any number.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

EDGES = 2047
"""Edges of a grid at most; a distance between distributions is off by less than one in two thousand."""
GROUPS = 1024
"""Groups that categories are counted in by hash."""
MOST_VALUES = 4096
"""Different categories that are counted one by one."""


class Sketch(msgspec.Struct, frozen=True):
    """One column.

    Args:
        rows: All rows, missing ones included.
        edges: Of numbers, strictly ascending; bin ``i`` holds what is above edge ``i-1`` and not above edge ``i``.
        counts: Rows in each of the ``len(edges) + 1`` bins of numbers.
        low: The least finite number, and the greatest; absent without any.
        values: Rows by category, when they are all known.
        groups: Rows by hash of the category.
        whole: Whether ``values`` names every category that occurs.
    """

    kind: Literal["number", "category"]
    rows: int
    missing: int
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    values: dict[str, int] = {}
    groups: tuple[int, ...] = ()
    whole: bool = True

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def grid(self) -> tuple[float, ...] | None:
        """What another window must be counted over to be compared; None for categories."""
        return self.edges if self.kind == "number" else None


def grid(sample: Any) -> tuple[float, ...]:
    """Edges from a sample of numbers (a float array): each value its own bin while they are few, else quantiles."""
    import numpy as np

    finite = np.sort(sample[np.isfinite(sample)])
    if not finite.size:
        return ()
    different = finite[np.concatenate(([True], finite[1:] != finite[:-1]))]
    if different.size <= EDGES:
        return tuple(different.tolist())
    places = np.linspace(0, finite.size - 1, EDGES).astype(np.int64)
    return tuple(np.unique(finite[places]).tolist())


class NumberTally:
    """Counts numbers over the edges, piece by piece. NaN is missing; infinities are in the outermost bins."""

    def __init__(self, edges: Sequence[float]) -> None:
        import numpy as np

        self._edges = np.asarray(edges, dtype=np.float64)
        self._counts = np.zeros(len(self._edges) + 1, dtype=np.int64)
        self._rows = self._missing = 0
        self._low, self._high = np.inf, -np.inf

    def add(self, values: Any) -> None:
        """A float array."""
        import numpy as np

        self.add_sorted(np.sort(np.asarray(values, dtype=np.float64)))

    def add_sorted(self, values: Any) -> None:
        """A float array that is sorted already, NaN last."""
        import numpy as np

        start, end, filled = (int(np.searchsorted(values, *end)) for end in ((-np.inf, "right"), (np.inf,), (np.inf, "right")))
        below = np.searchsorted(values[:filled], self._edges, side="right")
        self._counts += np.diff(np.concatenate(([0], below, [filled])))
        self._rows += values.size
        self._missing += values.size - filled
        if start < end:
            self._low, self._high = min(self._low, float(values[start])), max(self._high, float(values[end - 1]))

    def sketch(self) -> Sketch:
        known = self._low <= self._high
        return Sketch(
            "number",
            self._rows,
            self._missing,
            tuple(self._edges.tolist()),
            tuple(self._counts.tolist()),
            self._low if known else None,
            self._high if known else None,
        )


class CategoryTally:
    """Counts categories, piece by piece."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}
        self._groups = [0] * GROUPS
        self._missing = 0
        self._whole = True

    def add(self, counted: Mapping[str, int], missing: int = 0) -> None:
        """Rows by category, and rows without one."""
        self._missing += missing
        for value, times in counted.items():
            self._groups[zlib.crc32(value.encode(errors="surrogatepass")) % GROUPS] += times
            if value in self._values or len(self._values) < MOST_VALUES:
                self._values[value] = self._values.get(value, 0) + times
            else:
                self._whole = False

    def sketch(self) -> Sketch:
        return Sketch(
            "category",
            sum(self._groups) + self._missing,
            self._missing,
            values=self._values if self._whole else {},
            groups=tuple(self._groups),
            whole=self._whole,
        )


def of_numbers(values: Any, edges: Sequence[float]) -> Sketch:
    """The summary of one float array over the edges."""
    tally = NumberTally(edges)
    tally.add(values)
    return tally.sketch()


def of_categories(counted: Mapping[str, int], missing: int = 0) -> Sketch:
    """The summary of rows by category."""
    tally = CategoryTally()
    tally.add(counted, missing)
    return tally.sketch()


def merged(one: Sketch, other: Sketch) -> Sketch:
    """The summary of both. Raises ValueError when they are of different kinds or over different grids."""
    if one.kind != other.kind or one.edges != other.edges:
        raise ValueError("summaries of different kinds or over different grids cannot be merged")
    values = dict(one.values)
    for value, times in other.values.items():
        values[value] = values.get(value, 0) + times
    whole = one.whole and other.whole and len(values) <= MOST_VALUES
    ends = [value for sketch in (one, other) for value in (sketch.low, sketch.high) if value is not None]
    return Sketch(
        one.kind,
        one.rows + other.rows,
        one.missing + other.missing,
        one.edges,
        tuple(first + second for first, second in zip(one.counts, other.counts, strict=True)),
        min(ends, default=None),
        max(ends, default=None),
        values if whole else {},
        tuple(first + second for first, second in zip(one.groups, other.groups, strict=True)),
        whole,
    )


def encode(sketches: Mapping[str, Sketch]) -> bytes:
    """The summaries of a file's columns as compressed JSON."""
    from gzip import compress

    return compress(msgspec.json.encode(sketches), 6, mtime=0)


def decode(content: bytes) -> dict[str, Sketch]:
    """What :func:`encode` wrote. Raises ValueError for anything else."""
    from gzip import decompress

    try:
        return msgspec.json.decode(decompress(content), type=dict[str, Sketch])
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"these are no summaries of columns: {error}") from error
