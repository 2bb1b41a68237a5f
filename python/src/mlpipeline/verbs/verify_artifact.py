"""``verify-artifact``: whether a package is what was judged, signed and approved, from the files alone, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlpipeline.core import provenance as words
from mlpipeline.core import sbom
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, MlpipelineError
from mlpipeline.record.attestations import CARD, CARD_PAGE, PROVENANCE, SBOM, Attestations, digests, runs_of, sha256
from mlpipeline.record.ledger import Entry
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import FLOW, Run
from mlpipeline.verbs.attesting import CLOCK_SLACK_SECONDS, EVENT, signers, trusted
from mlpipeline.verbs.context import Context

if TYPE_CHECKING:
    from mlpipeline.adapters.bundle import Manifest
    from mlpipeline.adapters.signing.keys import Trusted

VERB = "verify-artifact"
_GATES = ("gate-data", "train", "gate-model")
"""What every provenance has; those of a later worker may have more."""
_SHORTEST = 8
_CHANGED = "it was changed after it was signed, or the key's owner never signed it"


def run(context: Context, *, digest: str = "", keys: str = "") -> Result:
    """Checks every file of the bundle, SBOM and model card, the provenance and its signature, the gates, the ledger and, where
    ``approval.required``, people's approvals. Changes nothing.

    Args:
        digest: Of the bundle; its first 8 digits or more are enough. Or ``REPOSITORY@sha256:...``, an image in a registry: then
            what stands beside it there is checked, and the ledger and the bundle as far as this machine has them.
        keys: PEM file of the public keys that count; without it, those of ``signing.keys``.

    Raises ConfigurationError for an unknown digest or keys that cannot be read.
    """
    from mlpipeline.adapters.signing.keys import from_file

    started = context.clock.monotonic()
    known = from_file(Path(keys)) if keys else trusted(context)
    approval = context.config.approval.required
    if "@" in digest:
        whole, reasons = _online(context, digest, known, approval=approval)
    else:
        whole = resolved(context, digest)
        reasons = examine(context, whole, newest_run(context, whole), known, approval=approval)
    verdict = worst(reason.verdict for reason in reasons)
    first = next((reason for reason in reasons if reason.verdict is not Verdict.PASS), None)
    told = f"{first.summary}" if first else f"{whole[:19]} is what was judged, signed and approved"
    return context.judged(
        VERB,
        started,
        sorted(reasons, key=lambda reason: reason is not first) if first else reasons,
        verdict=verdict,
        summary=told,
        evidence={"digest": whole, "keys": [key.id for key in known]},
    )


def _online(context: Context, reference: str, keys: tuple[Trusted, ...], *, approval: bool) -> tuple[str, list[Reason]]:
    from mlpipeline.verbs.publishing import bundle_of, fetched

    image = reference.rpartition("@")[2]
    files = fetched(context, reference)
    digest, run = bundle_of(files)
    here = Reason("artifact.image", Verdict.PASS, f"the registry has {image[:19]} and {len(files)} files beside it")
    found = _Examination(context, digest, run, keys, fetched=_Fetched(files), image=image).reasons(approval=approval)
    return digest or image, [here, *found]


def require_proof(context: Context, run: Run, digest: str) -> None:
    """Raises Failed unless the proof of what is to be deployed holds. Asked only where ``signing.keys`` says who may sign."""
    keys = trusted(context)
    if not keys:
        return
    lacking = [one for one in examine(context, digest, run.id, keys, approval=False) if one.verdict is not Verdict.PASS]
    if lacking:
        raise Failed(
            f"the package is not proven: {lacking[0].summary}",
            facts={"digest": digest, "check": lacking[0].check, **{one.check: one.summary for one in lacking[1:]}},
            likely="a file was changed, or the provenance was signed with another key",
            tries=(
                f"mlpipeline verify-artifact {digest}",
                "mlpipeline package    # in the checkout and the run it was made from",
            ),
        )


def examine(context: Context, digest: str, run: str, keys: tuple[Trusted, ...], *, approval: bool) -> list[Reason]:
    """One reason per thing that has to hold, in the order in which they rest on each other.

    Args:
        run: Whose statements are meant; empty when nothing was ever said of the digest.
        approval: Whether people must have approved.
    """
    return list(_Examination(context, digest, run, keys).reasons(approval=approval))


class _Fetched:
    """Files that came from a registry, asked as those beside a bundle are."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, name: str) -> bytes:
        if name not in self._files:
            raise FileNotFoundError(name)
        return self._files[name]

    def approvals(self) -> dict[str, bytes]:
        return {name: content for name, content in sorted(self._files.items()) if name.startswith("approval-")}

    def record(self) -> dict[str, bytes]:
        return {}


