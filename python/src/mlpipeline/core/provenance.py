"""What is said of a package, in the words of in-toto, and how it is put into a signed envelope (DSSE). No key, no file, no clock.

Sources: in-toto Statement v1, SLSA provenance v1, DSSE v1.0 (pre-authentication encoding, envelope).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

STATEMENT = "https://in-toto.io/Statement/v1"
SLSA = "https://slsa.dev/provenance/v1"
APPROVAL = "urn:mlpipeline:approval:v1"
BUILD_TYPE = "urn:mlpipeline:release:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
SBOM_NAME = "sbom.cdx.json"
CARD_NAME = "model-card.md"
LEDGER_NAME = "ledger"


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True):
    """in-toto's ResourceDescriptor, as far as it is used. ``digest``: algorithm to hex."""

    name: str = ""
    uri: str = ""
    digest: dict[str, str] = {}
    mediaType: str = ""  # noqa: N815 - in-toto's own word
    annotations: dict[str, Any] = {}


class Statement(msgspec.Struct, frozen=True):
    """in-toto Statement v1: subjects, and what is said of them."""

    subject: tuple[Descriptor, ...]
    type: str = msgspec.field(name="predicateType")
    predicate: dict[str, Any]
    statement: str = msgspec.field(name="_type", default=STATEMENT)

    def encoded(self) -> bytes:
        """The bytes that are signed: sorted keys, no spaces."""
        return msgspec.json.encode(self, order="sorted")


class Signature(msgspec.Struct, frozen=True):
    """``sig`` is Base64. ``keyid`` is a hint only: it is not covered by the signature."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """A DSSE envelope. One without signatures says who could have said anything: it proves nothing."""

    payload: str
    type: str = msgspec.field(name="payloadType", default=PAYLOAD_TYPE)
    signatures: tuple[Signature, ...] = ()

    @property
    def content(self) -> bytes:
        """The signed bytes. Raises ValueError when they are not Base64."""
        return unbase64(self.payload)

    def encoded(self) -> bytes:
        return msgspec.json.encode(self, order="sorted") + b"\n"


class Release(msgspec.Struct, frozen=True):
    """What a provenance statement is made of.

    Args:
        digest: ``sha256:...`` of the bundle.
        images: ``name`` to ``sha256:...`` of images made of it.
        lock: ``sha256:...`` of the locked requirements.
        model: ``sha256:...`` over the model's files.
        data: Path to ``md5:...`` or ``sha256:...``.
        gates: Verb to verdict, summary and SHA-256 (hex) of its result.
        byproducts: Name to SHA-256 (hex) of files that go with the bundle.
        created: When the run began; ISO 8601, UTC.
        signed: When this was said; ISO 8601, UTC.
        ledger: Number and hash of the newest entry of the ledger; 0 and empty without one.
    """

    service: str
    run: str
    commit: str
    digest: str
    created: str
    signed: str
    worker: str
    dirty: str = ""
    config: str = ""
    requester: str = ""
    reason: str = ""
    python: str = ""
    lock: str = ""
    model: str = ""
    command: str = ""
    images: Mapping[str, str] = {}
    data: Mapping[str, str] = {}
    holdout: str = ""
    params: Mapping[str, str] = {}
    gates: Mapping[str, Gate] = {}
    byproducts: Mapping[str, str] = {}
    ledger: tuple[int, str] = (0, "")


class Gate(msgspec.Struct, frozen=True):
    verdict: str
    summary: str
    result: str


def provenance(release: Release) -> Statement:
    """SLSA provenance v1 of a package."""
    about = Descriptor(name=release.service, digest=hashed(release.digest))
    subjects = [about, *(Descriptor(name=name, digest=hashed(digest)) for name, digest in sorted(release.images.items()))]
    return Statement(
        subject=tuple(subjects),
        type=SLSA,
        predicate={
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _given(
                    service=release.service,
                    reason=release.reason,
                    requester=release.requester,
                    configuration=release.config,
                    command=release.command,
                    parameters=dict(release.params),
                ),
                "internalParameters": _given(python=release.python, uncommittedChanges=release.dirty),
                "resolvedDependencies": [_plain(one) for one in _materials(release)],
            },
            "runDetails": {
                "builder": {"id": "urn:mlpipeline:worker", "version": {"mlpipeline": release.worker}},
                "metadata": {"invocationId": release.run, "startedOn": release.created, "finishedOn": release.signed},
                "byproducts": [_plain(one) for one in _byproducts(release)],
            },
        },
    )


def approval(
    *,
    service: str,
    run: str,
    digest: str,
    model_version: str,
    evidence: str,
    who: str,
    when: str,
    why: str,
    decision: str,
    ledger: tuple[int, str] = (0, ""),
) -> Statement:
    """One person's decision on a package, bound to the evidence that was looked at."""
    predicate = _given(
        decision=decision, who=who, when=when, why=why, run=run, modelVersion=model_version, evidence={"sha256": evidence}
    )
    return Statement(
        subject=(Descriptor(name=service, digest=hashed(digest)),),
        type=APPROVAL,
        predicate={**predicate, "byproducts": [_plain(one) for one in _anchor(ledger)]},
    )


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is really signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def enveloped(statement: Statement, signatures: Sequence[Signature] = ()) -> Envelope:
    return Envelope(payload=base64.b64encode(statement.encoded()).decode(), signatures=tuple(signatures))


