"""Where things are kept. One module, so that no other composes these paths.

Two roots: the *project* folder holds what belongs to this checkout (``.mlpipeline/``), the *state* folder what outlives
every checkout and build (``$MLPIPELINE_HOME``, else ``~/.mlpipeline``): ledger, bundles, environments, the local target.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec


class Places(msgspec.Struct, frozen=True):
    """Args:
    kept: Where the state of the service is, when its target says that it is not below ``home``.
    """

    project: Path
    home: Path
    service: str
    kept: Path | None = None

    @property
    def work(self) -> Path:
        """Of this checkout; never committed."""
        return self.project / ".mlpipeline"

    @property
    def runs(self) -> Path:
        return self.work / "runs"

    def run(self, run: str) -> Path:
        return self.runs / run

    def shown(self, verb: str) -> Path:
        """The newest result of a verb that belongs to no run."""
        return self.work / "results" / f"{verb}.json"

    @property
    def state(self) -> Path:
        """Of this service on this machine."""
        return self.kept or self.home / "services" / self.service

    @property
    def ledger(self) -> Path:
        """The ledger's entries line by line; the SQLite file that they stand in is ``ledger.db`` beside it."""
        return self.state / "ledger.jsonl"

    def shared_ledger(self, name: str) -> Path:
        """What this machine has seen of a ledger that it shares with others.

        Args:
            name: Of that ledger, one word.
        """
        return self.state / f"ledger-{name}.jsonl"

    @property
    def records(self) -> Path:
        """What is kept of runs whose folders were removed; nothing removes it."""
        return self.state / "records"

    @property
    def journal(self) -> Path:
        """The release in progress: intents written before each effect."""
        return self.state / "release.json"

    @property
    def lease(self) -> Path:
        """Held by the one worker that may change what users of this service get."""
        return self.state / "lease"

    @property
    def making(self) -> Path:
        """Held by the one run that makes a release of this service, also while it trains."""
        return self.state / "making"

    @property
    def target(self) -> Path:
        """What the local target keeps: router files, process records, logs, its Prometheus."""
        return self.state / "local"

    @property
    def docker(self) -> Path:
        """What the docker target keeps on its host: the router's files and its Prometheus. Who runs, its containers tell."""
        return self.state / "docker"

    @property
    def tracking(self) -> Path:
        """The default MLflow database and artifacts."""
        return self.state / "mlflow"

    @property
    def bundles(self) -> Path:
        """Content-addressed packages of all services: ``bundles/<hex digest>/``."""
        return self.home / "bundles"

    @property
    def attestations(self) -> Path:
        """What is said of packages: ``attestations/<hex digest>/<run>/`` with SBOM, provenance, approvals, model card, record."""
        return self.home / "attestations"

    @property
    def environments(self) -> Path:
        """Installed serving environments: ``environments/<hex digest of the lock>/``."""
        return self.home / "environments"

    @property
    def images(self) -> Path:
        """What images are made of: bases and layers by digest, and what was measured of them."""
        return self.home / "images"


def home_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The state folder: ``$MLPIPELINE_HOME`` when set, else ``.mlpipeline`` in the user's home."""
    chosen = (os.environ if environment is None else environment).get("MLPIPELINE_HOME", "")
    return Path(chosen).absolute() if chosen else Path.home() / ".mlpipeline"
