"""Scores a holdout with a saved model, in the environment the model is served in, as a process of its own."""

from __future__ import annotations

from mlpipeline.adapters.scoring.holdout import Holdout, model_columns, read_holdout
from mlpipeline.adapters.scoring.outside import Job, Measurement, Side, measure_outside, project_python
from mlpipeline.adapters.scoring.process import Latency, Scored, score

__all__ = [
    "Holdout",
    "Job",
    "Latency",
    "Measurement",
    "Scored",
    "Side",
    "measure_outside",
    "model_columns",
    "project_python",
    "read_holdout",
    "score",
]
