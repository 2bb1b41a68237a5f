"""Signatures: by whom, over what, and when they count. Keys are real; nothing of a private key is ever told."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.signer import SSlibKey

from mlpipeline.adapters.signing.keys import Trusted, configured, from_file
from mlpipeline.adapters.signing.signer import Signer
from mlpipeline.config.sections.records import PublicKey, Signing
from mlpipeline.core.provenance import Statement, enveloped, pae
from mlpipeline.errors import ConfigurationError, EnvironmentFault, MlpipelineError
from signing_keys import KINDS, make_pair

CONTENT = pae("application/vnd.in-toto+json", b'{"a":1}')
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def signer(folder: Path, environment: dict[str, str] | None = None, **config: object) -> Signer:
    given = Signing(keys=(PublicKey(file="release.pub"),), **config)  # type: ignore[arg-type]
    return Signer(given, folder, configured(folder, given.keys), environment or {"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("kind", KINDS)
def test_key_file_signs_and_one_changed_byte_is_found(tmp_path: Path, kind: str) -> None:
    make_pair(tmp_path, kind=kind)
    made = signer(tmp_path, key="release.key").sign(CONTENT, at=NOW)
    (key,) = from_file(tmp_path / "release.pub")
    signature = base64.b64decode(made.sig)
    assert made.keyid == key.id
    assert key.matches(CONTENT, signature)
    for place in range(len(CONTENT)):
        changed = bytearray(CONTENT)
        changed[place] ^= 1
        assert not key.matches(bytes(changed), signature)
    assert not key.matches(CONTENT, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not key.matches(CONTENT, b"")


@pytest.mark.parametrize("kind", KINDS)
def test_another_implementation_verifies_the_envelope(tmp_path: Path, kind: str) -> None:
    make_pair(tmp_path, kind=kind)
    statement = Statement(subject=(), type="urn:test", predicate={})
    bare = enveloped(statement)
    made = enveloped(statement, [signer(tmp_path, key="release.key").sign(pae(bare.type, bare.content), at=NOW)])
    scheme = {"ed25519": ("ed25519", "ed25519"), "ecdsa-p256": ("ecdsa", "ecdsa-sha2-nistp256")}[kind]
    pem = (tmp_path / "release.pub").read_text()
    public = pem
    if kind == "ed25519":
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

        public = load_pem_public_key(pem.encode()).public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    theirs = TheirEnvelope.from_dict(json.loads(made.encoded()))
    key = SSlibKey(made.signatures[0].keyid, *scheme, {"public": public})
    assert theirs.verify([key], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_alone_verifies_it(tmp_path: Path, kind: str) -> None:
    make_pair(tmp_path, kind=kind)
    (tmp_path / "content").write_bytes(CONTENT)
    (tmp_path / "sig").write_bytes(base64.b64decode(signer(tmp_path, key="release.key").sign(CONTENT, at=NOW).sig))
    way = (
        ["pkeyutl", "-verify", "-pubin", "-inkey", "release.pub", "-rawin", "-in", "content", "-sigfile", "sig"]
        if kind == "ed25519"
        else ["dgst", "-sha256", "-verify", "release.pub", "-signature", "sig", "content"]
    )
    subprocess.run(["openssl", *way], cwd=tmp_path, check=True, capture_output=True)


def test_key_from_the_environment_as_it_is_or_in_base64(tmp_path: Path) -> None:
    private, _ = make_pair(tmp_path)
    pem = private.read_text()
    for text in (pem, base64.b64encode(pem.encode()).decode(), pem.replace("\n", "\\n")):
        assert signer(tmp_path, {"KEY": text}, key_env="KEY").sign(CONTENT, at=NOW).sig


def test_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    make_pair(tmp_path, password="correct horse")
    config = {"key": "release.key", "password_env": "WORD"}
    assert signer(tmp_path, {"WORD": "correct horse"}, **config).sign(CONTENT, at=NOW).sig
    for environment, words in (({"WORD": "wrong horse"}, "another one"), ({"A": "b"}, "no password")):
        with pytest.raises(ConfigurationError, match="cannot be used") as caught:
            signer(tmp_path, environment, **config).sign(CONTENT, at=NOW)
        assert words in caught.value.facts["found"]
        assert "wrong horse" not in caught.value.render()


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "base64"])
@pytest.mark.parametrize("kind", KINDS)
def test_command_signs_standard_input(tmp_path: Path, kind: str, raw: bool) -> None:
    make_pair(tmp_path, kind=kind)
    sign = (
        "openssl pkeyutl -sign -inkey release.key -rawin -in content"
        if kind == "ed25519"
        else "openssl dgst -sha256 -sign release.key content"
    )
    command = f"cat > content && {sign}" + ("" if raw else " | base64")
    assert signer(tmp_path, command=command).sign(CONTENT, at=NOW).sig


def test_failed_command_is_told_without_any_secret(tmp_path: Path) -> None:
    make_pair(tmp_path)
    environment = {"PATH": os.environ["PATH"], "VAULT_TOKEN": "hvs.s3cret-token"}
    with pytest.raises(EnvironmentFault, match="exit code 4, nothing was signed") as caught:
        signer(tmp_path, environment, command='echo "denied for $VAULT_TOKEN" >&2; exit 4').sign(CONTENT, at=NOW)
    assert caught.value.facts["said"] == "denied for $VAULT_TOKEN"
    assert "s3cret" not in caught.value.render()


def test_key_of_a_key_management_service_is_asked_through_cosign(tmp_path: Path) -> None:
    """cosign signs the SHA-256 of what it reads with ECDSA, which is what an envelope needs."""
    make_pair(tmp_path, kind="ecdsa-p256")
    program = tmp_path / "bin" / "cosign"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat > {tmp_path}/content\n'
        f"openssl dgst -sha256 -sign {tmp_path}/release.key {tmp_path}/content | base64 -w0\n"
    )
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    assert signer(tmp_path, environment, key="awskms:///alias/release").sign(CONTENT, at=NOW).sig
    assert (tmp_path / "asked").read_text() == "sign-blob --yes --tlog-upload=false --key awskms:///alias/release -\n"
    with pytest.raises(EnvironmentFault, match="cosign is not installed"):
        signer(tmp_path, {"PATH": "/nowhere"}, key="awskms:///alias/release").sign(CONTENT, at=NOW)
    (tmp_path / "cosign.key").write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n")
    program.write_text(program.read_text().replace('echo "$@"', 'echo "$COSIGN_PASSWORD $@"'))
    given = {**environment, "WORD": "correct horse"}
    assert signer(tmp_path, given, key="cosign.key", password_env="WORD").sign(CONTENT, at=NOW).sig
    assert (tmp_path / "asked").read_text().startswith("correct horse sign-blob --yes --tlog-upload=false --key cosign.key")


def test_key_that_nobody_could_check_signs_nothing(tmp_path: Path) -> None:
    make_pair(tmp_path)
    make_pair(tmp_path, "other")
    with pytest.raises(ConfigurationError, match="none of signing"):
        signer(tmp_path, key="other.key").sign(CONTENT, at=NOW)


def test_key_signs_only_in_its_time(tmp_path: Path) -> None:
    make_pair(tmp_path)

    def within(since: str, until: str) -> Signer:
        config = Signing(key="release.key", keys=(PublicKey(file="release.pub", valid_from=since, valid_until=until),))
        return Signer(config, tmp_path, configured(tmp_path, config.keys), {})

    assert within("2027-01-15T08:00:00Z", "2027-01-15T09:00:00+01:00").sign(CONTENT, at=NOW).sig
    with pytest.raises(ConfigurationError, match="may not be used now") as caught:
        within("", "2027-01-15T07:59:59Z").sign(CONTENT, at=NOW)
    assert caught.value.facts["found"] == "it was valid only until 2027-01-15T07:59:59Z"
    with pytest.raises(ConfigurationError, match="may not be used now") as caught:
        within("2027-01-15T08:00:01", "").sign(CONTENT, at=NOW)
    assert caught.value.facts["found"] == "it is valid only from 2027-01-15T08:00:01Z"


def broken_files(folder: Path) -> dict[str, str]:
    private, _ = make_pair(folder)
    make_pair(folder, "curve", kind="ecdsa-p384")
    (folder / "empty.key").write_text("")
    (folder / "cut.key").write_text(private.read_text()[:60])
    return {"absent.key": "cannot be read", "empty.key": "cannot be used", "cut.key": "cannot be used", "curve.key": "be used"}


@pytest.mark.parametrize("name", ["absent.key", "empty.key", "cut.key", "curve.key"])
def test_unusable_key_is_told_without_any_of_it(tmp_path: Path, name: str) -> None:
    words = broken_files(tmp_path)[name]
    with pytest.raises(ConfigurationError, match=words) as caught:
        signer(tmp_path, key=name).sign(CONTENT, at=NOW)
    assert not any(line in caught.value.render() for line in (tmp_path / "release.key").read_text().splitlines()[1:2])


def test_public_keys_that_are_none(tmp_path: Path) -> None:
    broken_files(tmp_path)
    for name, words in {"absent.pub": "No such file", "empty.key": "PEM", "curve.pub": "not ed25519"}.items():
        with pytest.raises(ConfigurationError, match="a public key cannot be used") as caught:
            configured(tmp_path, [PublicKey(file=name)])
        assert words in caught.value.facts["found"]
    with pytest.raises(ConfigurationError, match="private key stands where a public one belongs"):
        configured(tmp_path, [PublicKey(file="release.key")])
    with pytest.raises(ConfigurationError, match="a public key cannot be used"):
        from_file(tmp_path / "empty.key")


def test_several_keys_of_one_file(tmp_path: Path) -> None:
    text = "".join(f"# {name}\n{make_pair(tmp_path, name)[1].read_text()}" for name in ("old", "new"))
    (tmp_path / "keys.pem").write_text(text)
    assert [type(key) for key in from_file(tmp_path / "keys.pem")] == [Trusted, Trusted]
    assert len({key.id for key in from_file(tmp_path / "keys.pem")}) == 2


def test_the_key_stands_in_no_command_line(tmp_path: Path) -> None:
    """Another user of the machine may read all command lines; a key in the environment never becomes one."""
    private, _ = make_pair(tmp_path)
    seen = tmp_path / "seen"
    command = (
        f"{sys.executable} -c \"import pathlib, os; pathlib.Path('{seen}').write_bytes(pathlib.Path('/proc/self/cmdline')"
        + (".read_bytes() + pathlib.Path(f'/proc/{os.getppid()}/cmdline').read_bytes())\"; exit 1")
    )
    environment = {"PATH": os.environ["PATH"], "RELEASE_KEY": private.read_text()}
    with pytest.raises(MlpipelineError):
        signer(tmp_path, environment, command=command).sign(CONTENT, at=NOW)
    assert private.read_text().splitlines()[1].encode() not in seen.read_bytes()
