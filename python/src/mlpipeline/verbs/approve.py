"""``approve``: people decide on one digest and one body of evidence; anything that changes either needs them again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from mlpipeline.clock import iso
from mlpipeline.core import provenance
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.files import read_own, write_atomically
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.attesting import check_clock, keep_approval, newest_entry, signed
from mlpipeline.verbs.context import Context

_EVIDENCE = ("gate-data", "gate-security", "gate-model", "package", "deploy")
POLICY = "policy"
"""Who decides when nobody is there: ``approval.unattended``. It needs no quorum, and only says what is declared."""
_SHORTEST_DIGEST = 12
"""Hexadecimal digits that name a digest well enough to approve it."""
ENDED = ("withdrawn", "timed-out", "aborted", "superseded")
"""How a request ends without an answer. Only the first is a veto; after the others people may be asked anew."""
_REFUSED = {"reject": "rejected", "withdrawn": "withdrawn"}


class Approval(msgspec.Struct, frozen=True):
    """One person's decision, or how the request ended without one.

    Args:
        when: UTC, ISO 8601.
        decision: ``approve``, ``reject``, or one of ``ENDED``.
        consumed: Once a switch has come to its end with it.
    """

    who: str
    when: str
    why: str
    decision: str
    digest: str
    model_version: str
    evidence_hash: str
    consumed: bool = False


def run(
    context: Context, run: Run, *, person: str = "", why: str = "", reject: bool = False, ended: str = "", digest: str = ""
) -> Result:
    """Records a decision when a person is given, then says whether the release may go on.

    Args:
        ended: Instead of a decision: how the request ended without one, of ``ENDED``; ``person`` is who or what ended it.
        digest: What the person looked at: the package's digest or its first 12 digits or more.

    Raises:
        ConfigurationError: The digest is another one, the person may not decide, or a word is missing.
    """
    started = context.clock.monotonic()
    _check_ended(ended, reject=reject, person=person)
    if person:
        _record(context, run, person=person, why=why, decision="reject" if reject else ended or "approve", digest=digest)
    reasons, counted = _judge(context, run)
    bound, version = _bound(context, run)
    evidence: dict[str, object] = {
        "digest": bound,
        "evidence_hash": evidence_hash(context, run),
        "required": context.config.approval.required,
        "unattended": context.config.approval.unattended,
        "approvals": [{"who": one.who, "when": one.when, "why": one.why, "decision": one.decision} for one in counted],
    }
    facts = {"digest": bound, "model_version": version} | ({"who": person, "why": why} if person else {})
    return context.finish(run, "approve", started, reasons, evidence=evidence, facts=facts)


def _check_ended(ended: str, *, reject: bool, person: str) -> None:
    if not ended:
        return
    if ended not in ENDED:
        raise ConfigurationError(f"--ended must be one of {', '.join(ENDED)}, not {ended!r}")
    if reject or not person:
        raise ConfigurationError(
            "--ended goes without --reject, and with --as", tries=("mlpipeline approve --as verification --ended withdrawn ...",)
        )


def require(context: Context, run: Run) -> None:
    """Raises ConfigurationError unless the release is approved right now; ``switch`` asks again."""
    reasons, _ = _judge(context, run)
    lacking = [reason.summary for reason in reasons if reason.verdict is not Verdict.PASS]
    if lacking:
        raise ConfigurationError(
            "switch needs an approval", facts={"run": run.id, "missing": "; ".join(lacking)}, tries=_command(context, run)
        )


def consume(context: Context, run: Run) -> None:
    """An approval lets one switch come to one end; a second one of the same run needs people again."""
    for one in _stored(context, run):
        _write(context, run, msgspec.structs.replace(one, consumed=True))


def evidence_hash(context: Context, run: Run) -> str:
    """SHA-256 over verdict, reasons and evidence of what people decide on; when and how fast it was made does not count."""
    return hash_of({verb: result for verb in _EVIDENCE if (result := context.runs.result(run.id, verb)) is not None})


def hash_of(results: Mapping[str, Result]) -> str:
    """The same over given results by verb; those that people do not decide on are left out."""
    found = {
        verb: {"verdict": result.verdict, "reasons": result.reasons, "evidence": result.evidence}
        for verb, result in results.items()
        if verb in _EVIDENCE
    }
    return sha256(msgspec.json.encode(found, order="sorted")).hexdigest()


def _judge(context: Context, run: Run) -> tuple[list[Reason], list[Approval]]:
    policy = context.config.approval
    if not policy.required:
        return [Reason("approve.policy", Verdict.PASS, "not required")], []
    counted = [one for one in _stored(context, run) if not _void(context, run, one)]
    refused = [one for one in counted if one.decision in _REFUSED]
    approved = [one for one in counted if one.decision == "approve"]
    if refused:
        summary = "; ".join(f"{_REFUSED[one.decision]} by {one.who}: {one.why}" for one in refused)
        return [Reason(f"approve.{_REFUSED[refused[0].decision]}", Verdict.FAIL, summary)], counted
    if policy.unattended == "proceed" and any(one.who == POLICY for one in approved):
        return [Reason("approve.policy", Verdict.PASS, "nobody was there; approval.unattended says proceed")], counted
    approved = [one for one in approved if one.who != POLICY]
    numbers = {"approvals": len(approved), "quorum": policy.quorum}
    if len(approved) >= policy.quorum:
        names = ", ".join(one.who for one in approved)
        return [Reason("approve.quorum", Verdict.PASS, f"approved by {names}", numbers=dict(numbers))], counted
    summary = f"{len(approved)} of {policy.quorum} approvals; next: {_command(context, run)[0]}"
    void = tuple(f"{one.who}: {why}" for one in _stored(context, run) if (why := _void(context, run, one)))
    return [Reason("approve.quorum", Verdict.INCONCLUSIVE, summary, numbers=dict(numbers), sample=void)], counted


def _void(context: Context, run: Run, one: Approval) -> str:
    """Why a recorded decision does not count, empty when it does."""
    digest, version = _bound(context, run)
    if one.consumed:
        return "was used by an earlier switch"
    if (one.digest, one.model_version) != (digest, version):
        return f"is for {one.digest[:19]}, not {digest[:19]}"
    if one.evidence_hash != evidence_hash(context, run):
        return "rests on evidence that has changed since"
    valid_for = timedelta(seconds=context.config.approval.valid_for)
    if context.clock.now() - datetime.fromisoformat(one.when) > valid_for:
        return f"is older than {valid_for}"
    return ""


def _record(context: Context, run: Run, *, person: str, why: str, decision: str, digest: str) -> None:
    bound, version = _bound(context, run)
    given = digest.removeprefix("sha256:")
    if len(given) < _SHORTEST_DIGEST or not bound.removeprefix("sha256:").startswith(given):
        raise ConfigurationError(
            "the decision must name the digest that was looked at",
            facts={"given": digest or "nothing", "this run's package": bound},
            tries=(f"mlpipeline approve --digest {bound} --as {person} --why ...    # after looking at its report",),
        )
    if not why.strip():
        raise ConfigurationError("a decision needs a reason", tries=("add --why TEXT",))
    if decision == "approve" and person == run.requester and not context.config.approval.requester_may_approve:
        raise ConfigurationError(
            "the one who asked for a release may not approve it",
            facts={"requester": run.requester, "approval.requester_may_approve": "false"},
            tries=("ask another person",),
        )
    declared = {"proceed": "approve", "reject": "reject", "hold": ""}[context.config.approval.unattended]
    if person == POLICY and decision != declared:
        raise ConfigurationError(
            f"the policy does not say {decision}",
            facts={"approval.unattended": context.config.approval.unattended},
            tries=("decide under your own name: --as NAME",),
        )
    made = Approval(
        who=person,
        when=iso(context.clock.now()),
        why=why,
        decision=decision,
        digest=bound,
        model_version=version,
        evidence_hash=evidence_hash(context, run),
    )
    envelope = _said(context, run, made)
    _write(context, run, made)
    keep_approval(context, run, envelope, digest=bound, person=person)


def _said(context: Context, run: Run, made: Approval) -> provenance.Envelope:
    """The decision as a statement, signed where it is configured; before it counts, for nobody's word is kept half."""
    check_clock(context, run)
    statement = provenance.approval(
        service=context.config.service,
        run=run.id,
        digest=made.digest,
        model_version=made.model_version,
        evidence=made.evidence_hash,
        who=made.who,
        when=made.when,
        why=made.why,
        decision=made.decision,
        ledger=newest_entry(context),
    )
    return signed(context, statement)


def _bound(context: Context, run: Run) -> tuple[str, str]:
    """The digest and model version that were deployed."""
    deployed = context.needed(run, "deploy", "approve").evidence
    return str(deployed["digest"]), str(deployed.get("model_version", ""))


def _stored(context: Context, run: Run) -> list[Approval]:
    folder = context.runs.folder(run.id) / "approvals"
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return sorted((read_own(file, Approval, "a recorded approval") for file in files), key=lambda one: (one.when, one.who))


def _write(context: Context, run: Run, one: Approval) -> None:
    """One file per person, so that two deciding at once do not lose each other's word."""
    name = sha256(one.who.encode()).hexdigest()[:16]
    write_atomically(context.runs.folder(run.id) / "approvals" / f"{name}.json", msgspec.json.encode(one))


def _command(context: Context, run: Run) -> tuple[str, ...]:
    digest, _ = _bound(context, run)
    return (f"mlpipeline approve --run {run.id} --digest {digest[:19]} --as NAME --why TEXT",)
