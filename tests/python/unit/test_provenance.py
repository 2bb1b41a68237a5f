"""Statements and envelopes are what the specifications say, byte for byte."""

from __future__ import annotations

import json

import msgspec
import pytest
from securesystemslib.dsse import Envelope as TheirEnvelope

from mlpipeline.core import provenance as p

DIGEST, HEX = f"sha256:{'ab' * 32}", "ab" * 32


def release(**changes: object) -> p.Release:
    made = p.Release(
        service="churn",
        run="r1",
        commit="c" * 40,
        digest=DIGEST,
        created="2026-03-01T03:00:00Z",
        signed="2026-03-01T03:10:00Z",
        worker="0.1.0",
        lock=f"sha256:{'1' * 64}",
        model=f"sha256:{'2' * 64}",
        data={"rows.csv": f"md5:{'3' * 32}"},
        params={"trees": "10"},
        gates={"gate-data": p.Gate("pass", "41 checks", "4" * 64)},
        byproducts={p.SBOM_NAME: "5" * 64},
        ledger=(7, "6" * 64),
    )
    return msgspec.structs.replace(made, **changes)


def test_encoding_before_signing_is_that_of_the_specification() -> None:
    assert p.pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert p.pae("ü", b"") == b"DSSEv1 2 \xc3\xbc 0 "


def test_another_implementation_reads_the_envelope_and_signs_the_same_bytes() -> None:
    envelope = p.enveloped(p.provenance(release()), [p.Signature(sig="AAAA", keyid="k")])
    theirs = TheirEnvelope.from_dict(json.loads(envelope.encoded()))
    assert theirs.pae() == p.pae(envelope.type, envelope.content)


def test_statement_has_the_form_of_slsa() -> None:
    statement = json.loads(p.provenance(release(images={"churn-image": f"sha256:{'9' * 64}"})).encoded())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [
        {"name": "churn", "digest": {"sha256": HEX}},
        {"name": "churn-image", "digest": {"sha256": "9" * 64}},
    ]
    build, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert build["externalParameters"]["parameters"] == {"trees": "10"}
    materials = {one["name"]: one["digest"] for one in build["resolvedDependencies"]}
    assert materials == {
        "commit": {"gitCommit": "c" * 40},
        "data/rows.csv": {"md5": "3" * 32},
        "model": {"sha256": "2" * 64},
        "requirements.lock": {"sha256": "1" * 64},
    }
    assert details["metadata"] == {
        "invocationId": "r1",
        "startedOn": "2026-03-01T03:00:00Z",
        "finishedOn": "2026-03-01T03:10:00Z",
    }
    assert details["byproducts"][0] == {
        "name": "gate-data",
        "digest": {"sha256": "4" * 64},
        "annotations": {"verdict": "pass", "summary": "41 checks"},
    }


def test_what_was_said_can_be_read_back() -> None:
    _, statement = p.opened(p.enveloped(p.provenance(release())).encoded())
    assert p.about(statement) == {DIGEST}
    assert (p.run_of(statement), p.said_at(statement), p.anchor(statement)) == ("r1", "2026-03-01T03:10:00Z", (7, "6" * 64))
    decided = p.approval(
        service="churn",
        run="r1",
        digest=DIGEST,
        model_version="3",
        evidence="e" * 64,
        who="grace",
        when="2026-03-01T04:00:00Z",
        why="better",
        decision="approve",
        ledger=(9, "8" * 64),
    )
    _, statement = p.opened(p.enveloped(decided).encoded())
    assert statement.predicate["evidence"] == {"sha256": "e" * 64}
    assert (p.run_of(statement), p.said_at(statement), p.anchor(statement)) == ("r1", "2026-03-01T04:00:00Z", (9, "8" * 64))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"payload":"%%","payloadType":"application/vnd.in-toto+json"}',
        b'{"payload":"e30=","payloadType":"x"}',
    ],
)
def test_anything_else_is_no_envelope(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        p.opened(content)


def test_the_same_release_makes_the_same_bytes() -> None:
    assert p.provenance(release()).encoded() == p.provenance(release()).encoded()