class _Examination:
    def __init__(
        self,
        context: Context,
        digest: str,
        run: str,
        keys: tuple[Trusted, ...],
        *,
        fetched: _Fetched | None = None,
        image: str = "",
    ) -> None:
        self._context = context
        self._digest = digest
        self._run = run
        self._keys = keys
        self._place = fetched or Attestations(context.places, digest, run or "none")
        self._online = fetched is not None
        self._image = image
        self._manifest: Manifest | None = None

    def reasons(self, *, approval: bool) -> Iterator[Reason]:
        hexes = self._digest.removeprefix("sha256:")
        if not self._online or (hexes and (self._context.places.bundles / hexes).is_dir()):
            yield self._reason("bundle", self._bundle)
        try:
            content = self._place.read(PROVENANCE)
            envelope, statement = words.opened(content)
        except FileNotFoundError:
            yield Reason("artifact.provenance", Verdict.FAIL, f"there is no provenance of {self._digest[:19]}")
            return
        except ValueError as error:
            yield Reason("artifact.provenance", Verdict.FAIL, f"the provenance cannot be read: {error}")
            return
        yield self._signature("artifact.signature", "the provenance", envelope, statement)
        yield self._reason("provenance", lambda: self._provenance(statement))
        for name, file in (("sbom", SBOM), ("model-card", CARD), ("model-card-page", CARD_PAGE)):
            yield self._reason(name, lambda file=file: self._file(statement, file))  # type: ignore[misc]
        yield self._reason("gates", lambda: self._gates(statement))
        if not self._online or self._noted(content):
            yield self._reason("ledger", lambda: self._ledger(statement, content))
        if approval:
            yield from self._approvals()

    def _reason(self, name: str, check: Callable[[], str]) -> Reason:
        """What a check says when all is well, or what it raised."""
        try:
            return Reason(f"artifact.{name}", Verdict.PASS, check())
        except _Broken as broken:
            return Reason(f"artifact.{name}", Verdict.FAIL, str(broken))
        except EnvironmentFault as fault:
            return Reason(f"artifact.{name}", Verdict.FAIL, fault.in_one_line())

    def _bundle(self) -> str:
        from mlpipeline.adapters import bundle

        manifest = self._manifest = bundle.verify(self._context.places.bundles / self._digest.removeprefix("sha256:"))
        return f"all {len(manifest.files)} files of the bundle are those of its manifest"

    def _signature(self, check: str, what: str, envelope: words.Envelope, statement: words.Statement) -> Reason:
        if not self._keys:
            return Reason(check, Verdict.INCONCLUSIVE, "no public key is known: set signing.keys or give --keys FILE")
        if not envelope.signatures:
            return Reason(check, Verdict.FAIL, f"{what} is not signed")
        found = signers(envelope, self._keys)
        if not found:
            return Reason(check, Verdict.FAIL, self._unsigned(what, envelope))
        return self._in_time(check, what, words.said_at(statement), found)

    def _in_time(self, check: str, what: str, said: str, found: tuple[Trusted, ...]) -> Reason:
        moment = _unix(said)
        if not moment:
            return Reason(check, Verdict.FAIL, f"{what} does not say when it was signed")
        if moment - self._context.clock.now().timestamp() > CLOCK_SLACK_SECONDS:
            ahead = f"{what} was signed at {said}, which has not come yet: this clock is behind, or the signer's was ahead"
            return Reason(check, Verdict.ERROR, ahead)
        refused = {key: key.valid_at(moment) for key in found}
        good = next((key for key, why in refused.items() if not why), None)
        if good is None:
            key, why = next(iter(refused.items()))
            return Reason(check, Verdict.FAIL, f"{what} was signed at {said} with {key.name} ({key.id[:12]}), but {why}")
        return Reason(check, Verdict.PASS, f"{what} was signed at {said} with {good.name} ({good.id[:12]})")

    def _unsigned(self, what: str, envelope: words.Envelope) -> str:
        named = {signature.keyid for signature in envelope.signatures}
        own = next((key for key in self._keys if key.id in named), None)
        if own is not None:
            return f"the signature of {what} is not that of {own.name} ({own.id[:12]}) over this content: {_CHANGED}"
        others = ", ".join(sorted(keyid[:12] or "unnamed" for keyid in named))
        return f"{what} is signed with a key that is not known ({others}); known: {', '.join(key.id[:12] for key in self._keys)}"

    def _provenance(self, statement: words.Statement) -> str:
        if statement.type != words.SLSA:
            raise _Broken(f"the provenance is a {statement.type}")
        if self._digest not in words.about(statement):
            raise _Broken(f"the provenance is of {', '.join(sorted(words.about(statement))) or 'nothing'}, not of this package")
        if self._image and self._image not in words.about(statement):
            raise _Broken(f"the provenance is of another image than {self._image[:19]}")
        if words.run_of(statement) != self._run:
            raise _Broken(f"the provenance is of run {words.run_of(statement)}, not of {self._run}")
        materials = words.materials(statement)
        if self._manifest is not None:
            wanted = {"requirements.lock": self._manifest.lock, "model": self._manifest.part("model")}
            for name, digest in wanted.items():
                if name not in materials or materials[name].digest != words.hashed(digest):
                    raise _Broken(f"the provenance names another {name} than the bundle has")
        commit = materials["commit"].digest.get("gitCommit", "") if "commit" in materials else ""
        return f"made of commit {commit[:12]} in run {self._run}"

    def _file(self, statement: words.Statement, name: str) -> str:
        stated = words.byproducts(statement).get(name)
        if stated is None:
            raise _Broken(f"the provenance does not name {name}")
        try:
            content = self._place.read(name)
        except FileNotFoundError:
            raise _Broken(f"{name} is missing") from None
        if stated.digest != {"sha256": sha256(content)}:
            raise _Broken(f"{name} is not the one that the provenance names: it was changed, or made again")
        if name == SBOM:
            try:
                of = sbom.described_digest(content)
            except ValueError as error:
                raise _Broken(f"{name}: {error}") from error
            if of != self._digest:
                raise _Broken(f"{name} is of {of}")
        return f"{name} is the one that was signed"

    def _gates(self, statement: words.Statement) -> str:
        stated = words.byproducts(statement)
        missing = [verb for verb in _GATES if verb not in stated]
        if missing:
            raise _Broken(f"the provenance has no verdict of {', '.join(missing)}")
        gates = {name: one for name, one in stated.items() if "verdict" in one.annotations}
        for name, gate in gates.items():
            if (name in FLOW or name == "gate-image") and gate.annotations["verdict"] != Verdict.PASS:
                raise _Broken(f"{name} did not pass: {gate.annotations['verdict']}, {gate.annotations.get('summary', '')}")
        for name, content in self._place.record().items():
            if name in gates and gates[name].digest != {"sha256": sha256(content)}:
                raise _Broken(f"the result of {name} beside the package is not the one that was signed")
        passed = [name for name, gate in gates.items() if gate.annotations["verdict"] == Verdict.PASS]
        return f"{len(passed)} gates passed: {', '.join(passed)}"

    def _ledger(self, statement: words.Statement, content: bytes) -> str:
        entries = self._context.ledger.read()
        entry = _entry(entries, EVENT, self._run, sha256=sha256(content))
        if entry is None:
            raise _Broken("the ledger has no entry of this provenance")
        if abs(_unix(entry.at) - _unix(words.said_at(statement))) > CLOCK_SLACK_SECONDS:
            raise _Broken(f"the provenance says it was signed at {words.said_at(statement)}, the ledger at {entry.at}")
        packaged = _entry(entries, "package", self._run, digest=self._digest)
        if packaged is None:
            if any(one.event == "package" and one.facts.get("digest") == self._digest for one in entries):
                raise _Broken(f"the ledger says that another run than {self._run} packaged it")
            raise _Broken("the ledger does not say that it was packaged")
        number, hashed = words.anchor(statement)
        if number and (number > len(entries) or entries[number - 1].hash != hashed):
            raise _Broken(f"the ledger's entry {number} is not the one that was the newest when this was signed")
        gates = {name: one for name, one in words.byproducts(statement).items() if "verdict" in one.annotations}
        for name, gate in gates.items():
            if not any(one.event == name and one.run == self._run and one.result == gate.digest.get("sha256") for one in entries):
                raise _Broken(f"the ledger does not know the result of {name} that was signed")
        return f"entries {packaged.seq} and {entry.seq} of a whole chain of {len(entries)}"

    def _approvals(self) -> Iterator[Reason]:
        config = self._context.config.approval
        counted: dict[str, str] = {}
        for name, content in self._place.approvals().items():
            check = f"artifact.{name.removesuffix('.dsse.json')}"
            try:
                envelope, statement = words.opened(content)
            except ValueError as error:
                yield Reason(check, Verdict.FAIL, f"an approval cannot be read: {error}")
                continue
            who, decision = str(statement.predicate.get("who", "")), str(statement.predicate.get("decision", ""))
            signature = self._signature(check, f"the decision of {who}", envelope, statement)
            if signature.verdict is not Verdict.PASS:
                yield signature
                continue
            yield self._reason(name.removesuffix(".dsse.json"), lambda: self._approval(statement, content, who))  # noqa: B023
            if self._digest in words.about(statement):
                counted[who] = decision
        rejected = [who for who, decision in counted.items() if decision != "approve"]
        if rejected:
            yield Reason("artifact.approval", Verdict.FAIL, f"rejected by {', '.join(rejected)}")
            return
        people = [who for who in counted if who != "policy"]
        enough = len(people) >= config.quorum or (config.unattended == "proceed" and "policy" in counted)
        told = f"{len(people)} of {config.quorum} approvals" + (f": {', '.join(counted)}" if counted else "")
        yield Reason("artifact.approval", Verdict.PASS if enough else Verdict.FAIL, told)

    def _approval(self, statement: words.Statement, content: bytes, who: str) -> str:
        if statement.type != words.APPROVAL or self._digest not in words.about(statement):
            raise _Broken(f"the decision of {who} is about another package")
        if words.run_of(statement) != self._run:
            raise _Broken(f"the decision of {who} is about run {words.run_of(statement)}")
        told = f"{who} decided on this evidence: {statement.predicate.get('decision')}, {statement.predicate.get('why', '')}"
        if self._online and not self._noted(content):
            return told
        evidence = statement.predicate.get("evidence")
        if not self._online and evidence != {"sha256": self._evidence()}:
            raise _Broken(f"{who} decided on other evidence than is kept beside the package")
        if _entry(self._context.ledger.read(), EVENT, self._run, sha256=sha256(content)) is None:
            raise _Broken(f"the ledger has no entry of the decision of {who}")
        return told

    def _noted(self, content: bytes) -> bool:
        """Whether this machine's ledger knows the statement; another machine's may."""
        try:
            entries = self._context.ledger.read()
        except EnvironmentFault:
            return True  # told by the check of the ledger
        return any(entry.event == EVENT and entry.facts.get("sha256") == sha256(content) for entry in entries)

    def _evidence(self) -> str:
        """As ``approve`` computes it, over the copies beside the package."""
        import msgspec

        from mlpipeline.verbs.approve import hash_of

        kept = {
            name: msgspec.json.decode(content, type=Result) for name, content in self._place.record().items() if name != "run"
        }
        return hash_of(kept)


