"""What an audit asks of the record: whether everything fits together, and an archive that anybody can check."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

import msgspec

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


class Line(msgspec.Struct, frozen=True):
    """One entry of the ledger, as far as an audit compares it."""

    number: int
    at: str
    hash: str
    event: str
    run: str = ""
    result: str = ""
    facts: Mapping[str, str] = {}


class Anchor(msgspec.Struct, frozen=True):
    """Somebody's word that the ledger had come to an entry. ``where``: who says so."""

    where: str
    number: int
    hash: str


class Said(msgspec.Struct, frozen=True):
    """A statement as it is found.

    Args:
        where: Its file, in words.
        sha256: Of the file (hex).
        signed: Whether it carries signatures.
        trouble: What is wrong with its signature or its form; empty: nothing.
    """

    where: str
    digest: str
    run: str
    statement: str
    sha256: str
    signed: bool = True
    trouble: str = ""


def anchored(lines: Sequence[Line], anchors: Sequence[Anchor]) -> Iterator[str]:
    """What is cut off or written anew: an anchor names an entry that is not there, or is another one now."""
    for anchor in sorted(anchors, key=lambda one: (one.number, one.where)):
        if anchor.number > len(lines):
            last = f"{lines[-1].number}" if lines else "none"
            yield f"entry {anchor.number} is missing: {anchor.where} names it, and the last one is {last}"
        elif anchor.number and lines[anchor.number - 1].hash != anchor.hash:
            yield f"entry {anchor.number} is not the one that {anchor.where} names"


