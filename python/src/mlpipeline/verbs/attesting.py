"""What is said of a package, and by whom: SBOM, provenance, model card, and people's approvals, written beside the bundle."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpipeline import __version__
from mlpipeline.clock import iso
from mlpipeline.core import provenance as words
from mlpipeline.core import sbom
from mlpipeline.errors import ConfigurationError, EnvironmentFault
from mlpipeline.record.attestations import CARD, CARD_PAGE, PROVENANCE, SBOM, Attestations, approval_name, sha256, witness_name
from mlpipeline.record.files import write_atomically
from mlpipeline.record.result import Result
from mlpipeline.record.run import FLOW, Run, encode
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.adapters.signing.keys import Trusted
    from mlpipeline.core.model_card import Told

BESIDE = (SBOM, CARD, CARD_PAGE)
"""What the provenance names by digest."""
EVENT = "attested"
"""The ledger's event for a statement: facts digest, statement (which), sha256 of the envelope, key."""
CLOCK_SLACK_SECONDS = 300.0
_BEFORE_PACKAGE = FLOW[: FLOW.index("package")]
_TOLD = frozenset({"checks", "gate-image"})
"""What is told in the provenance besides the gates, and stops nothing there."""


class Packaged(msgspec.Struct, frozen=True):
    """What ``package`` made.

    Args:
        lock: Text of ``requirements.lock``.
        interpreter: Of the installed environment, for licences.
        images: Name to ``sha256:...`` of images made of the bundle.
    """

    digest: str
    path: str
    lock_digest: str
    lock: str
    python: str
    interpreter: str = ""
    images: dict[str, str] = {}


def attest(context: Context, run: Run, packaged: Packaged) -> dict[str, str]:
    """Writes SBOM, model card and provenance of the package, signed when ``signing`` says how, and notes it in the ledger.

    What is there and says the same is left. Nothing is written when it cannot be signed.

    Returns:
        Name to SHA-256 (hex) of each file.

    Raises ConfigurationError for a key that may not sign, EnvironmentFault for a clock that is behind.
    """
    place = Attestations(context.places, packaged.digest, run.id)
    results = context.runs.results(run.id)
    release = _release(context, run, packaged, results)
    if standing := _standing(context, place, release):
        for name in (PROVENANCE, *place.approvals()):
            _witness(context, place, name)
        return standing
    check_clock(context, run)
    from mlpipeline.core.model_card import card
    from mlpipeline.reports.card_page import card_page

    modelled = _modelled(context, run, packaged, results)
    told = _told(context, run, modelled, results)
    files = {
        SBOM: sbom.bill(modelled, _environment(context, packaged)),
        CARD: card(told).encode(),
        CARD_PAGE: card_page(told),
    }
    digests = {name: sha256(content) for name, content in files.items()}
    release = msgspec.structs.replace(release, byproducts=digests, signed=iso(context.clock.now()), ledger=newest_entry(context))
    envelope = signed(context, words.provenance(release))
    for name, content in files.items():
        place.write(name, content)
    place.keep(_record(run, results))
    place.forget(witness_name(PROVENANCE))
    digest = place.write(PROVENANCE, envelope.encoded())
    _note(context, run, envelope, digest=packaged.digest, which="provenance", written=digest)
    _witness(context, place, PROVENANCE)
    return {**digests, PROVENANCE: digest}


def refresh(context: Context, run: Run, digest: str) -> None:
    """Says anew what was judged, when a gate was asked again after the package was made (another champion, new data).

    Only where the old word still stands as it was signed: what was tampered with is left for the check to find.
    """
    place = Attestations(context.places, digest, run.id)
    try:
        content = place.read(PROVENANCE)
        envelope, statement = words.opened(content)
        packaged = _on_disk(context, run, digest, statement)
    except (FileNotFoundError, ValueError, EnvironmentFault):
        return
    entries = context.ledger.read()
    if not any(entry.event == EVENT and entry.facts.get("sha256") == sha256(content) for entry in entries):
        return
    if signs(context) != bool(signers(envelope, trusted(context))):
        return
    results = context.runs.results(run.id)
    gates = _release(context, run, packaged, results).gates
    stated = {name: one.digest.get("sha256") for name, one in words.byproducts(statement).items() if name in gates}
    if stated == {name: gate.result for name, gate in gates.items()}:
        return
    if {gate.result for gate in gates.values()} <= {entry.result for entry in entries if entry.run == run.id}:
        attest(context, run, packaged)


def _on_disk(context: Context, run: Run, digest: str, statement: words.Statement) -> Packaged:
    from mlpipeline.adapters import bundle

    folder = context.places.bundles / digest.removeprefix("sha256:")
    manifest = bundle.load(folder)
    packaged = context.runs.result(run.id, "package")
    return Packaged(
        digest=digest,
        path=str(folder),
        lock_digest=manifest.lock,
        lock=(folder / "requirements.lock").read_text("utf-8"),
        python=manifest.python,
        interpreter=str(packaged.evidence.get("python", "")) if packaged else "",
        images={one.name: f"sha256:{one.digest['sha256']}" for one in statement.subject[1:] if "sha256" in one.digest},
    )


