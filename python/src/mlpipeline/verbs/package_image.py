"""The container image of a package: what goes into it, what is said on its labels, and where it is put."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlpipeline.adapters.bundle import MANIFEST, Built
from mlpipeline.adapters.oci.base import Base, Source, base_image
from mlpipeline.adapters.oci.build import Content, build_image, environment_layer
from mlpipeline.adapters.oci.image import Image
from mlpipeline.adapters.oci.layers import WatchedLayer
from mlpipeline.adapters.oci.layout import write_archive, write_layout
from mlpipeline.config.sections.packaging import Image as Wanted
from mlpipeline.core.image import PORT, ROOT, Serving, image_tag, is_tag, repository
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.verbs.package import Packing

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
DEFAULT_LAYOUT = ".mlpipeline/image"


class MadeImage(msgspec.Struct, frozen=True):
    """What stands in the evidence as ``image``. ``sent`` and ``written`` count bytes of this call alone.

    Args:
        digest: Of the manifest: what a registry and a deployment name it by.
        id: Of the configuration: what a container engine names it by.
        reference: ``repository@sha256:...``; empty when it was not pushed.
        layers: Title and digest and bytes of each layer, from the lowest on.
    """

    digest: str
    id: str
    bytes: int
    layers: list[dict[str, str | int]]
    labels: dict[str, str]
    base: str = ""
    reference: str = ""
    tags: list[str] = []
    layout: str = ""
    archive: str = ""
    sent: int = 0
    written: int = 0

    def same_as(self, evidence: object) -> bool:
        """Whether the evidence of an earlier call says the same."""
        try:
            earlier = msgspec.convert(evidence, MadeImage)
        except msgspec.ValidationError:
            return False
        return msgspec.structs.replace(earlier, sent=0, written=0) == msgspec.structs.replace(self, sent=0, written=0)

    @property
    def reason(self) -> Reason:
        where = [text for text in (self.reference, self.layout, self.archive) if text]
        return Reason(
            check="package.image",
            verdict=Verdict.PASS,
            summary=f"image {self.digest[:19]}, {len(self.layers)} layers, {self.bytes / 1e6:.1f} MB; "
            f"{self.sent / 1e6:.2f} MB pushed, {self.written / 1e6:.2f} MB written: {', '.join(where)}",
            numbers={"bytes": self.bytes, "sent": self.sent, "written": self.written},
        )


def model_layer(context: Context, sources: Mapping[str, Path]) -> WatchedLayer:
    """The layer of the model that is about to be copied into the bundle. Its files are known by their paths in that."""
    return WatchedLayer(context.places.images, {path: file for path, file in sources.items() if path.startswith("model/")}, ROOT)


def check_platform(wanted: Wanted) -> None:
    """Wheels of this machine would not run on another one; told before anything is made."""
    here = f"linux/{_MACHINES.get(platform.machine(), platform.machine())}"
    if wanted.platform != here:
        raise ConfigurationError(
            f"this machine makes images for {here} only: it locks and installs the wheels that run here",
            facts={"image.platform": wanted.platform},
            tries=(f"image.platform: {here}", f"package on a machine that is {wanted.platform}"),
        )


class PreparedImage(msgspec.Struct, frozen=True):
    """An image that is complete, and not yet where it is wanted.

    Args:
        name: Its repository, or the service where it goes to none.
        base: What it is built on; absent when an engine built it.
        path: One more place, of the command line.
    """

    run: Run
    image: Image
    name: str
    base: Base | None
    path: str

    def put(self, context: Context) -> MadeImage:
        """Writes and pushes it; what is there already is neither written nor sent again.

        Raises EnvironmentFault when the disk is full, the registry breaks off or serves something else: then nothing names a
        half-written image.
        """
        return _put(context, self)


def prepare_image(context: Context, run: Run, packing: Packing, path: str = "") -> PreparedImage:
    """Makes the image of a bundle; layers that were made before are not made again.

    Args:
        path: One more place to put it: a folder for an OCI layout, a file that ends in ``.tar`` for an archive.

    Raises ConfigurationError for a base that is not pinned or does not fit, EnvironmentFault when it cannot be had.
    """
    wanted = context.config.image
    if not (wanted.base or wanted.dockerfile):
        raise ConfigurationError(
            "package --image needs to know what the image is built on",
            facts={"image.base": "not set"},
            tries=("image.base: registry.example.org/debian/python@sha256:...", "--set image.base=oci:FOLDER@sha256:..."),
        )
    check_platform(wanted)
    labels = _labels(context, run, packing)
    contents = _contents(packing.built)
    name = wanted.repository or context.config.service
    if wanted.dockerfile:
        return PreparedImage(run, _from_dockerfile(context, contents, labels), name, None, path)
    base = _base(context, packing.lock.python)
    image = _on_base(context, packing, base, contents, labels | _base_labels(wanted, base))
    return PreparedImage(run, image, name, base, path)


def _base(context: Context, python: str) -> Base:
    wanted = context.config.image
    source = Source(wanted.base, context.project, wanted.platform, python)
    base = base_image(source, context.places.images, _environment(context), plain_http=wanted.plain_http)
    if not (wanted.python or base.python):
        raise ConfigurationError(
            f"the base image has no Python {python}, with which the model was saved",
            facts={"image.base": wanted.base, "looked for": f"/usr/local/bin/python{python}, /usr/bin/python{python}"},
            tries=(f"choose a base with Python {python}", "image.python: /path/of/the/interpreter"),
        )
    return base


def _on_base(context: Context, packing: Packing, base: Base, contents: tuple[Content, ...], labels: Mapping[str, str]) -> Image:
    wanted, images, lock = context.config.image, context.places.images, packing.lock
    listed = next(one for one in contents if one.path == "requirements.lock")
    environment = environment_layer(
        images, listed, wanted.python or base.python, lock.python, lambda folder: packing.environments.unpack(lock, folder)
    )
    devices = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"} if wanted.gpus else {}
    serving = Serving(
        arguments=(
            *("--host", "0.0.0.0", "--port", str(PORT), "--service", context.config.service),  # noqa: S104 - a container's own
            *("--digest", packing.built.manifest.digest),
            *(("--warm-up-rows", str(wanted.warm_up_rows)) if wanted.warm_up_rows else ()),
            *wanted.arguments,
        ),
        python=lock.python,
        environment={**devices, **wanted.environment},
    )
    return build_image(
        images, base, environment, contents, serving=serving, labels=labels, platform=wanted.platform, fresh=packing.built.made
    )


def _from_dockerfile(context: Context, contents: tuple[Content, ...], labels: Mapping[str, str]) -> Image:
    from mlpipeline.adapters.oci.engine import engine_image

    wanted = context.config.image
    file = context.project / wanted.dockerfile
    if not file.is_file():
        raise ConfigurationError(
            "the Dockerfile is missing", facts={"image.dockerfile": file}, tries=("image.base instead needs no Dockerfile",)
        )
    return engine_image(context.places.images, file, contents, labels, platform=wanted.platform, say=context.console.say)


def _put(context: Context, prepared: PreparedImage) -> MadeImage:
    wanted, image, path = context.config.image, prepared.image, prepared.path
    tag = image_tag(wanted.version, prepared.run.commit)
    tags = [tag] if is_tag(tag) else []
    folders = [text for text in (wanted.layout, path if not path.endswith(".tar") else "") if text]
    files = [text for text in (wanted.archive, path if path.endswith(".tar") else "") if text]
    if not (folders or files or wanted.repository):
        folders = [DEFAULT_LAYOUT]
    written, sent, reference = 0, 0, ""
    # The run is no part of the image, or every run of the same commit and model would make another one.
    annotations = {"mlpipeline.run": prepared.run.id}
    for folder in folders:
        written += write_layout(image, context.project / folder, tag, annotations)
    for file in files:
        written += write_archive(image, context.project / file, f"{prepared.name}:{tag}")
    if wanted.repository:
        from mlpipeline.adapters.oci.publish import push

        pushed = push(
            image,
            repository(wanted.repository),
            _environment(context),
            tags=tags,
            base=prepared.base.repository if prepared.base else "",
            plain_http=wanted.plain_http,
            progress=context.console.progress,
        )
        sent, reference = pushed.sent, pushed.reference
    return MadeImage(
        digest=image.digest,
        id=image.config_blob.descriptor.digest,
        bytes=image.bytes,
        layers=[
            {"title": layer.title or "base", "digest": layer.descriptor.digest, "bytes": layer.descriptor.size}
            for layer in image.layers
        ],
        labels=image.labels,
        base=wanted.base,
        reference=reference,
        tags=tags if wanted.repository else [],
        layout=", ".join(folders),
        archive=", ".join(files),
        sent=sent,
        written=written,
    )


def _labels(context: Context, run: Run, packing: Packing) -> dict[str, str]:
    """What is said of where the image comes from: only what is the same wherever and whenever it is made."""
    wanted, config = context.config.image, context.config
    built, trained = packing.built, packing.trained
    data = msgspec.json.encode(trained.evidence.get("data_version", {}), order="sorted").decode()
    model = str(trained.evidence.get("model_digest", ""))
    inputs = "\n".join((config.service, run.commit, run.dirty, data, model))
    return {
        "org.opencontainers.image.title": config.service,
        "org.opencontainers.image.revision": run.commit,
        "org.opencontainers.image.version": wanted.version or image_tag("", run.commit),
        "mlpipeline.service": config.service,
        "mlpipeline.commit": run.commit,
        **({"mlpipeline.dirty": run.dirty} if run.dirty else {}),
        "mlpipeline.data_version": data,
        "mlpipeline.model": model,
        "mlpipeline.digest": built.manifest.digest,
        "mlpipeline.environment": built.manifest.lock,
        "mlpipeline.run": f"{run.commit[:7]}-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}",
        **({"mlpipeline.gpus": str(wanted.gpus)} if wanted.gpus else {}),
        **wanted.labels,
    }


def _base_labels(wanted: Wanted, base: Base) -> dict[str, str]:
    found = {"org.opencontainers.image.base.digest": base.pin}
    if base.repository:
        found["org.opencontainers.image.base.name"] = base.repository
    return {name: value for name, value in found.items() if name not in wanted.labels}


def _contents(built: Built) -> tuple[Content, ...]:
    manifest = built.manifest.encoded()
    files = [
        Content(file.path, built.path / file.path, file.sha256, file.size, int(file.mode, 8)) for file in built.manifest.files
    ]
    itself = Content(MANIFEST, built.path / MANIFEST, hashlib.sha256(manifest).hexdigest(), len(manifest), 0o644)
    return (*files, itself)


def _environment(context: Context) -> dict[str, str]:
    """Where logins are looked for. A login in the environment is for the registry that is pushed to, unless it names another."""
    found = dict(context.environment)
    if context.config.image.repository:
        found.setdefault("MLPIPELINE_REGISTRY", repository(context.config.image.repository).host)
    return found
