"""Making signatures. A private key is read when it is needed, never kept, never written, never put into a command line."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipeline.adapters.signing.keys import KINDS, Trusted
from mlpipeline.config.sections.records import Signing
from mlpipeline.core.provenance import Signature
from mlpipeline.errors import ConfigurationError, EnvironmentFault

COSIGN_SCHEMES = ("awskms://", "gcpkms://", "azurekms://", "hashivault://", "k8s://", "pkcs11:")
_LIMIT_SECONDS = 120.0
_SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSPHRASE", "CREDENTIAL")


class Signer:
    """Signs as ``signing`` says.

    Args:
        trusted: The public keys that count. What is signed is checked with them at once: a signature that nobody could
            verify later is none.
        environment: Where ``key_env`` and ``password_env`` are looked up, and what a command is given.
    """

    def __init__(self, config: Signing, project: Path, trusted: tuple[Trusted, ...], environment: Mapping[str, str]) -> None:
        self._config = config
        self._project = project
        self._trusted = trusted
        self._environment = environment

    def sign(self, content: bytes, *, at: float) -> Signature:
        """The signature over the content (DSSE's pre-authentication encoding).

        Args:
            at: Now, Unix seconds; the key must be valid.

        Raises:
            ConfigurationError: There is no such key, it is none of ``signing.keys``, or its time is over.
            EnvironmentFault: The command did not sign.
        """
        signature = self._signature(content)
        for key in self._trusted:
            if key.matches(content, signature):
                if why := key.valid_at(at):
                    raise ConfigurationError(
                        "the signing key may not be used now",
                        facts={"key": f"{key.name} ({key.id[:12]})", "found": why},
                        likely="the key was rotated, or this machine's clock is wrong",
                        tries=("name the new key in signing.key and in signing.keys", "date -u"),
                    )
                return Signature(sig=base64.b64encode(signature).decode(), keyid=key.id)
        known = ", ".join(f"{key.name} ({key.id[:12]})" for key in self._trusted) or "none"
        raise ConfigurationError(
            "the signing key is none of signing.keys, so nobody could check what it signs",
            facts={"signed with": self._source(), "signing.keys": known},
            likely="the private key of another service, or the public key was not added when the key was changed",
            tries=("openssl pkey -in KEY -pubout    # and add that file to signing.keys",),
        )

    def _signature(self, content: bytes) -> bytes:
        config = self._config
        if config.command:
            return self._asked(["/bin/sh", "-c", config.command], content)
        if config.key.startswith(COSIGN_SCHEMES) or self._is_cosigns_own():
            return self._asked(self._cosign(), content)
        return _signed(self._private(), content)

    def _is_cosigns_own(self) -> bool:
        """Whether the key file was made by cosign, in a form that it alone reads."""
        try:
            begin = (self._project / self._config.key).read_bytes()[:200] if self._config.key else b""
        except OSError:
            return False  # told when the key is read
        return b"SIGSTORE PRIVATE KEY" in begin or b"COSIGN PRIVATE KEY" in begin

    def _source(self) -> str:
        config = self._config
        if config.command:
            return "signing.command"
        return f"${config.key_env}" if config.key_env else config.key

    def _private(self) -> Any:
        config = self._config
        if config.key_env:
            text = self._environment.get(config.key_env, "")
            if not text:
                raise ConfigurationError(
                    f"the signing key is not in the environment: ${config.key_env} is not set",
                    facts={"signing.key_env": config.key_env},
                    tries=("in Jenkins: withCredentials([string(credentialsId: ..., variable: ...)])",),
                )
            pem = text.replace("\\n", "\n").encode() if "-----BEGIN" in text else _unbase64(text)
        else:
            file = self._project / config.key
            try:
                pem = file.read_bytes()
            except OSError as error:
                raise ConfigurationError(
                    "the signing key cannot be read",
                    facts={"signing.key": file, "found": error.strerror},
                    tries=(f"ls -l {file}",),
                ) from error
        return self._loaded(pem)

    def _loaded(self, pem: bytes) -> Any:
        """Of the errors of the libraries only their kind is told: their words could quote the key."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        word = self._environment.get(self._config.password_env, "") if self._config.password_env else ""
        try:
            key = load_pem_private_key(pem, word.encode() if word else None)
        except TypeError:
            found = "it is encrypted and no password was given" if not word else "it is not encrypted, but a password was given"
            raise self._unusable(found) from None
        except (ValueError, UnsupportedAlgorithm):
            found = "it is no PEM private key, or the password is another one" if word else "it is no PEM private key"
            raise self._unusable(found) from None
        if not _supported(key):
            raise self._unusable(f"it is a {type(key).__name__}, not {KINDS}")
        return key

    def _unusable(self, found: str) -> ConfigurationError:
        return ConfigurationError(
            "the signing key cannot be used",
            facts={"signed with": self._source(), "found": found},
            tries=("openssl genpkey -algorithm ed25519 -out release.key", "signing.password_env names the password's variable"),
        )

    def _cosign(self) -> list[str]:
        program = shutil.which("cosign", path=self._environment.get("PATH"))
        if program is None:
            raise EnvironmentFault(
                "the signing key is one that cosign has to use, and cosign is not installed",
                facts={"signing.key": self._config.key},
                tries=("install cosign on the agent", "signing.command: any program that signs standard input"),
            )
        return [program, "sign-blob", "--yes", "--tlog-upload=false", "--key", self._config.key, "-"]

    def _asked(self, command: list[str], content: bytes) -> bytes:
        """What goes to the command: the content on standard input. What comes back: the signature, raw or in Base64."""
        try:
            done = subprocess.run(
                command,
                input=content,
                cwd=self._project,
                env=self._for_the_command() or None,
                capture_output=True,
                timeout=_LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EnvironmentFault(
                f"the signing command did not answer within {_LIMIT_SECONDS:.0f} s", facts={"command": self._source()}
            ) from error
        if done.returncode != 0:
            raise EnvironmentFault(
                f"the signing command ended with exit code {done.returncode}, nothing was signed",
                facts={"command": self._source(), "said": self._without_secrets(done.stderr) or "nothing"},
                likely="the agent may not use the key, or the key management service cannot be reached",
            )
        return _unbase64(done.stdout.decode("ascii")) if _is_base64(done.stdout) else done.stdout

    def _for_the_command(self) -> dict[str, str]:
        """cosign looks for the password of its own key under a name of its own."""
        word = self._environment.get(self._config.password_env, "") if self._config.password_env else ""
        return {**self._environment, **({"COSIGN_PASSWORD": word} if word else {})}

    def _without_secrets(self, said: bytes) -> str:
        text = "\n".join(said.decode(errors="replace").strip().splitlines()[-3:])
        for name, value in self._environment.items():
            if len(value) >= 6 and any(word in name.upper() for word in _SECRET_NAMES):
                for line in {value, *value.splitlines()}:
                    text = text.replace(line, f"${name}") if len(line) >= 6 else text
        return text


def _supported(key: Any) -> bool:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return isinstance(key, Ed25519PrivateKey) or (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1))


def _signed(key: Any, content: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, Ed25519PrivateKey):
        return key.sign(content)
    made: bytes = key.sign(content, ECDSA(SHA256()))
    return made


def _is_base64(text: bytes) -> bool:
    import re

    # A raw ed25519 signature is 64 bytes of anything; its Base64 form is 88 characters.
    joined = b"".join(text.split())
    return len(joined) >= 86 and re.fullmatch(rb"[A-Za-z0-9+/_-]+={0,2}", joined) is not None


def _unbase64(text: str) -> bytes:
    import binascii

    try:
        return base64.b64decode("".join(text.split()).replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return b""  # is no key and no signature; told as such, without its content
