"""Registry, signatures and ledger, as they are configured."""

from __future__ import annotations

from mlpipeline.config.values import Section


class Tracking(Section, frozen=True):
    uri: str = ""
    """MLflow tracking and registry server; empty: a SQLite file of this service in the state folder."""
    experiment: str = ""
    """Empty: the service's name."""


class PublicKey(Section, frozen=True):
    """A key whose signatures count. When a key is changed, the old one stays here with ``valid_until``: what it signed in its
    time stays signed."""

    file: str
    """PEM file of the public key (ed25519 or ECDSA P-256), from the project's folder; commit it."""
    name: str = ""
    """Your name for it, in messages; empty: the file's name."""
    valid_from: str = ""
    """ISO time; empty: always was."""
    valid_until: str = ""
    """ISO time; empty: no end."""


class Signing(Section, frozen=True):
    """Who signs what is said of a package: its provenance, and people's approvals. At most one of ``key``, ``key_env`` and
    ``command``; with ``keys`` alone, this machine checks and does not sign."""

    key: str = ""
    """File of a PEM private key (ed25519 or ECDSA P-256), or a key of a key management service as cosign names it
    (``awskms://``, ``gcpkms://``, ``azurekms://``, ``hashivault://``, ``k8s://``, ``pkcs11:``), which cosign then asks."""
    key_env: str = ""
    """Name of an environment variable that holds the PEM private key, as it is or in Base64."""
    password_env: str = ""
    """Name of an environment variable that holds the password of an encrypted key."""
    command: str = ""
    """A shell command that gets what is to be signed on standard input and prints the signature, raw or in Base64: ed25519
    over the input, or ECDSA P-256 over its SHA-256 (DER)."""
    witness: str = ""
    """A shell command that vouches besides for each statement, the file ``$STATEMENT``, and writes its word to ``$WITNESS``, such
    as ``cosign sign-blob --yes --bundle "$WITNESS" "$STATEMENT"``. It is kept beside the statement as ``*.sigstore.json``."""
    keys: tuple[PublicKey, ...] = ()
    """The public keys that count, old ones included."""


class Ledger(Section, frozen=True):
    """Where decisions are kept."""

    uri: str = ""
    """Empty: a SQLite file in the state folder of the service. ``postgresql://USER@HOST/DATABASE``: one ledger for many agents;
    ``$NAME`` is replaced from the environment, so that no password stands in the file."""
