"""The pool of a machine, ``$MLPIPELINE_HOME/images``: what images are made of, by digest, with notes of what stands for what.

All of it can be fetched or made again, but for an image that an engine built of a project's own Dockerfile: that would be another
one. Each use of a note makes it young.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from mlpipeline.adapters.oci.base import Base
from mlpipeline.adapters.oci.engine import Kept
from mlpipeline.adapters.oci.layers import Measured
from mlpipeline.core.container import DIGEST

_ABANDONED_SECONDS = 24 * 3600.0


class Needed(msgspec.Struct, frozen=True):
    """What stays whatever its age.

    Args:
        packages: Hex digests of bundles.
        locks: Hex digests of their locks.
        base: The pinned name of the base that is configured.
    """

    packages: Collection[str]
    locks: Collection[str]
    base: str = ""


def prune(images: Path, needed: Needed, oldest: float) -> tuple[int, int]:
    """Removes notes that nobody used since ``oldest`` (Unix seconds) and that are not needed, then blobs that no note names.

    How many blobs went, and their bytes. A note that cannot be read keeps nothing.
    """
    blobs = images / "blobs" / "sha256"
    _sweep(images, blobs)
    named: set[str] = set()
    for note in _notes(images):
        used = note.stat().st_mtime >= oldest
        found = _blobs(note, blobs, needed, whatever=used)
        if found is None:
            note.unlink(missing_ok=True)
        else:
            named |= found
    count = freed = 0
    for blob in blobs.iterdir() if blobs.is_dir() else ():
        state = blob.stat()
        # A young one may belong to a note that is about to be written.
        if blob.name not in named and state.st_mtime < oldest:
            blob.unlink()
            count, freed = count + 1, freed + state.st_size
    return count, freed


def _notes(images: Path) -> Iterator[Path]:
    for folder in ("bases", "layers", "built"):
        yield from sorted((images / folder).glob("*.json"))


def _blobs(note: Path, blobs: Path, needed: Needed, *, whatever: bool) -> set[str] | None:
    """The blobs a note stands for; None when it may go."""
    content = note.read_bytes()
    try:
        if note.parent.name == "bases":
            base = msgspec.json.decode(content, type=Base)
            stays, digests = needed.base.endswith(base.pin), [layer.descriptor.digest for layer in base.layers]
        elif note.parent.name == "built":
            built = msgspec.json.decode(content, type=Kept)
            stays = _package_of(built, blobs) in needed.packages
            digests = [built.config, *(layer.descriptor.digest for layer in built.layers)]
        else:
            layer = msgspec.json.decode(content, type=Measured)
            stays, digests = layer.lock in needed.locks, [layer.digest]
    except (OSError, msgspec.MsgspecError):
        return None
    return {digest.removeprefix("sha256:") for digest in digests} if stays or whatever else None


def _package_of(built: Kept, blobs: Path) -> str:
    """Hex digest of the bundle an image was built of."""
    config = msgspec.json.decode((blobs / built.config.removeprefix("sha256:")).read_bytes(), type=dict[str, object])
    inner = config.get("config")
    labels = inner.get("Labels") if isinstance(inner, dict) else None
    return str((labels or {}).get(DIGEST, "")).removeprefix("sha256:")


def _sweep(*folders: Path) -> None:
    """What killed workers left."""
    for folder in folders:
        for left in folder.glob(".*-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime < _ABANDONED_SECONDS:
                    continue
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    os.unlink(left)
