"""Trainings and sweeps, as they are configured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from mlpipeline.config.values import Duration, Positive, Section


class Train(Section, frozen=True):
    command: str
    """A shell command run at the project's root, in the project's own environment, such as ``dvc repro``."""
    timeout: Duration = Duration(4 * 3600)
    """After this long the training is ended, and the run fails."""
    model: str = "model"
    """Where the command leaves the MLflow model (a folder with an ``MLmodel`` file)."""
    metrics: str = ""
    """Optional JSON file of numbers the command leaves; logged to MLflow."""
    params: str = "params.yaml"
    """Optional YAML file of parameters; logged to MLflow when it exists."""
    sweep: Sweep | None = None
    """Several trainings with different parameters instead of one; the best on validation rows is the candidate."""


class Between(Section, frozen=True):
    """A range of a parameter to draw from."""

    low: float
    high: float
    log: bool = False
    """Draw evenly over the orders of magnitude."""
    whole: bool = False
    """Draw whole numbers."""


class Parameter(Section, frozen=True):
    """What one parameter of ``train.params`` may be: one of ``values``, or anything in ``between`` (random search only)."""

    values: tuple[str | int | float | bool, ...] = ()
    between: Between | None = None


class Sweep(Section, frozen=True):
    """Each trial is ``train.command`` in a copy of the project whose ``train.params`` file holds the trial's values."""

    metric: str
    """Name of a number in ``train.metrics``, measured on validation rows by the training itself, never on the holdout."""
    parameters: dict[str, Parameter] = {}
    """Dotted names in ``train.params``, such as ``fit.depth``, to what each may be."""
    larger_is_better: bool = True
    """Of that metric."""
    search: Literal["grid", "random"] = "grid"
    """``grid``: every combination of the values. ``random``: ``trials`` draws."""
    trials: Positive = 20
    """How many draws; a grid is cut off there only when it is larger, which is refused."""
    seed: int = 0
    """Of the draws."""
    workers: Annotated[int, Meta(ge=0)] = 0
    """Trials at the same time; 0: one per GPU that this call was given, without any one."""
