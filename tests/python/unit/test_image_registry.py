from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_registry import FakeRegistry, fake_registry
from mlpipeline.adapters.oci import registry as protocol
from mlpipeline.adapters.oci.blobs import FileBlob, TextBlob
from mlpipeline.adapters.oci.credentials import Login, login
from mlpipeline.adapters.oci.image import Image
from mlpipeline.adapters.oci.publish import push
from mlpipeline.adapters.oci.registry import Registry
from mlpipeline.core.image import CONFIG_TYPE, LAYER_TYPE, Descriptor, Layer, digest_of, encoded, manifest, repository
from mlpipeline.errors import ConfigurationError, EnvironmentFault

SECRET = "hunter2-very-secret"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        yield registry


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(protocol, "CHUNK_BYTES", 1000)


def text_blob(content: bytes, kind: str = LAYER_TYPE) -> TextBlob:
    return TextBlob(Descriptor(kind, digest_of(content), len(content)), content)


def image(*contents: bytes) -> Image:
    blobs = tuple(text_blob(content) for content in contents)
    layers = tuple(Layer(blob.descriptor, blob.descriptor.digest, f"layer {n}") for n, blob in enumerate(blobs))
    config = encoded({"rootfs": [layer.content for layer in layers]})
    return Image(config, manifest(config, [layer.descriptor for layer in layers], {}), layers, blobs)


def place(fake: FakeRegistry) -> Registry:
    return Registry(repository(f"{fake.host}/team/tiny"), {})


def test_all_of_an_image_arrives_and_a_second_push_sends_nothing(fake: FakeRegistry) -> None:
    one = image(b"base", b"m" * 2500)
    pushed = push(one, repository(f"{fake.host}/team/tiny"), {}, tags=("1.0.0",))
    assert pushed.reference == f"{fake.host}/team/tiny@{one.digest}"
    assert pushed.sent == one.bytes + len(one.manifest), "the manifest goes twice: by digest and by tag"
    assert fake.blobs[digest_of(b"m" * 2500)] == b"m" * 2500
    assert fake.manifests["1.0.0"] == fake.manifests[one.digest] == one.manifest
    assert sum(line.startswith("PATCH") for line in fake.requests) == 3, "a large layer goes in parts"
    before = len(fake.requests)
    assert push(one, repository(f"{fake.host}/team/tiny"), {}, tags=("1.0.0",)).sent == 0
    assert {line.split()[0] for line in fake.requests[before:]} == {"HEAD"}


def test_only_what_changed_is_sent(fake: FakeRegistry) -> None:
    push(image(b"b" * 900, b"one"), repository(f"{fake.host}/team/tiny"), {})
    two = image(b"b" * 900, b"second")
    assert push(two, repository(f"{fake.host}/team/tiny"), {}).sent == len(b"second") + len(two.config) + len(two.manifest)


def test_a_layer_of_a_base_in_the_same_registry_is_taken_over_there(fake: FakeRegistry) -> None:
    fake.mountable[digest_of(b"b" * 900)] = b"b" * 900
    one = image(b"b" * 900, b"one")
    sent = push(one, repository(f"{fake.host}/team/tiny"), {}, base=f"{fake.host}/debian/python").sent
    assert sent == 3 + len(one.config) + len(one.manifest)
    assert any("mount=" in line and "from=debian/python" in line for line in fake.requests)


@pytest.mark.parametrize("size", [800, 5000])
def test_a_connection_that_breaks_in_a_push_is_taken_up_again(fake: FakeRegistry, size: int) -> None:
    fake.fail_uploads = 2
    one = image(b"w" * size)
    push(one, repository(f"{fake.host}/team/tiny"), {})
    assert fake.blobs[digest_of(b"w" * size)] == b"w" * size


@pytest.mark.parametrize("size", [800, 5000])
def test_a_registry_that_fails_in_the_middle_publishes_nothing(fake: FakeRegistry, size: int) -> None:
    fake.always_fail = True
    with pytest.raises(EnvironmentFault, match="broke off") as caught:
        push(image(b"w" * size), repository(f"{fake.host}/team/tiny"), {}, tags=("1.0.0",))
    assert "what is there already is not sent again" in caught.value.render()
    assert fake.manifests == {} and fake.blobs == {}


def test_a_registry_that_answers_with_errors_publishes_nothing(fake: FakeRegistry) -> None:
    fake.status = 503
    with pytest.raises(EnvironmentFault, match="in the middle of a push"):
        push(image(b"w"), repository(f"{fake.host}/team/tiny"), {})
    fake.status = 403
    with pytest.raises(ConfigurationError, match="wants to know who we are"):
        push(image(b"w"), repository(f"{fake.host}/team/tiny"), {})
    assert fake.manifests == {}