def unknown_results(lines: Sequence[Line], results: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Results that no entry tells of. Every result is announced in the ledger before it is written.

    Args:
        results: Run and verb to the SHA-256 (hex) of the file.
    """
    known = {(one.run, one.event, one.result) for one in lines if one.result}
    for (run, verb), digest in sorted(results.items()):
        if (run, verb, digest) in known:
            continue
        told = [one.number for one in lines if (one.run, one.event) == (run, verb)]
        what = f"the result of {verb} in run {run}"
        if told:
            yield f"{what} is not the one that entry {told[-1]} tells of: it was changed, or entries are missing"
        else:
            yield f"{what} has no entry: it was made up, or entries are missing"


def missing_statements(lines: Sequence[Line], said: Sequence[Said]) -> Iterator[str]:
    """Statements that an entry tells of and nobody has here."""
    found = {(one.digest, one.run, one.statement) for one in said}
    for key, line in _noted(lines).items():
        if key not in found:
            yield f"the statement that entry {line.number} tells of is missing: {key[2]} of {key[0][:19]} in run {key[1]}"


def unfit_statements(lines: Sequence[Line], said: Sequence[Said]) -> Iterator[str]:
    """Statements that were changed or never noted; each with its entry."""
    noted = _noted(lines)
    found = {(one.digest, one.run, one.statement): one for one in said}
    for key, line in noted.items():
        statement = found.get(key)
        if statement is not None and statement.sha256 != line.facts.get("sha256"):
            yield f"{statement.where} is not the one that entry {line.number} tells of"
    for key, statement in found.items():
        if statement.trouble:
            yield f"{statement.where}: {statement.trouble}"
        if key not in noted:
            yield f"{statement.where} has no entry in the ledger"


def _noted(lines: Sequence[Line]) -> dict[tuple[str, str, str], Line]:
    """The newest entry of each statement, by digest, run and which it is."""
    return {
        (one.facts.get("digest", ""), one.run, one.facts.get("statement", "")): one for one in lines if one.event == "attested"
    }


def unsigned_after_signed(lines: Sequence[Line]) -> Iterator[str]:
    """Once a service signs, it never stops: a statement without a signature after one that had one."""
    began = 0
    for one in lines:
        if one.event != "attested":
            continue
        if one.facts.get("key"):
            began = began or one.number
        elif began:
            yield f"entry {one.number} tells of a statement that is not signed, and entry {began} of one that was"


def back_in_time(lines: Sequence[Line], slack_seconds: float) -> Iterator[str]:
    """Entries that are earlier than the one before by more than clocks may differ."""
    for before, after in pairwise(lines):
        try:
            back = (datetime.fromisoformat(before.at) - datetime.fromisoformat(after.at)).total_seconds()
        except (ValueError, TypeError):
            yield f"entry {after.number} has no time: {after.at!r}"
            continue
        if back > slack_seconds:
            yield f"entry {after.number} is {back:.0f} s earlier than the one before: a clock was behind"


def sums(files: Mapping[str, bytes]) -> bytes:
    """What ``sha256sum --check`` reads."""
    import hashlib

    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())).encode()


def archive(files: Mapping[str, bytes]) -> bytes:
    """A zip of exactly these files: sorted, uncompressed, without times and owners; the same bytes each time and everywhere."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as zipped:
        for name, content in sorted(files.items()):
            member = zipfile.ZipInfo(name, date_time=_EPOCH)
            member.create_system = _UNIX
            member.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            zipped.writestr(member, content)
    return buffer.getvalue()


def chain_files(entries: Sequence[tuple[int, str, bytes]]) -> dict[str, bytes]:
    """Each entry as the bytes that its hash is of, and ``LEDGER-SHA256SUMS`` over them.

    Args:
        entries: Number, hash, and content without the hash (sorted keys, no spaces).
    """
    width = max(6, len(str(len(entries))))
    files = {f"ledger/{number:0{width}d}.json": content for number, _, content in entries}
    names = "".join(f"{hashed}  ledger/{number:0{width}d}.json\n" for number, hashed, _ in entries)
    return {**files, "LEDGER-SHA256SUMS": names.encode()}


CHECK = """#!/bin/sh
# Checks this archive with sha256sum and openssl (1.1.1 or newer) alone; needs no mlpipeline, no network, no trust in it.
# Compare keys/*.pem with the public keys that you were given by another way first: who makes an archive chooses its keys.
set -eu
cd "$(dirname "$0")"

sha256sum --check --quiet SHA256SUMS
echo "files: as listed"
sha256sum --check --quiet LEDGER-SHA256SUMS
echo "ledger: each entry has its hash"

previous=0000000000000000000000000000000000000000000000000000000000000000
while read -r hash file; do
    if [ "$previous" != 0000000000000000000000000000000000000000000000000000000000000000 ]; then
        grep -q "\\"previous\\":\\"$previous\\"" "$file" || { echo "ledger: $file does not follow the entry before"; exit 1; }
    fi
    previous=$hash
done < LEDGER-SHA256SUMS
echo "ledger: each entry names the hash of the one before"

# file, kind of key, key
while read -r file kind key; do
    if [ "$kind" = ed25519 ]; then
        openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$file.signed" -sigfile "$file.sig" > /dev/null ||
            { echo "signature: $file does not hold"; exit 1; }
    else
        openssl dgst -sha256 -verify "$key" -signature "$file.sig" "$file.signed" > /dev/null ||
            { echo "signature: $file does not hold"; exit 1; }
    fi
    tail -c "$(wc -c < "$file.payload.json")" "$file.signed" | cmp -s - "$file.payload.json" ||
        { echo "signature: $file.payload.json is not what was signed"; exit 1; }
done < SIGNATURES
echo "signatures: all $(wc -l < SIGNATURES) hold"
"""

README = """The record of {service}
====================

What this is: every decision about the service (ledger/), what each release was judged by (runs/), what is said of each package
(packages/: SBOM, provenance, approvals, model card), and the public keys (keys/). {entries} entries, {runs} runs, {statements}
statements, {signed} of them signed. The newest entry is {newest}.

Check it
--------
    sh check.sh

or by hand, with sha256sum and openssl:

1. The files are as listed:                 sha256sum --check SHA256SUMS
2. Each entry of the ledger has its hash:   sha256sum --check LEDGER-SHA256SUMS
   Each entry names, as "previous", the hash of the one before: an entry that was changed, removed or put in between shows.
3. Each statement NAME was signed with the key that SIGNATURES names beside it. NAME.signed is what was signed (DSSE's
   pre-authentication encoding: "DSSEv1", the type and the payload, each with its length); it ends with NAME.payload.json.
     ed25519:     openssl pkeyutl -verify -pubin -inkey KEY -rawin -in NAME.signed -sigfile NAME.sig
     ecdsa-p256:  openssl dgst -sha256 -verify KEY -signature NAME.sig NAME.signed
   keys/keys.json says from when until when each key counts; the payload says when it was signed ("finishedOn", "when").
4. A provenance (packages/DIGEST/RUN/provenance.dsse.json.payload.json, in-toto and SLSA) names by SHA-256 the SBOM, the model
   card and the result of each gate (packages/DIGEST/RUN/record/), and the number and hash of the ledger's newest entry then:
   entries that were cut off later show.

Compare the keys with those that you were given by another way. Keep this archive's SHA-256: one that is made later holds the
same entries, and more.
"""
