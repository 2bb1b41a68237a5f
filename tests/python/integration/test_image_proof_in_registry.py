"""What is said of an image, in a real registry: Debian's, which does not know the referrers API."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from image_parts import registry_server
from mlpipeline.adapters.oci.blobs import TextBlob
from mlpipeline.adapters.oci.registry import Registry
from mlpipeline.core.image import CONFIG_TYPE, MANIFEST_TYPE, Descriptor, digest_of, manifest, repository
from mlpipeline.core.verdict import Verdict
from mlpipeline.verbs import attesting, verify_artifact
from mlpipeline.verbs.publishing import publish
from proven_release import Proven


@pytest.mark.real
def test_proof_is_put_beside_the_image_and_checked_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry_server(tmp_path / "registry") as server:
        registry = Registry(repository(f"{server.host}/team/tiny"), {})
        config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
        registry.push_blob(TextBlob(Descriptor(CONFIG_TYPE, digest_of(config), len(config)), config))
        image = registry.push_manifest(manifest(config, [], {}), MANIFEST_TYPE)
        monkeypatch.setattr(
            "proven_release.attest",
            lambda context, run, packaged: attesting.attest(
                context, run, msgspec.structs.replace(packaged, images={"tiny": image})
            ),
        )
        proven = Proven(tmp_path)
        reference = f"{server.host}/team/tiny@{image}"
        publish(proven.context, proven.digest, "r1", reference)
        publish(proven.context, proven.digest, "r1", reference)
        result = verify_artifact.run(proven.context, digest=reference)
        assert result.verdict is Verdict.PASS, result.summary
        assert "4 files beside it" in result.reasons[0].summary
        assert registry.referrers(image) is None