def opened(content: bytes) -> tuple[Envelope, Statement]:
    """An envelope and the statement in it. Raises ValueError, with what is wrong, for anything else."""
    try:
        envelope = msgspec.json.decode(content, type=Envelope)
        statement = msgspec.json.decode(envelope.content, type=Statement)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    if envelope.type != PAYLOAD_TYPE or statement.statement != STATEMENT:
        raise ValueError(f"it is a {envelope.type} of {statement.statement}, not an in-toto statement")
    return envelope, statement


def unbase64(text: str) -> bytes:
    """Standard or URL-safe Base64, as DSSE allows. Raises ValueError otherwise."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not Base64: {error}") from error


def said_at(statement: Statement) -> str:
    """When the statement was made, as it says itself; empty when it does not."""
    if statement.type == APPROVAL:
        return str(statement.predicate.get("when", ""))
    return str(_inside(statement.predicate, "runDetails", "metadata").get("finishedOn", ""))


def about(statement: Statement) -> frozenset[str]:
    """``sha256:...`` of its subjects."""
    return frozenset(f"sha256:{one.digest['sha256']}" for one in statement.subject if "sha256" in one.digest)


def run_of(statement: Statement) -> str:
    if statement.type == APPROVAL:
        return str(statement.predicate.get("run", ""))
    return str(_inside(statement.predicate, "runDetails", "metadata").get("invocationId", ""))


def byproducts(statement: Statement) -> dict[str, Descriptor]:
    """By name: results of gates, files beside the bundle, the ledger's newest entry."""
    inside = statement.predicate if statement.type == APPROVAL else _inside(statement.predicate, "runDetails")
    return _descriptors(inside.get("byproducts"))


def materials(statement: Statement) -> dict[str, Descriptor]:
    """By name: commit, data, locked requirements, model."""
    return _descriptors(_inside(statement.predicate, "buildDefinition").get("resolvedDependencies"))


def anchor(statement: Statement) -> tuple[int, str]:
    """Number and hash of the ledger entry that was the newest when the statement was made; 0 and empty when it names none."""
    found = byproducts(statement).get(LEDGER_NAME)
    number = found.annotations.get("entry", 0) if found else 0
    return (number, found.digest.get("sha256", "")) if found and isinstance(number, int) else (0, "")


def hashed(digest: str) -> dict[str, str]:
    """``sha256:ab`` as in-toto writes it; nothing for an empty text."""
    kind, _, value = digest.partition(":")
    return {kind: value} if value else {}


def _materials(release: Release) -> list[Descriptor]:
    data = [
        Descriptor(name=f"data/{path}", digest=hashed(version), annotations={} if hashed(version) else {"version": version})
        for path, version in sorted(release.data.items())
    ]
    found = [
        Descriptor(name="commit", digest={"gitCommit": release.commit}),
        *data,
        Descriptor(name="holdout", digest=hashed(release.holdout)),
        Descriptor(name="requirements.lock", digest=hashed(release.lock)),
        Descriptor(name="model", digest=hashed(release.model)),
    ]
    return [one for one in found if one.digest or one.annotations]


def _byproducts(release: Release) -> list[Descriptor]:
    gates = [
        Descriptor(name=verb, digest={"sha256": gate.result}, annotations={"verdict": gate.verdict, "summary": gate.summary})
        for verb, gate in release.gates.items()
    ]
    files = [Descriptor(name=name, digest={"sha256": digest}) for name, digest in sorted(release.byproducts.items())]
    return [*gates, *files, *_anchor(release.ledger)]


def _anchor(ledger: tuple[int, str]) -> list[Descriptor]:
    number, digest = ledger
    return [Descriptor(name=LEDGER_NAME, digest={"sha256": digest}, annotations={"entry": number})] if digest else []


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _plain(descriptor: Descriptor) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(descriptor)
    return plain


def _inside(value: Any, *names: str) -> dict[str, Any]:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _descriptors(found: Any) -> dict[str, Descriptor]:
    try:
        return {one.name: one for one in msgspec.convert(found or [], list[Descriptor])}
    except msgspec.ValidationError:
        return {}
