"""Scanners and the project's own checks, as they are configured."""

from __future__ import annotations

from typing import Literal

from mlpipeline.config.values import Duration, Section


class ScannerRule(Section, frozen=True):
    """How the findings of one scanner are judged."""

    policy: Literal["fail", "warn", "off"] = "fail"
    """``fail``: findings from ``fail_at`` on stop the release; ``warn``: they are only told; ``off``: it is not run."""
    fail_at: Literal["low", "medium", "high", "critical"] = "high"
    """The level from which findings count; all are told."""
    not_run: Literal["fail", "warn"] = "warn"
    """What it means that the scanner is not installed, breaks off, or takes too long. It is told either way, never as clean."""
    timeout: Duration = Duration(120)
    """How long it may take."""


class ModelFilesRule(ScannerRule, frozen=True):
    """As every scanner's, but what it could not look at stops the release."""

    not_run: Literal["fail", "warn"] = "fail"
    """As above."""


class Ignore(Section, frozen=True):
    """One finding that a person accepts until a day. Once that day is over it stops the release, needed or not."""

    id: str
    """The finding's id, as the gate told it."""
    reason: str
    """Why it is accepted."""
    person: str
    """Who accepted it."""
    expires: str
    """The last day on which it holds, such as ``2027-01-31``."""
    where: str = ""
    """A pattern of places such as ``tests/*``; empty: wherever it is found."""


class Security(Section, frozen=True):
    """What ``gate security`` looks at before a model is loaded or packaged."""

    model_files: ModelFilesRule = ModelFilesRule()
    """Our own look into every model file, never loading one: what it would import and run, and what cannot be read."""
    skops: ScannerRule = ScannerRule()
    """skops' allow-list of types, for ``.skops`` files."""
    picklescan: ScannerRule = ScannerRule()
    """A second opinion on pickles."""
    modelscan: ScannerRule = ScannerRule()
    """A third, on Keras and TensorFlow files too."""
    secrets: ScannerRule = ScannerRule()
    """detect-secrets, on what git tracks and what is packaged."""
    code: ScannerRule = ScannerRule(policy="off")
    """bandit, on the project's own Python code."""
    dependencies: ScannerRule = ScannerRule(policy="off")
    """pip-audit, or ``database``, on the locked requirements."""
    image: ScannerRule = ScannerRule(policy="off")
    """trivy or grype, on the image that ``package`` makes, before it is signed, written or pushed."""
    allow: tuple[str, ...] = ()
    """Names, or prefixes of them, that model files may import besides those of the model's requirements: ``mylib.layers``."""
    allow_code_by_value: bool = False
    """Whether a model file may carry Python code of its own, as cloudpickle stores classes of the training script. Nobody can
    say what such code does; put it into a module and into the package instead."""
    data: tuple[str, ...] = ()
    """Patterns of files in the model's folder that are plain data, whatever their format: ``*.vocab``."""
    database: str = ""
    """Advisories in OSV's format (its zip, a folder, or one JSON file) for ``dependencies``; empty: pip-audit asks."""
    ignore: tuple[Ignore, ...] = ()
    """Findings that are accepted, each by name, for a reason, by a person, until a day."""


class CheckRule(Section, frozen=True):
    """One of the project's own checks."""

    command: str = ""
    """A shell command, run at the project's root. ``{junit}`` and ``{sarif}`` stand for files that are collected when it writes
    them. Empty: the tool's own, when the project has it configured."""
    timeout: Duration = Duration(1800)
    """After this long it is ended, and has failed."""
    not_run: Literal["fail", "warn"] = "warn"
    """What it means that its tool is not installed."""
    enabled: bool = True
