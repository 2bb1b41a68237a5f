"""Puts an image together: base, locked dependencies, serving code, the project's code, model, manifest; each a layer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from mlpipeline.adapters.oci.base import Base
from mlpipeline.adapters.oci.blobs import Blob, disk_errors
from mlpipeline.adapters.oci.image import Image, assembled
from mlpipeline.adapters.oci.layers import entries_under, keep_layer, kept_layer, key_of, layer
from mlpipeline.core.image import ENVIRONMENT, ROOT, Entry, Layer, Serving, configuration, digest_of

_PARTS = (
    ("serving code", ("lib/",)),
    ("project code", ("code/",)),
    ("model", ("model/",)),
    ("manifest", ("manifest.json",)),
)


class Content(msgspec.Struct, frozen=True):
    """A file of the bundle: where it stands inside, and all that a layer needs to know of it."""

    path: str
    source: Path
    sha256: str
    size: int
    mode: int


def build_image(
    images: Path,
    base: Base,
    environment: tuple[Layer, Blob],
    contents: Sequence[Content],
    *,
    serving: Serving,
    labels: Mapping[str, str],
    platform: str,
    fresh: bool = False,
) -> Image:
    """The image of a bundle. Layers that were measured before are not read.

    Args:
        fresh: This process has just written the bundle.
    """
    parts = list(zip(base.layers, base.blobs(images / "blobs" / "sha256"), strict=True))
    parts.append(environment)
    for title, starts in _PARTS:
        mine = [one for one in contents if one.path.startswith(starts)]
        if mine:
            entries = [
                Entry(f"{ROOT}/{one.path}", mode=one.mode, size=one.size, sha256=one.sha256, source=str(one.source))
                for one in mine
            ]
            parts.append(layer(images, entries, title, fresh=fresh))
    ours = [part for part, _ in parts[len(base.layers) :]]
    config = configuration(base.config, ours, serving, labels, platform=platform)
    return assembled(config, parts, labels)


def environment_layer(
    images: Path, lock: Content, python: str, version: str, unpack: Callable[[Path], Path]
) -> tuple[Layer, Blob]:
    """The layer of the locked environment and its lock, made once per lock.

    Args:
        lock: The file of the bundle.
        python: Path of the base's interpreter.
        version: Of Python, such as ``3.11``.
        unpack: Installs the lock into a folder and returns its ``site-packages``.
    """
    key = key_of("environment-2", lock.sha256, python)
    known = kept_layer(images, key, "dependencies")
    if known is not None:
        return known
    images.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=images, prefix=".environment-"))
    try:
        with disk_errors(images, 0):
            site = unpack(folder / "environment")
            config = folder / "pyvenv.cfg"
            config.write_text(
                f"home = {Path(python).parent}\n"
                f"implementation = CPython\nversion_info = {version}\n"
                "include-system-site-packages = false\nrelocatable = true\n"
            )
            content = config.read_bytes()
            size, sha256 = len(content), digest_of(content).removeprefix("sha256:")
            entries = [
                *entries_under(site, f"{ENVIRONMENT}/lib/python{version}/site-packages"),
                *entries_under(folder / "environment" / "bin", f"{ENVIRONMENT}/bin"),
                Entry(f"{ENVIRONMENT}/pyvenv.cfg", size=size, sha256=sha256, source=str(config)),
                Entry(f"{ROOT}/{lock.path}", size=lock.size, sha256=lock.sha256, source=str(lock.source)),
                Entry(f"{ENVIRONMENT}/bin/python", kind="link", mode=0o777, target=python),
            ]
            return keep_layer(images, key, entries, "dependencies", lock.sha256)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