def test_another_digest_than_ours_is_never_believed(fake: FakeRegistry) -> None:
    fake.lie = f"sha256:{'0' * 64}"
    with pytest.raises(EnvironmentFault, match="not what its digest says"):
        push(image(b"w"), repository(f"{fake.host}/team/tiny"), {}, tags=("1.0.0",))
    assert "1.0.0" not in fake.manifests


def test_a_registry_that_serves_something_else_is_found_out(fake: FakeRegistry) -> None:
    fake.serve = b'{"schemaVersion":2,"evil":true}'
    with pytest.raises(EnvironmentFault, match="not what its digest says"):
        push(image(b"w"), repository(f"{fake.host}/team/tiny"), {}, tags=("1.0.0",))
    assert "1.0.0" not in fake.manifests
    digest = image(b"w").digest
    with pytest.raises(EnvironmentFault, match="not what its digest says"):
        place(fake).manifest(digest)


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="cannot be reached"):
        push(image(b"w"), repository("127.0.0.1:9/team/tiny"), {})


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "token"])
def test_a_login_of_the_environment_lets_us_in_and_is_told_nobody_else(fake: FakeRegistry, tokens: bool) -> None:
    fake.user, fake.tokens = f"ann:{SECRET}", tokens
    known = {"MLPIPELINE_REGISTRY": fake.host, "MLPIPELINE_REGISTRY_USER": "ann", "MLPIPELINE_REGISTRY_PASSWORD": SECRET}
    one = image(b"w" * 3000)
    assert push(one, repository(f"{fake.host}/team/tiny"), known, base=f"{fake.host}/debian/python").sent >= one.bytes
    if tokens:
        assert "repository:team/tiny:pull,push" in fake.tokens_given[0]
        assert "repository:debian/python:pull" in fake.tokens_given[-1]
    assert login("other.example.org", known) == Login()


def test_a_wrong_login_is_an_error_without_the_password(fake: FakeRegistry) -> None:
    fake.user = "ann:right"
    known = {"MLPIPELINE_REGISTRY": fake.host, "MLPIPELINE_REGISTRY_USER": "ann", "MLPIPELINE_REGISTRY_PASSWORD": SECRET}
    with pytest.raises(ConfigurationError, match="does not let us in") as caught:
        push(image(b"w"), repository(f"{fake.host}/team/tiny"), known)
    assert SECRET not in caught.value.render() and "ann" in caught.value.render()
    with pytest.raises(ConfigurationError, match="wants to know who we are") as caught:
        push(image(b"w"), repository(f"{fake.host}/team/tiny"), {})
    assert "docker login" in caught.value.render()


def test_logins_of_docker_are_found(tmp_path: Path) -> None:
    proof = base64.b64encode(f"ann:{SECRET}".encode()).decode()
    auths = {"a.example.org": {"auth": proof}, "https://b.example.org": {"identitytoken": "t"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    known = {"DOCKER_CONFIG": str(tmp_path)}
    assert login("a.example.org", known) == Login("ann", SECRET)
    assert login("b.example.org", known) == Login(token="t")
    assert login("c.example.org", known) == Login()
    assert SECRET not in repr(login("a.example.org", known))


def test_a_helper_of_docker_is_asked(tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-mine"
    helper.write_text('#!/bin/sh\nread host; echo "{\\"Username\\": \\"ann\\", \\"Secret\\": \\"$host\\"}"\n')
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"a.example.org": "mine"}}))
    known = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert login("a.example.org", known) == Login("ann", "a.example.org")


def test_a_file_of_logins_that_is_broken_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(f'{{"auths": "{SECRET}')
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        login("a.example.org", {"DOCKER_CONFIG": str(tmp_path)})
    assert SECRET not in caught.value.render()


def test_a_blob_is_streamed_and_one_that_is_too_long_is_refused(fake: FakeRegistry) -> None:
    fake.blobs[digest_of(b"abc")] = b"abc"
    wanted = Descriptor(CONFIG_TYPE, digest_of(b"abc"), 3)
    assert b"".join(place(fake).blob(wanted).blocks()) == b"abc"
    assert b"".join(place(fake).blob(wanted).blocks(1)) == b"bc"
    with pytest.raises(EnvironmentFault, match="not what its digest says"):
        list(place(fake).blob(Descriptor(CONFIG_TYPE, digest_of(b"abc"), 2)).blocks())


def test_a_file_that_goes_while_it_is_pushed_is_told(fake: FakeRegistry, tmp_path: Path) -> None:
    blob = FileBlob(Descriptor(LAYER_TYPE, digest_of(b"abc"), 3), tmp_path / "gone")
    with pytest.raises(EnvironmentFault, match="not there any more"):
        place(fake).push_blob(blob)
