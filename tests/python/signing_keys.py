"""Key pairs for tests, made anew each time."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

KINDS = ("ed25519", "ecdsa-p256")


def make_pair(folder: Path, name: str = "release", kind: str = "ed25519", password: str = "") -> tuple[Path, Path]:
    """Files of a private and a public key."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = {"ecdsa-p256": SECP256R1, "ecdsa-p384": SECP384R1}
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(curves[kind]())
    protection = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public
