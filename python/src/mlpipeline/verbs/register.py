"""``register``: makes the bundle's model a version in the registry, with its lineage, and calls it ``candidate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlpipeline.core.verdict import Verdict
from mlpipeline.ports import ModelVersion
from mlpipeline.record.attestations import CARD, CARD_PAGE, PROVENANCE, SBOM, Attestations
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.attesting import newest_entry
from mlpipeline.verbs.context import Context

VERB = "register"
CANDIDATE = "candidate"


def run(context: Context, run: Run) -> Result:
    """Registers the model once per bundle and run, and moves the alias ``candidate`` to it.

    Raises EnvironmentFault when MLflow cannot be reached; nothing is lost, the next call goes on.
    """
    started = context.clock.monotonic()
    trained = context.needed(run, "train", VERB).evidence
    packaged = context.needed(run, "package", VERB).evidence
    name, registry = context.config.service, context.world.registry()
    version = registry.register(
        name,
        Path(str(packaged["path"])) / "model",
        _tags(context, run, trained, packaged),
        msgspec.convert(trained.get("metrics", {}), dict[str, float]),
        msgspec.convert(trained.get("params", {}), dict[str, str]),
    )
    if CANDIDATE not in version.aliases:
        registry.set_alias(name, CANDIDATE, version.version)
    _describe(context, run, version, str(packaged["digest"]))
    evidence = {"name": name, "version": version.version}
    previous = context.runs.result(run.id, VERB)
    if previous is not None and previous.verdict is Verdict.PASS and previous.evidence == evidence:
        context.console.say(f"register: nothing to do, this is version {version.version} of {name}")
        return previous
    reason = Reason(check=VERB, verdict=Verdict.PASS, summary=f"version {version.version} of {name}, alias {CANDIDATE}")
    return context.finish(
        run,
        VERB,
        started,
        [reason],
        evidence=evidence,
        facts={"model_version": version.version, "digest": str(packaged["digest"])},
    )


def _describe(context: Context, run: Run, version: ModelVersion, digest: str) -> None:
    """The model card as description, and with SBOM and provenance beside the model."""
    place = Attestations(context.places, digest, run.id)
    names = [name for name in (SBOM, PROVENANCE, CARD, CARD_PAGE) if place.has(name)]
    if CARD in names:
        files = {name: place.read(name) for name in names}
        context.world.registry().describe(version.name, version.version, files[CARD].decode(), files)


def _tags(context: Context, run: Run, trained: Mapping[str, object], packaged: Mapping[str, object]) -> dict[str, str]:
    return {
        "mlpipeline.run": run.id,
        "mlpipeline.digest": str(packaged["digest"]),
        "mlpipeline.model": str(trained.get("model_digest", "")),
        "mlpipeline.service": context.config.service,
        "mlpipeline.commit": str(trained.get("commit", run.commit)),
        "mlpipeline.dirty": str(trained.get("dirty", run.dirty)),
        "mlpipeline.data_version": msgspec.json.encode(trained.get("data_version", {}), order="sorted").decode(),
        "mlpipeline.record": str(context.runs.folder(run.id)),
        # Outside of this machine: entries that are cut off the ledger later show.
        "mlpipeline.ledger": "{}:{}".format(*newest_entry(context)),
    }