def keep_approval(context: Context, run: Run, envelope: words.Envelope, *, digest: str, person: str) -> None:
    """Keeps the statement beside the package, with the results it rests on."""
    place = Attestations(context.places, digest, run.id)
    place.keep(_record(run, context.runs.results(run.id)))
    place.forget(witness_name(approval_name(person)))
    written = place.write(approval_name(person), envelope.encoded())
    _note(context, run, envelope, digest=digest, which=f"approval by {person}", written=written)
    try:
        _witness(context, place, approval_name(person))
    except EnvironmentFault as fault:  # what a person decided stands
        context.console.say(f"approve: {fault.what}; mlpipeline package asks again")
    packaged = context.runs.result(run.id, "package")
    if packaged is not None and packaged.evidence.get("image"):
        from mlpipeline.verbs.publishing import publish_again

        publish_again(context, digest, run.id, packaged.evidence)


def _witness(context: Context, place: Attestations, name: str) -> None:
    """Has ``signing.witness`` vouch for a statement that it has not seen. Raises EnvironmentFault when it does not."""
    command = context.config.signing.witness
    if not command or place.has(witness_name(name)):
        return
    from mlpipeline.adapters.signing.witness import witnessed

    environment = {**context.environment, **context.secrets}
    place.write(witness_name(name), witnessed(command, place.folder / name, context.project, environment))


def signed(context: Context, statement: words.Statement) -> words.Envelope:
    """The statement in an envelope, signed when the configuration says how."""
    bare = words.enveloped(statement)
    if not signs(context):
        return bare
    from mlpipeline.adapters.signing.signer import Signer

    signer = Signer(context.config.signing, context.project, trusted(context), {**context.environment, **context.secrets})
    made = signer.sign(words.pae(bare.type, bare.content), at=context.clock.now().timestamp())
    return words.enveloped(statement, [made])


def trusted(context: Context) -> tuple[Trusted, ...]:
    """The public keys that the configuration names."""
    if not context.config.signing.keys:
        return ()
    from mlpipeline.adapters.signing.keys import configured

    return configured(context.project, context.config.signing.keys)


def newest_entry(context: Context) -> tuple[int, str]:
    """Number and hash: each statement says up to where the ledger had come, and so finds what is cut off later."""
    entries = context.ledger.read()
    return (entries[-1].seq, entries[-1].hash) if entries else (0, "")


def check_clock(context: Context, run: Run) -> None:
    """Raises EnvironmentFault when it is earlier here than what is recorded already: a signature would name a wrong time."""
    entries = context.ledger.read()
    latest = max([run.created, *(entries[-1].at for _ in entries[-1:])])
    now = context.clock.now()
    behind = (datetime.fromisoformat(latest) - now).total_seconds()
    if behind > CLOCK_SLACK_SECONDS:
        raise EnvironmentFault(
            "this machine's clock is behind, nothing was signed",
            facts={"now": iso(now), "the newest record": latest, "behind": f"{behind:.0f} s"},
            likely="the time is not synchronised, or the record was made on a machine whose clock was ahead",
            tries=("date -u", "timedatectl status", "run it again once the time is right"),
        )


def _standing(context: Context, place: Attestations, release: words.Release) -> dict[str, str]:
    """Digests of files that say all this already, signed as asked for and known to the ledger; nothing otherwise.

    SBOM and card follow from what the provenance says, so they are compared with it and not made again.
    """
    try:
        content = place.read(PROVENANCE)
        files = {name: sha256(place.read(name)) for name in BESIDE}
        envelope, statement = words.opened(content)
    except (FileNotFoundError, ValueError):
        return {}
    said = {"signed": words.said_at(statement), "ledger": words.anchor(statement), "byproducts": files}
    if envelope.content != words.provenance(msgspec.structs.replace(release, **said)).encoded():
        return {}
    if signs(context) and not _counts(context, envelope, statement):
        return {}
    digest = sha256(content)
    noted = any(entry.event == EVENT and entry.facts.get("sha256") == digest for entry in context.ledger.read())
    return {**files, PROVENANCE: digest} if noted else {}


def _counts(context: Context, envelope: words.Envelope, statement: words.Statement) -> bool:
    """Whether one of the keys signed it, and in its time."""
    said = words.said_at(statement)
    moment = datetime.fromisoformat(said).timestamp() if said else 0.0
    return any(not key.valid_at(moment) for key in signers(envelope, trusted(context)))


def signs(context: Context) -> bool:
    """Whether this machine is told how to sign."""
    config = context.config.signing
    return bool(config.key or config.key_env or config.command)


def signers(envelope: words.Envelope, keys: tuple[Trusted, ...]) -> tuple[Trusted, ...]:
    """Whose signatures the envelope carries. When they were valid is another question."""
    encoded = words.pae(envelope.type, envelope.content)
    found: list[Trusted] = []
    for signature in envelope.signatures:
        try:
            content = words.unbase64(signature.sig)
        except ValueError:
            continue
        found.extend(key for key in keys if key.matches(encoded, content))
    return tuple(found)


