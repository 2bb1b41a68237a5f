"""What images were made of goes once nobody makes any of it; what cannot be made again stays as long as its package."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from fakes import FakeWorld
from image_parts import file_entry, small_base
from mlpipeline.adapters.oci.base import Source, base_image
from mlpipeline.adapters.oci.blobs import TextBlob, put
from mlpipeline.adapters.oci.engine import Kept
from mlpipeline.adapters.oci.layers import keep_layer, kept_layer
from mlpipeline.adapters.oci.pool import Needed, prune
from mlpipeline.core.image import LAYER_TYPE, Descriptor, Layer, digest_of, encoded
from mlpipeline.verbs import pruning

DAY = 86400.0
NOBODY = Needed((), ())


class Pool:
    """One base, the environment of one lock, and an image that an engine made of one package; all of it 60 days old."""

    def __init__(self, folder: Path) -> None:
        self.images = folder / "images"
        self.base = small_base(folder / "base")
        self.bring_base()
        (folder / "one.py").write_text("ONE = 1\n")
        keep_layer(self.images, "key", [file_entry("one.py", folder / "one.py", 0o644)], "dependencies", "a" * 64)
        self.put_built("b" * 64)
        self.age()

    def bring_base(self) -> None:
        base_image(Source(self.base, Path("/"), "linux/amd64", "3.11"), self.images, {})

    def put_built(self, package: str) -> None:
        config = encoded({"config": {"Labels": {"mlpipeline.digest": f"sha256:{package}"}}})
        contents = [config, b"a layer of the engine"]
        described = [Descriptor(LAYER_TYPE, digest_of(content), len(content)) for content in contents]
        for descriptor, content in zip(described, contents, strict=True):
            put(self.blobs, TextBlob(descriptor, content))
        (self.images / "built").mkdir()
        kept = Kept(described[0].digest, (Layer(described[1], described[1].digest),))
        (self.images / "built" / "x.json").write_bytes(msgspec.json.encode(kept))

    def age(self) -> None:
        for path in self.images.rglob("*"):
            os.utime(path, (time.time() - 60 * DAY,) * 2)

    @property
    def blobs(self) -> Path:
        return self.images / "blobs" / "sha256"

    def names(self) -> set[str]:
        return {path.name for path in self.blobs.iterdir()}

    def pruned(self, needed: Needed) -> int:
        return prune(self.images, needed, time.time() - 30 * DAY)[0]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path)


def test_what_nobody_used_for_long_goes_with_its_notes(pool: Pool) -> None:
    count, freed = prune(pool.images, NOBODY, time.time() - 30 * DAY)
    assert count == 4 and freed > 0 and pool.names() == set()
    assert not list(pool.images.rglob("*.json"))


def test_an_image_that_cannot_be_built_again_stays_as_long_as_its_package(pool: Pool) -> None:
    assert pool.pruned(Needed({"b" * 64}, ())) == 2
    assert len(pool.names()) == 2 and (pool.images / "built" / "x.json").exists()
    assert pool.pruned(Needed({"c" * 64}, ())) == 2


def test_the_environment_of_a_package_and_the_configured_base_stay(pool: Pool) -> None:
    assert pool.pruned(Needed((), {"a" * 64}, pool.base)) == 2
    assert kept_layer(pool.images, "key", "dependencies") is not None


def test_what_was_used_of_late_stays(pool: Pool) -> None:
    pool.bring_base()
    assert kept_layer(pool.images, "key", "dependencies") is not None
    assert pool.pruned(NOBODY) == 2
    assert pool.pruned(NOBODY) == 0


def test_a_young_blob_without_a_note_is_about_to_get_one(pool: Pool) -> None:
    content = b"just written"
    put(pool.blobs, TextBlob(Descriptor(LAYER_TYPE, digest_of(content), len(content)), content))
    pool.pruned(NOBODY)
    assert len(pool.names()) == 1


def test_a_note_that_cannot_be_read_keeps_nothing_and_stops_nothing(pool: Pool) -> None:
    (pool.images / "built" / "x.json").write_text("{")
    assert pool.pruned(Needed({"b" * 64}, ())) == 4


def test_what_a_killed_worker_left_is_swept(pool: Pool) -> None:
    (pool.images / ".environment-x").mkdir()
    (pool.blobs / ".new-x").write_bytes(b"half")
    (pool.blobs / ".new-running").write_bytes(b"half")
    for left in (pool.images / ".environment-x", pool.blobs / ".new-x"):
        os.utime(left, (time.time() - 2 * DAY,) * 2)
    pool.pruned(NOBODY)
    assert pool.names() == {".new-running"} and not (pool.images / ".environment-x").exists()


def test_the_nightly_job_says_what_it_removed(pool: Pool, tmp_path: Path) -> None:
    world = FakeWorld(tmp_path / "world")
    world.places.state.mkdir(parents=True)
    pool.images.rename(world.places.images)
    for path in world.places.images.rglob("*"):
        os.utime(path, (0, 0))
    found = pruning.prune(world.context())
    assert found.layers == 4 and "removed 4 layers" in found.summary
