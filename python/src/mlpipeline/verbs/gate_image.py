"""The look into the container image, asked by ``package`` when the image is complete and nobody has it yet."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlpipeline.adapters.oci.layout import borrowed_layout
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import Failed
from mlpipeline.ports import Scanned
from mlpipeline.record.files import write_atomically
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.gate_security import FOLDER
from mlpipeline.verbs.scanning import Outcome, accepted_in, evidence_of, outcome_of, reason_of, rule_of, sarif_of, surroundings

if TYPE_CHECKING:
    from mlpipeline.adapters.oci.image import Image

VERB = "gate-image"
_SCANNER = "image"
_SARIF = f"{FOLDER}/image.sarif"


def wanted(context: Context) -> bool:
    """Whether the configuration asks for it."""
    return rule_of(context, _SCANNER).policy != "off"


def require(context: Context, run: Run, image: Image) -> None:
    """Asks trivy or grype what the image has in it, as a result of its own.

    What was found before of this image, and is found again, is not written again: the provenance names the result by its digest.

    Raises Failed when what was found stops the release, and EnvironmentFault when the disk is full.
    """
    started = context.clock.monotonic()
    outcome = _looked(context, image)
    reason = reason_of(outcome)
    evidence = {"image_digest": image.digest, "scanners": {_SCANNER: evidence_of(outcome)}}
    previous = context.runs.result(run.id, VERB)
    if previous is None or (previous.evidence, previous.summary, previous.verdict) != (evidence, reason.summary, reason.verdict):
        write_atomically(context.runs.folder(run.id) / _SARIF, sarif_of([outcome]))
        context.finish(run, VERB, started, [reason], evidence=evidence, facts={"image": image.digest}, links={"sarif": _SARIF})
    if reason.verdict is not Verdict.PASS:
        raise Failed(
            "what trivy or grype said of the image stops it, it was not published",
            facts={"image": image.digest, "gate image": reason.summary},
            tries=(
                f"read {_SARIF} in the run's folder",
                "take a newer base or newer requirements, then mlpipeline package",
                "accept a finding by name in security.ignore, for a reason, until a day",
            ),
        )


def _looked(context: Context, image: Image) -> Outcome:
    from mlpipeline.adapters.scanners.image import Image as Scanner

    context.places.images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=context.places.images, prefix=".scanned-") as name:
        folder = Path(name, "image")
        borrowed_layout(image, folder)
        scanned = Scanned(
            project=context.project.resolve(), image=str(folder), image_digest=image.digest, environment=surroundings(context)
        )
        return outcome_of(Scanner(), rule_of(context, _SCANNER), scanned, accepted_in(context), context.clock.now().date())