def _note(context: Context, run: Run, envelope: words.Envelope, *, digest: str, which: str, written: str) -> None:
    key = envelope.signatures[0].keyid if envelope.signatures else ""
    facts = {"digest": digest, "statement": which, "sha256": written} | ({"key": key} if key else {})
    context.note(EVENT, run=run.id, facts=facts, summary=f"{which}, {f'signed with {key[:12]}' if key else 'not signed'}")


def _record(run: Run, results: Mapping[str, Result]) -> dict[str, bytes]:
    """What statements rest on: the run and its results, without the pages and logs."""
    written = {verb: encode(result) for verb, result in results.items() if verb not in {"report", "run"}}
    return {"run": msgspec.json.format(msgspec.json.encode(run)) + b"\n", **written}


def _environment(context: Context, packaged: Packaged) -> dict[str, Any]:
    """The components of the locked environment. They follow from the lock, so they are read once per lock and machine."""
    from mlpipeline.adapters.cyclonedx import environment_bom, site_packages

    installed = site_packages(Path(packaged.interpreter)) if packaged.interpreter else None
    known = context.places.home / "locks" / f"{packaged.lock_digest.removeprefix('sha256:')}-{__version__}.cdx.json"
    if installed is not None:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(known.read_bytes(), type=dict[str, Any])
    made = environment_bom(packaged.lock, installed)
    if installed is not None:
        write_atomically(known, msgspec.json.encode(made))
    return made


def _modelled(context: Context, run: Run, packaged: Packaged, results: Mapping[str, Result]) -> sbom.Modelled:
    from mlpipeline.adapters import git
    from mlpipeline.adapters.mlflow import read_model

    trained, judged = _evidence(results, "train"), _evidence(results, "gate-model")
    model = read_model(Path(packaged.path) / "model")
    moment = git.commit_time(context.project, run.commit)
    return sbom.Modelled(
        service=context.config.service,
        digest=packaged.digest,
        commit=run.commit,
        made=iso(datetime.fromtimestamp(moment, UTC)) if moment else run.created,
        worker=__version__,
        model=str(trained.get("model_digest", "")),
        dirty=run.dirty,
        python=packaged.python,
        flavour=model.flavour,
        inputs=sbom.text_columns(model.inputs),
        outputs=sbom.text_columns(model.outputs),
        data=_data(results),
        holdout=str(judged.get("holdout_digest", "")),
        params=msgspec.convert(trained.get("params", {}), dict[str, str]),
        metrics=sbom.measured(trained, judged),
        champion=str(_inner(judged, "champion").get("digest", "")),
    )


def _release(context: Context, run: Run, packaged: Packaged, results: Mapping[str, Result]) -> words.Release:
    trained, judged = _evidence(results, "train"), _evidence(results, "gate-model")
    return words.Release(
        service=context.config.service,
        run=run.id,
        commit=run.commit,
        digest=packaged.digest,
        created=run.created,
        signed="",
        worker=__version__,
        dirty=run.dirty,
        config=run.config,
        requester=run.requester,
        reason=run.reason,
        python=packaged.python,
        lock=packaged.lock_digest,
        model=str(trained.get("model_digest", "")),
        command=context.config.train.command,
        images=packaged.images,
        data=_data(results),
        holdout=str(judged.get("holdout_digest", "")),
        params=msgspec.convert(trained.get("params", {}), dict[str, str]),
        gates={
            verb: words.Gate(str(result.verdict), result.summary, sha256(encode(result)))
            for verb, result in results.items()
            if verb in _BEFORE_PACKAGE or verb in _TOLD
        },
    )


def _told(context: Context, run: Run, modelled: sbom.Modelled, results: Mapping[str, Result]) -> Told:
    from mlpipeline.core.model_card import Told

    return Told(
        model=modelled,
        run=run.id,
        requester=run.requester,
        reason=run.reason,
        gates=tuple((verb, str(result.verdict), result.summary) for verb, result in results.items() if verb in _BEFORE_PACKAGE),
        words=_own_words(context),
    )


def _own_words(context: Context) -> str:
    """What the project says of its model. Raises ConfigurationError when the named file cannot be read."""
    name = context.config.package.card
    if not name:
        return ""
    try:
        return (context.project / name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "the project's part of the model card cannot be read",
            facts={"package.card": context.project / name, "found": getattr(error, "strerror", "") or "it is not UTF-8 text"},
            tries=("correct package.card", "leave it out"),
        ) from error


def _data(results: Mapping[str, Result]) -> dict[str, str]:
    for verb in ("gate-data", "train"):
        found = _evidence(results, verb).get("data_version")
        if found:
            return msgspec.convert(found, dict[str, str])
    return {}


def _evidence(results: Mapping[str, Result], verb: str) -> Mapping[str, Any]:
    result = results.get(verb)
    return result.evidence if result is not None else {}


def _inner(evidence: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = evidence.get(name)
    return found if isinstance(found, dict) else {}