class _Broken(Exception):
    """A check does not hold; the words say why."""


def resolved(context: Context, digest: str) -> str:
    """The whole digest of a bundle or of something that was said of one."""
    given = digest.removeprefix("sha256:").lower()
    bundles = context.places.bundles
    known = {name.removeprefix("sha256:") for name in digests(context.places)}
    known |= {path.name for path in bundles.iterdir() if not path.name.startswith(".")} if bundles.is_dir() else set()
    found = sorted(name for name in known if len(given) >= _SHORTEST and name.startswith(given))
    if len(found) == 1:
        return f"sha256:{found[0]}"
    raise ConfigurationError(
        "no package has this digest" if not found else "several packages have a digest that begins like this",
        facts={"given": digest or "nothing", "packages": ", ".join(sorted(known)[:5]) or "none", "folder": bundles},
        tries=("mlpipeline status    # digests of what is live", f"give {_SHORTEST} digits or more, or all of them"),
    )


def newest_run(context: Context, digest: str) -> str:
    """The run whose provenance of the digest the ledger noted last; without one, the last that left any. Empty: none did."""
    said = runs_of(context.places, digest)
    try:
        entries: Sequence[Entry] = context.ledger.read()
    except MlpipelineError:
        entries = ()  # told by the check of the ledger
    for entry in reversed(entries):
        facts = entry.facts
        if (
            entry.event == EVENT
            and facts.get("digest") == digest
            and facts.get("statement") == "provenance"
            and entry.run in said
        ):
            return entry.run
    return said[-1] if said else ""


def _entry(entries: Sequence[Entry], event: str, run: str, **facts: str) -> Entry | None:
    """The newest entry with these facts."""
    wanted = facts.items()
    return next((one for one in reversed(entries) if (one.event, one.run) == (event, run) and wanted <= one.facts.items()), None)


def _unix(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
