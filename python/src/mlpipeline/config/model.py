"""The shape of ``mlpipeline.yaml``. The JSON schema and the reference page are generated from these models.

Every field has a default except ``service`` and ``train.command``, so that the smallest file has three lines. Units are
part of the value (``30s``, ``2h``, ``512MiB``), never of the key.
"""

from __future__ import annotations

from mlpipeline.config.sections.data import Data
from mlpipeline.config.sections.deploy import Deploy
from mlpipeline.config.sections.model_gate import ModelGate
from mlpipeline.config.sections.night import Nightly
from mlpipeline.config.sections.packaging import Image, Package
from mlpipeline.config.sections.records import Ledger, Signing, Tracking
from mlpipeline.config.sections.rollout import Approval, Rollout
from mlpipeline.config.sections.scoring import BatchScoring
from mlpipeline.config.sections.security import CheckRule, Security
from mlpipeline.config.sections.staging import Staging
from mlpipeline.config.sections.target import Target
from mlpipeline.config.sections.training import Train
from mlpipeline.config.sections.verification import Verify
from mlpipeline.config.values import Name, Section


class Config(Section, frozen=True):
    """The whole file."""

    service: Name
    """Its name: in the registry, the metrics, the ledger and the state folder."""
    train: Train
    """How a model is made."""
    data: Data = Data()
    """What the data must keep before anything is trained."""
    gate: ModelGate = ModelGate()
    """What a model must keep before it is packaged."""
    security: Security = Security()
    """What is looked for in model files, secrets, code and dependencies."""
    checks: dict[str, CheckRule] = {}
    """The project's own lint, types and tests, by name. ``lint``, ``types`` and ``tests`` are ruff, mypy and pytest where the
    project has them configured; other names are commands of yours."""
    package: Package = Package()
    """What goes into the package besides the model."""
    image: Image = Image()
    """The container image of the package."""
    tracking: Tracking = Tracking()
    """Where MLflow keeps trainings and versions."""
    target: Target = Target()
    """Where the service runs."""
    signing: Signing = Signing()
    """Who signs what is said of a package, and whose signatures count."""
    ledger: Ledger = Ledger()
    """Where decisions are kept."""
    approval: Approval = Approval()
    """Who must agree."""
    deploy: Deploy = Deploy()
    """What a deployed candidate must answer before anybody reaches it."""
    rollout: Rollout = Rollout()
    """How users are moved."""
    staging: Staging | None = None
    """The environment in front of production; absent: there is none."""
    verify: Verify = Verify()
    """How candidate and champion are compared while that happens."""
    score: BatchScoring = BatchScoring()
    """How files are predicted by ``mlpipeline score``."""
    nightly: Nightly = Nightly()
    """What is looked at every night."""
