"""What a deployed candidate must answer before any user or copy reaches it, as it is configured."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from mlpipeline.config.values import Positive, Section

Tolerance = Annotated[float, Meta(ge=0)]


class FieldTolerance(Section, frozen=True):
    absolute: Tolerance | None = None
    """How far a number may be from the expected one; absent: as for all fields."""
    relative: Tolerance | None = None
    """The same as a part of the expected number; the wider of both counts."""


class Golden(Section, frozen=True):
    file: str = ""
    """JSON lines, each with a ``request`` and the ``expected`` answer, and a ``tolerance`` of its own if it needs one."""
    absolute: Tolerance = 0.0
    """How far a number may be from the expected one."""
    relative: Tolerance = 1e-6
    """The same as a part of the expected number; the wider of both counts."""
    fields: dict[str, FieldTolerance] = {}
    """Other tolerances for single fields of a prediction, by name."""
    class_only: bool = False
    """Whether only the predicted class is compared: of a list of scores the place of the largest, of one score between 0 and 1
    on which side of ``threshold`` it lies."""
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    """For ``class_only``: from which score on a single number means yes."""


class WarmUp(Section, frozen=True):
    file: str = ""
    """JSON lines, each a scoring request."""
    rows: Annotated[int, Meta(ge=0, le=100000)] = 0
    """So many rows each request is filled up to, by repeating its own: the largest batch that users send; 0: as it is."""
    rounds: Annotated[int, Meta(ge=2, le=1000)] = 3
    """How often the file is sent; the first and the last round are told apart."""


class Deploy(Section, frozen=True):
    warm_up: WarmUp = WarmUp()
    """Requests that a cold model answers first."""
    golden: Golden = Golden()
    """Requests whose answers are known."""
    shown: Positive = 10
    """How many wrong answers a result names; all are counted."""
