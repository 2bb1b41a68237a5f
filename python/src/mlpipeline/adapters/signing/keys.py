"""Public keys: who may have signed, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpipeline.config.sections.records import PublicKey
from mlpipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = "ed25519 or ECDSA P-256"
_TRIES = ("openssl genpkey -algorithm ed25519 -out release.key && openssl pkey -in release.key -pubout -out release.pub",)


class Trusted(msgspec.Struct, frozen=True):
    """A public key that counts.

    Args:
        id: SHA-256 (hex) over its DER form (SubjectPublicKeyInfo).
        pem: The key as text.
        since: Unix seconds from which its signatures count; 0: always did.
        until: Unix seconds after which they no longer do; 0: no end.
        kind: ``ed25519`` or ``ecdsa-p256``.
    """

    id: str
    name: str
    pem: str
    kind: str
    since: float = 0.0
    until: float = 0.0

    def valid_at(self, moment: float) -> str:
        """Why its signatures of that moment (Unix seconds) do not count; empty when they do."""
        if self.since and moment < self.since:
            return f"it is valid only from {_told(self.since)}"
        if self.until and moment > self.until:
            return f"it was valid only until {_told(self.until)}"
        return ""

    def matches(self, content: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over exactly this content."""
        from cryptography.exceptions import InvalidSignature

        try:
            _verify(_loaded(self.pem.encode()), signature, content)
        except (InvalidSignature, ValueError):
            return False
        return True


def configured(project: Path, keys: Sequence[PublicKey]) -> tuple[Trusted, ...]:
    """The keys of ``signing.keys``. Raises ConfigurationError for one that cannot be read or is of another kind."""
    return tuple(_trusted(project / key.file, key.name, _unix(key.valid_from), _unix(key.valid_until)) for key in keys)


def from_file(file: Path) -> tuple[Trusted, ...]:
    """The keys of one PEM file, as ``--keys`` names it; several may follow each other. They count for all times."""
    text = _read(file)
    ends = "-----END PUBLIC KEY-----"
    blocks = [f"{part}{ends}\n" for part in text.split(ends) if "-----BEGIN PUBLIC KEY-----" in part]
    if not blocks:
        raise _no_key(file, "there is no PEM block PUBLIC KEY in it")
    return tuple(_made(block[block.index("-----BEGIN") :], file, file.name, 0.0, 0.0) for block in blocks)


def _trusted(file: Path, name: str, since: float, until: float) -> Trusted:
    return _made(_read(file), file, name or file.stem, since, until)


def _made(pem: str, file: Path, name: str, since: float, until: float) -> Trusted:
    try:
        key = _loaded(pem.encode())
    except ValueError as error:
        raise _no_key(file, str(error)) from error
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    clean = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return Trusted(id=_id(key), name=name, pem=clean, kind=_kind(key), since=since, until=until)


def _read(file: Path) -> str:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _no_key(file, getattr(error, "strerror", "") or "it is not text") from error
    if "PRIVATE KEY" in text:
        raise ConfigurationError(
            "a private key stands where a public one belongs",
            facts={"file": file},
            likely="the two files were mixed up; whoever can read the project can sign as you",
            tries=(f"openssl pkey -in {file} -pubout -out {file.with_suffix('.pub')}", "make a new key if the file was shared"),
        )
    return text


def _loaded(pem: bytes) -> Any:
    """The key object. Raises ValueError, without any of the content, when it is none that is supported."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("it cannot be read as a PEM public key") from error
    if not _kind(key):
        raise ValueError(f"it is a {type(key).__name__}, not {KINDS}")
    return key


def _kind(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if isinstance(key, Ed25519PublicKey):
        return "ed25519"
    return "ecdsa-p256" if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else ""


def _verify(key: Any, signature: bytes, content: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    if _kind(key) == "ed25519":
        key.verify(signature, content)
    else:
        key.verify(signature, content, ECDSA(SHA256()))


def _id(key: Any) -> str:
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _no_key(file: Path, found: str) -> ConfigurationError:
    return ConfigurationError(
        "a public key cannot be used", facts={"file": file, "found": found, "kinds": KINDS}, tries=(f"ls -l {file}", *_TRIES)
    )


def _unix(text: str) -> float:
    if not text:
        return 0.0
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _told(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
