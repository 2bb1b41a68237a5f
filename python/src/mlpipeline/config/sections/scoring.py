"""Scoring of batches, as it is configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.sections.data import Expectation
from mlpipeline.config.values import Duration, Positive, Probability, Section, Share


class ScoreDrift(Section, frozen=True):
    """The new answers against those that they are to replace."""

    enabled: bool = True
    effect: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """Distance of the two distributions (0 to 1) from which they count as drifted, when chance alone does not explain it."""
    false_alarms: Probability = 0.001
    """Probability that any column of answers counts as drifted by chance alone."""
    verdict: Literal["fail", "inconclusive", "pass"] = "fail"
    """What drift comes to; anything but ``pass`` leaves the old output in place."""


class BatchScoring(Section, frozen=True):
    """How ``mlpipeline score`` predicts files, and what the answers must keep before they replace the old ones."""

    engine: Literal["process", "spark"] = "process"
    """``process``: one process of the model's own environment, piece by piece. ``spark``: a Spark session, for data beyond one
    machine."""
    spark: dict[str, str] = {}
    """Settings of the Spark session, such as ``spark.master``."""
    piece_rows: Positive = 50_000
    """Rows that are read, predicted and written at once; memory grows with it and not with the batch."""
    timeout: Duration = Duration(600)
    """How long loading the model, or predicting one piece, may take."""
    prediction: str = "prediction"
    """Name of the column of answers; several columns are named after it and their own names."""
    keep: tuple[str, ...] = ()
    """Columns of the input that go into the output beside the answers; empty: all."""
    missing_at_most: Share = 0.0
    """Share of answers that may be missing (null or NaN). Infinite ones never pass."""
    between: tuple[float | None, float | None] = (None, None)
    """Least and greatest answer, both allowed; ``null``: no limit on that side."""
    classes: tuple[str, ...] = ()
    """The answers that may occur, as text; empty: any."""
    drift: ScoreDrift = ScoreDrift()
    expect: tuple[Expectation, ...] = ()
    """Expectations that the new output must meet, as in ``data.files``."""
    suite: str = ""
    """File of a Great Expectations suite that the new output must meet."""
