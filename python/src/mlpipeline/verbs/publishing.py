"""What is said of a package, put beside its image in the registry, and read back from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlpipeline.core import provenance as words
from mlpipeline.core import sbom
from mlpipeline.core.image import pinned, repository
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.attestations import CARD, CARD_PAGE, PROVENANCE, SBOM, Attestations
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.adapters.oci.registry import Registry

_TYPES = {
    SBOM: sbom.MEDIA_TYPE,
    CARD: "text/markdown",
    CARD_PAGE: "text/html",
    PROVENANCE: "application/vnd.dsse.envelope.v1+json",
}
_WITNESS = "application/vnd.dev.sigstore.bundle.v0.3+json"


def publish(context: Context, digest: str, run: str, reference: str) -> None:
    """Puts SBOM, provenance, approvals and model card beside the image.

    Args:
        reference: ``repository@sha256:...``, where the image was pushed to.

    Raises EnvironmentFault when the registry breaks off; the next call goes on.
    """
    from mlpipeline.adapters.oci.referrers import attach

    place = Attestations(context.places, digest, run)
    files = {name: (kind, place.read(name)) for name, kind in _TYPES.items() if place.has(name)}
    approvals = {name: (_TYPES[PROVENANCE], content) for name, content in place.approvals().items()}
    witnesses = {name: (_WITNESS, content) for name, content in place.witnesses().items()}
    attach(_registry(context, reference), pinned(reference)[1], {**files, **approvals, **witnesses})


def publish_again(context: Context, digest: str, run: str, evidence: Mapping[str, object]) -> None:
    """After something was added, when the image was pushed. A registry that is down is said, not raised: what was decided stands.

    Args:
        evidence: Of ``package``.
    """
    image = evidence.get("image")
    reference = str(image.get("reference", "")) if isinstance(image, Mapping) else ""
    if not reference:
        return
    try:
        publish(context, digest, run, reference)
    except (EnvironmentFault, ConfigurationError) as fault:
        context.console.say(f"the registry was not told ({fault.what}); mlpipeline package puts it there")


def fetched(context: Context, reference: str) -> dict[str, bytes]:
    """Name to content of what stands beside an image. Raises ConfigurationError when the reference names no digest."""
    from mlpipeline.adapters.oci.referrers import attached

    try:
        digest = pinned(reference)[1]
    except ValueError as error:
        raise ConfigurationError(
            "an image is checked by its digest", facts={"given": reference, "found": error}, tries=("REPOSITORY@sha256:...",)
        ) from error
    registry = _registry(context, reference)
    if registry.manifest(digest) is None:
        raise ConfigurationError("the registry has no such image", facts={"image": reference}, tries=("mlpipeline package",))
    return dict(attached(registry, digest))


def bundle_of(files: Mapping[str, bytes]) -> tuple[str, str]:
    """``sha256:...`` of the bundle that a provenance is of, and its run; empty when there is none that can be read."""
    try:
        _, statement = words.opened(files.get(PROVENANCE, b""))
    except ValueError:
        return "", ""
    first = statement.subject[0].digest.get("sha256", "") if statement.subject else ""
    return (f"sha256:{first}" if first else "", words.run_of(statement))


def _registry(context: Context, reference: str) -> Registry:
    from mlpipeline.adapters.oci.registry import Registry

    try:
        place = repository(pinned(reference)[0])
    except ValueError as error:
        raise ConfigurationError("this names no image", facts={"given": reference, "found": error}) from error
    environment = {"MLPIPELINE_REGISTRY": place.host, **context.environment}
    return Registry(place, environment, plain_http=context.config.image.plain_http)
