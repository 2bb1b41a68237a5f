"""What an audit reads: the ledger, results, statements and keys of a service, from this checkout and this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlpipeline.core import provenance as words
from mlpipeline.core.audit import Anchor, Line, Said
from mlpipeline.record.attestations import PROVENANCE, Attestations, digests, runs_of, sha256
from mlpipeline.record.ledger import Entry
from mlpipeline.record.run import Run
from mlpipeline.verbs.attesting import signers, trusted
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.pruning import RECORD

if TYPE_CHECKING:
    from mlpipeline.adapters.signing.keys import Trusted


def line(entry: Entry) -> Line:
    return Line(entry.seq, entry.at, entry.hash, entry.event, entry.run, entry.result, entry.facts)


def places(context: Context) -> list[Attestations]:
    """Where statements of this service are, by digest and run."""
    found = []
    for digest in digests(context.places):
        for run in runs_of(context.places, digest):
            place = Attestations(context.places, digest, run)
            if _service_of(place) in {"", context.config.service}:
                found.append(place)
    return found


def statements(context: Context) -> Iterator[tuple[Attestations, str, bytes]]:
    """Place, file name and content of each statement."""
    for place in places(context):
        if place.has(PROVENANCE):
            yield place, PROVENANCE, place.read(PROVENANCE)
        for name, content in place.approvals().items():
            yield place, name, content


def said(context: Context) -> list[Said]:
    """Each statement, its signature checked with the known keys where it has one."""
    keys = trusted(context)
    found = []
    for place, name, content in statements(context):
        digest, run = f"sha256:{place.folder.parent.name}", place.folder.name
        where = f"{place.folder / name}"
        try:
            envelope, statement = words.opened(content)
        except ValueError as error:
            which = "provenance" if name == PROVENANCE else name
            found.append(Said(where, digest, run, which, sha256(content), trouble=f"it cannot be read: {error}"))
            continue
        which = "provenance" if name == PROVENANCE else f"approval by {statement.predicate.get('who', '')}"
        trouble = ""
        if envelope.signatures and keys:
            trouble = _trouble(words.said_at(statement), signers(envelope, keys))
        if digest not in words.about(statement):
            trouble = trouble or "it is about another package"
        found.append(Said(where, digest, run, which, sha256(content), bool(envelope.signatures), trouble))
    return found


def anchors(context: Context) -> list[Anchor]:
    """What statements say of how far the ledger had come."""
    found = []
    for place, name, content in statements(context):
        with contextlib.suppress(ValueError):
            number, hashed = words.anchor(words.opened(content)[1])
            if number:
                found.append(Anchor(str(place.folder / name), number, hashed))
    return found


def registry_anchors(context: Context, lines: list[Line]) -> list[Anchor]:
    """What the registry was told of how far the ledger had come. Raises EnvironmentFault when it cannot be reached."""
    registry, service = context.world.registry(), context.config.service
    versions = {one.facts.get("model_version", "") for one in lines if one.event == "register"} - {""}
    found = []
    for number in sorted(versions, key=lambda text: (len(text), text)):
        version = registry.version(service, number)
        text = version.tags.get("mlpipeline.ledger", "") if version else ""
        entry, _, hashed = text.partition(":")
        if entry.isdigit() and hashed:
            found.append(Anchor(f"version {number} in the registry", int(entry), hashed))
    return found


def runs(context: Context) -> dict[str, Run]:
    """By name: those of this checkout, those that were removed from it, and those that said something of a package."""
    found = {}
    kept = {place.folder.name: content for place in places(context) for name, content in place.record().items() if name == "run"}
    kept |= {file.parent.name: file.read_bytes() for file in sorted(context.places.records.glob("*/run.json"))}
    for content in kept.values():
        with contextlib.suppress(msgspec.DecodeError):
            run = msgspec.json.decode(content, type=Run)
            found[run.id] = run
    return found | {run.id: run for run in context.runs.all()}


def results(context: Context) -> dict[tuple[str, str], bytes]:
    """Run and verb to the result's file: the copies that statements rest on, what was kept, and those of this checkout."""
    found = {}
    for place in places(context):
        for name, content in place.record().items():
            if name != "run":
                found[place.folder.name, name] = content
    for folder in _record_folders(context):
        for file in sorted((folder / "results").glob("*.json")):
            found[folder.name, file.stem] = file.read_bytes()
    return found


def records(context: Context) -> dict[str, bytes]:
    """What is kept of runs, by the name in an archive."""
    found: dict[str, bytes] = {}
    for folder in _record_folders(context):
        for pattern in RECORD:
            for file in sorted(folder.glob(pattern)):
                found[f"runs/{folder.name}/{file.relative_to(folder)}"] = file.read_bytes()
    return found


def _record_folders(context: Context) -> list[Path]:
    """Of removed runs and of those of this checkout, by name; the checkout's own comes last."""
    removed = sorted(path for path in context.places.records.glob("*") if path.is_dir())
    return [*removed, *(context.runs.folder(run.id) for run in context.runs.all())]


def said_files(context: Context) -> dict[str, bytes]:
    """Everything beside the packages, by the name in an archive."""
    found: dict[str, bytes] = {}
    for place in places(context):
        name = f"packages/{place.folder.parent.name}/{place.folder.name}"
        for file in sorted(path for path in place.folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
            found[f"{name}/{file.relative_to(place.folder)}"] = file.read_bytes()
    return found


def keys(context: Context) -> dict[str, bytes]:
    """The public keys, and from when until when they count."""
    known = trusted(context)
    told = [
        {
            "file": f"{key.id[:16]}.pem",
            "id": key.id,
            "kind": key.kind,
            "name": key.name,
            "valid_from": configured.valid_from,
            "valid_until": configured.valid_until,
        }
        for key, configured in zip(known, context.config.signing.keys, strict=True)
    ]
    files = {f"keys/{key.id[:16]}.pem": key.pem.encode() for key in known}
    return {**files, "keys/keys.json": msgspec.json.format(msgspec.json.encode(told)) + b"\n"}


def _service_of(place: Attestations) -> str:
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode(place.read("record/run.json"), type=Run).service
    return ""


def _trouble(at: str, found: tuple[Trusted, ...]) -> str:
    if not found:
        return "its signature is by none of the known keys over this content"
    try:
        moment = datetime.fromisoformat(at).timestamp()
    except ValueError:
        return "it does not say when it was signed"
    refused = [key.valid_at(moment) for key in found]
    return "" if "" in refused else f"it was signed at {at}, but its key was not valid: {refused[0]}"
