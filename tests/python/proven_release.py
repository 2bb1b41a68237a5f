"""A package with everything that is said of it, made within a blink: a real bundle of small files, real keys, real ledger."""

from __future__ import annotations

from pathlib import Path

from fakes import FakeWorld
from mlpipeline.adapters.bundle import Built, Digests, build
from mlpipeline.config.sections.records import PublicKey, Signing
from mlpipeline.core.verdict import Verdict
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.attesting import Packaged, attest
from mlpipeline.verbs.context import Context
from signing_keys import make_pair

MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.7}
signature:
  inputs: '[{"type": "double", "name": "distance", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "str", "shape": [-1]}}]'
"""
LOCK = "# python 3.11 on linux-x86_64\nnumpy==2.0.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"


class Proven:
    """A service that signs with ``release.key``, and one package of it.

    Args:
        config: Anything but the defaults, by section.
    """

    def __init__(self, folder: Path, kind: str = "ed25519", **config: object) -> None:
        project = folder / "project"
        make_pair(project, kind=kind)
        signing = Signing(key="release.key", keys=(PublicKey(file="release.pub"),))
        self.world = FakeWorld(folder, **{"signing": signing, **config})
        self.run = self.begin("r1")
        self.built = self.package(self.run)

    @property
    def context(self) -> Context:
        return self.world.context()

    @property
    def digest(self) -> str:
        return self.built.manifest.digest

    @property
    def place(self) -> Path:
        return self.world.places.attestations / self.digest.removeprefix("sha256:") / self.run.id

    def begin(self, name: str, commit: str = "c" * 40) -> Run:
        context = self.context
        run = context.runs.create(
            Run(id=name, service="iris", commit=commit, created="2026-03-01T02:59:00Z", config=f"sha256:{'d' * 64}")
        )
        data = {"rows.csv": f"md5:{'1' * 32}"}
        self.passed(run, "gate-data", data_version=data)
        return run

    def passed(self, run: Run, verb: str, **evidence: object) -> Result:
        reason = Reason(verb, Verdict.PASS, f"{verb} is well")
        facts = {"digest": str(evidence["digest"])} if "digest" in evidence else {}
        context = self.context
        return context.finish(run, verb, context.clock.monotonic(), [reason], evidence=evidence, facts=facts)

    def package(self, run: Run, model: str = "weights") -> Built:
        context, source = self.context, self.world.places.project / "made"
        source.mkdir(parents=True, exist_ok=True)
        (source / "MLmodel").write_text(MLMODEL)
        (source / "weights.bin").write_text(model)
        files = {"model/MLmodel": source / "MLmodel", "model/weights.bin": source / "weights.bin"}
        digests = Digests(context.places.work / "digests.json")
        built = build(
            context.places.bundles, files, {"requirements.lock": LOCK}, lock=f"sha256:{'2' * 64}", python="3.11", digests=digests
        )
        self.passed(
            run,
            "train",
            model_digest=built.manifest.part("model"),
            params={"trees": "10"},
            metrics={"auc": 0.75},
            data_version={"rows.csv": f"md5:{'1' * 32}"},
        )
        self.passed(run, "gate-model", metrics=[{"name": "accuracy", "slice": "origin=JFK", "candidate": 0.9, "rows": 60}])
        self.attest(run, built)
        self.passed(run, "package", digest=built.manifest.digest, path=str(built.path), python="")
        return built

    def attest(self, run: Run, built: Built) -> dict[str, str]:
        return attest(
            self.context,
            run,
            Packaged(
                digest=built.manifest.digest, path=str(built.path), lock_digest=built.manifest.lock, lock=LOCK, python="3.11"
            ),
        )

    def deployed(self) -> None:
        self.passed(self.run, "register", version="3")
        self.passed(self.run, "deploy", digest=self.digest, model_version="3", colour="green")
