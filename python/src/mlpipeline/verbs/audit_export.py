"""``audit export``: one archive of the whole record, which anybody can check with ``sha256sum`` and ``openssl``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlpipeline.core import audit
from mlpipeline.core import provenance as words
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.attestations import sha256
from mlpipeline.record.files import write_atomically
from mlpipeline.record.ledger import Entry, encoded
from mlpipeline.record.result import Reason, Result
from mlpipeline.verbs import auditing
from mlpipeline.verbs.attesting import signers, trusted
from mlpipeline.verbs.context import Context

VERB = "audit-export"


def run(context: Context, *, output: str = "") -> Result:
    """Writes the archive; the same record gives the same bytes.

    Args:
        output: The zip to write; an older one is replaced as a whole.

    Raises ConfigurationError without ``output``, EnvironmentFault for a ledger that is broken: of that nothing is exported.
    """
    if not output:
        raise ConfigurationError("audit export needs a file to write", tries=("mlpipeline audit export --output record.zip",))
    if Path(output).is_dir():
        raise ConfigurationError(
            "audit export writes a file, and this is a folder",
            facts={"output": Path(output).absolute()},
            tries=(f"mlpipeline audit export --output {Path(output) / 'record.zip'}",),
        )
    started = context.clock.monotonic()
    files = contents(context)
    content = audit.archive(files)
    write_atomically(Path(output), content)
    entries = sum(name.startswith("ledger/") for name in files)
    told = f"{entries} entries and {len(files)} files, {len(content) / 1e6:.1f} MB, sha256 {sha256(content)}"
    return context.judged(
        VERB,
        started,
        [Reason("audit.export", Verdict.PASS, told, numbers={"files": len(files), "bytes": len(content)})],
        summary=f"{output}: {told}",
        evidence={"file": str(Path(output).absolute()), "sha256": sha256(content)},
    )


def contents(context: Context) -> dict[str, bytes]:
    """Name to content of everything in the archive."""
    entries = context.ledger.read()
    signatures, unpacked = _signatures(context)
    files = {
        **auditing.records(context),
        **auditing.said_files(context),
        **auditing.keys(context),
        **audit.chain_files([(entry.seq, entry.hash, _hashed(entry)) for entry in entries]),
        **unpacked,
        "ledger.jsonl": b"".join(encoded(entry) + b"\n" for entry in entries),
        "SIGNATURES": "".join(f"{name} {kind} {key}\n" for name, kind, key in signatures).encode(),
        "check.sh": audit.CHECK.encode(),
    }
    runs = {name.split("/")[1] for name in files if name.startswith("runs/")}
    files["README.txt"] = audit.README.format(
        service=context.config.service,
        entries=len(entries),
        runs=len(runs),
        statements=len(list(auditing.statements(context))),
        signed=len(signatures),
        newest=f"{entries[-1].seq}, {entries[-1].hash}" if entries else "none",
    ).encode()
    return {**files, "SHA256SUMS": audit.sums(files)}


def _hashed(entry: Entry) -> bytes:
    """The bytes that the entry's hash is of."""
    plain = {name: value for name, value in msgspec.to_builtins(entry).items() if name != "hash"}
    return msgspec.json.encode(plain, order="sorted")


def _signatures(context: Context) -> tuple[list[tuple[str, str, str]], dict[str, bytes]]:
    """File, kind of key and key of each signature by a known key, and what openssl needs of each."""
    keys = trusted(context)
    told: list[tuple[str, str, str]] = []
    files: dict[str, bytes] = {}
    for place, name, content in auditing.statements(context):
        try:
            envelope, _ = words.opened(content)
        except ValueError:
            continue
        file = f"packages/{place.folder.parent.name}/{place.folder.name}/{name}"
        files[f"{file}.payload.json"] = envelope.content
        for signature in envelope.signatures:
            one = words.Envelope(payload=envelope.payload, type=envelope.type, signatures=(signature,))
            found = signers(one, keys)
            if found:
                files[f"{file}.signed"] = words.pae(envelope.type, envelope.content)
                files[f"{file}.sig"] = words.unbase64(signature.sig)
                told.append((file, found[0].kind, f"keys/{found[0].id[:16]}.pem"))
                break
    return told, files
