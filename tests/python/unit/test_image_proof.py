"""What is said of an image stands beside it in the registry, and is checked from there alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from fake_registry import FakeRegistry
from fakes import FakeWorld
from mlpipeline.adapters.oci.blobs import TextBlob
from mlpipeline.adapters.oci.referrers import attach, attached
from mlpipeline.adapters.oci.registry import Registry
from mlpipeline.config.sections.records import PublicKey, Signing
from mlpipeline.config.sections.rollout import Approval
from mlpipeline.core.image import CONFIG_TYPE, MANIFEST_TYPE, Descriptor, digest_of, encoded, manifest, repository
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.result import Result
from mlpipeline.verbs import approve, verify_artifact
from mlpipeline.verbs.publishing import publish
from proven_release import Proven


class Referring(FakeRegistry):
    """Knows the referrers API, or not: then it is asked by tag."""

    knows = True

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path
        if "/referrers/" not in path:
            return super()._handle(request)
        answer = request.answer  # type: ignore[attr-defined]
        if not self.knows:
            return answer(404)
        wanted, listed = path.rpartition("/")[2], []
        for name, content in sorted(self.manifests.items()):
            read = json.loads(content)
            if name.startswith("sha256:") and read.get("subject", {}).get("digest") == wanted:
                kept = {key: read[key] for key in ("artifactType", "annotations")}
                listed.append({"mediaType": MANIFEST_TYPE, "digest": name, "size": len(content), **kept})
        return answer(200, json.dumps({"schemaVersion": 2, "manifests": listed}).encode())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpipeline.adapters.oci.registry._PAUSE_SECONDS", 0.01)


@pytest.fixture(params=["referrers API", "by tag"])
def fake(request: pytest.FixtureRequest) -> Iterator[Referring]:
    registry = Referring()
    registry.knows = request.param == "referrers API"
    yield registry
    registry.stop()


def pushed(fake: Referring) -> tuple[Registry, str]:
    """An image without layers, and the registry it is in."""
    registry = Registry(repository(f"{fake.host}/team/tiny"), {})
    config = b'{"architecture":"amd64"}'
    registry.push_blob(TextBlob(Descriptor(CONFIG_TYPE, digest_of(config), len(config)), config))
    content = manifest(config, [], {})
    return registry, registry.push_manifest(content, MANIFEST_TYPE)


def test_files_beside_an_image_are_read_back(fake: Referring) -> None:
    registry, image = pushed(fake)
    files = {"sbom.cdx.json": ("application/json", b'{"a":1}'), "card.md": ("text/markdown", "# ü".encode())}
    digests = attach(registry, image, files)
    assert dict(attached(registry, image)) == {name: content for name, (_, content) in files.items()}
    before = len(fake.manifests)
    assert attach(registry, image, files) == digests
    assert len(fake.manifests) == before


def test_another_file_of_the_same_name_takes_its_place_or_stands_beside_it(fake: Referring) -> None:
    registry, image = pushed(fake)
    attach(registry, image, {"card.md": ("text/markdown", b"old")})
    attach(registry, image, {"card.md": ("text/markdown", b"new"), "more.md": ("text/markdown", b"more")})
    names = [name for name, _ in attached(registry, image)]
    assert set(names) == {"card.md", "more.md"}


def test_nothing_is_put_beside_an_image_that_is_not_there(fake: Referring) -> None:
    registry = Registry(repository(f"{fake.host}/team/tiny"), {})
    with pytest.raises(EnvironmentFault, match="not in the registry"):
        attach(registry, f"sha256:{'a' * 64}", {"card.md": ("text/markdown", b"x")})
    assert not fake.manifests


def test_changed_content_is_found(fake: Referring) -> None:
    registry, image = pushed(fake)
    attach(registry, image, {"card.md": ("text/markdown", b"what was said")})
    fake.blobs[digest_of(b"what was said")] = b"what was sait"
    with pytest.raises(EnvironmentFault, match="not what its digest says"):
        dict(attached(registry, image))


def test_file_of_another_image_is_refused(fake: Referring) -> None:
    registry, image = pushed(fake)
    attach(registry, image, {"card.md": ("text/markdown", b"x")})
    if fake.knows:
        return
    tag = image.replace(":", "-")
    other = encoded({"architecture": "arm64"})
    registry.push_blob(TextBlob(Descriptor(CONFIG_TYPE, digest_of(other), len(other)), other))
    second = registry.push_manifest(manifest(other, [], {}), MANIFEST_TYPE)
    fake.manifests[second.replace(":", "-")] = fake.manifests[tag]
    with pytest.raises(EnvironmentFault, match="refers to another image"):
        dict(attached(registry, second))


# --- the proof ------------------------------------------------------------------------------------------------------


class Shipped(msgspec.Struct):
    proven: Proven
    reference: str
    fake: Referring


@pytest.fixture
def shipped(tmp_path: Path, fake: Referring, monkeypatch: pytest.MonkeyPatch) -> Shipped:
    """A package whose image was pushed, with everything that is said of it, approved."""
    from mlpipeline.verbs import attesting

    _, image = pushed(fake)
    monkeypatch.setattr(
        "proven_release.attest",
        lambda context, run, packaged: attesting.attest(context, run, msgspec.structs.replace(packaged, images={"tiny": image})),
    )
    proven = Proven(tmp_path, approval=Approval(required=True))
    proven.deployed()
    reference = f"{fake.host}/team/tiny@{image}"
    publish(proven.context, proven.digest, "r1", reference)
    proven.passed(
        proven.run, "package", digest=proven.digest, path="", python="", image={"reference": reference, "digest": image}
    )
    approve.run(proven.context, proven.run, person="ada", why="better", digest=proven.digest)
    return Shipped(proven, reference, fake)


def elsewhere(shipped: Shipped, folder: Path) -> Result:
    """On a machine that has nothing but the public key and the name of the image."""
    world = FakeWorld(folder, signing=Signing(keys=(PublicKey(file="release.pub"),)), approval=Approval(required=True))
    world.places.project.mkdir(parents=True, exist_ok=True)
    key = shipped.proven.world.places.project / "release.pub"
    (world.places.project / "release.pub").write_bytes(key.read_bytes())
    return verify_artifact.run(world.context(), digest=shipped.reference)


def test_proof_holds_from_the_registry_alone(shipped: Shipped, tmp_path: Path) -> None:
    result = elsewhere(shipped, tmp_path / "elsewhere")
    assert result.verdict is Verdict.PASS, [reason.summary for reason in result.reasons]
    checks = [reason.check.removeprefix("artifact.") for reason in result.reasons if "approval-" not in reason.check]
    assert checks == ["image", "signature", "provenance", "sbom", "model-card", "model-card-page", "gates", "approval"]
    own = verify_artifact.run(shipped.proven.context, digest=shipped.reference)
    assert own.verdict is Verdict.PASS, own.summary
    assert {"artifact.bundle", "artifact.ledger"} <= {reason.check for reason in own.reasons}


def exchanged(shipped: Shipped, name: str, change: Callable[[bytes], bytes]) -> None:
    """Somebody with the right to push puts another file in its place, under right digests."""
    fake = shipped.fake
    registry, image = Registry(repository(f"{fake.host}/team/tiny"), {}), shipped.reference.rpartition("@")[2]
    content = dict(attached(registry, image))[name]
    old = [key for key, kept in fake.manifests.items() if b'"subject"' in kept and f'"{name}"'.encode() in kept]
    kind = json.loads(fake.manifests[old[0]])["artifactType"]
    for key in old:
        del fake.manifests[key]
    attach(registry, image, {name: (kind, change(content))})


@pytest.mark.parametrize(
    ("name", "change", "check"),
    [
        ("sbom.cdx.json", lambda content: content.replace(b"numpy", b"numpi"), "sbom"),
        ("provenance.dsse.json", lambda content: content.replace(b'"sig":"', b'"sig":"AAAA'), "signature"),
    ],
)
def test_exchanged_files_are_found(
    shipped: Shipped, tmp_path: Path, name: str, change: Callable[[bytes], bytes], check: str
) -> None:
    exchanged(shipped, name, change)
    result = elsewhere(shipped, tmp_path / "elsewhere")
    assert (result.verdict, result.reasons[0].check) == (Verdict.FAIL, f"artifact.{check}")


def test_proof_of_one_image_is_none_of_another(shipped: Shipped, tmp_path: Path) -> None:
    registry = Registry(repository(f"{shipped.fake.host}/team/tiny"), {})
    config = b'{"architecture":"arm64"}'
    registry.push_blob(TextBlob(Descriptor(CONFIG_TYPE, digest_of(config), len(config)), config))
    other = registry.push_manifest(manifest(config, [], {}), MANIFEST_TYPE)
    publish(shipped.proven.context, shipped.proven.digest, "r1", f"{shipped.fake.host}/team/tiny@{other}")
    result = elsewhere(msgspec.structs.replace(shipped, reference=f"{shipped.fake.host}/team/tiny@{other}"), tmp_path / "else")
    assert (result.verdict, result.reasons[0].check) == (Verdict.FAIL, "artifact.provenance")
    assert "of another image" in result.summary


def test_image_that_nothing_is_said_of(fake: Referring, tmp_path: Path) -> None:
    _, image = pushed(fake)
    proven = Proven(tmp_path)
    result = verify_artifact.run(proven.context, digest=f"{fake.host}/team/tiny@{image}")
    assert (result.verdict, result.reasons[0].check) == (Verdict.FAIL, "artifact.provenance")
    for reference in (f"{fake.host}/team/tiny@latest", f"{fake.host}/team/tiny@sha256:{'0' * 64}", "tiny@sha256:12"):
        with pytest.raises(ConfigurationError, match=r"by its digest|no such image"):
            verify_artifact.run(proven.context, digest=reference)


def test_registry_that_is_down_does_not_undo_a_decision(shipped: Shipped) -> None:
    shipped.fake.stop()
    proven = shipped.proven
    approve.run(proven.context, proven.run, person="grace", why="too", digest=proven.digest)
    assert any("the registry was not told" in line for line in proven.world.console.lines)
    assert len(list(proven.place.glob("approval-*"))) == 2
