"""``audit verify``: whether ledger, results, statements and signatures fit together; the first thing that does not is named."""

from __future__ import annotations

from collections.abc import Iterable

from mlpipeline.core import audit
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import EnvironmentFault
from mlpipeline.record.attestations import sha256
from mlpipeline.record.result import Reason, Result
from mlpipeline.verbs import auditing
from mlpipeline.verbs.attesting import CLOCK_SLACK_SECONDS, trusted
from mlpipeline.verbs.context import Context

VERB = "audit-verify"
_SAMPLE = 20


def run(context: Context, *, registry: bool = False) -> Result:
    """Reads everything and changes nothing.

    Args:
        registry: Ask the model registry, too, how far the ledger had come when versions were registered.

    Raises EnvironmentFault when the registry cannot be reached.
    """
    started = context.clock.monotonic()
    reasons = _reasons(context, registry=registry)
    verdict = worst(reason.verdict for reason in reasons)
    first = next((reason for reason in reasons if reason.verdict is verdict), reasons[0])
    return context.judged(
        VERB,
        started,
        sorted(reasons, key=lambda reason: reason is not first),
        verdict=verdict,
        summary=first.summary if verdict is not Verdict.PASS else "; ".join(reason.summary for reason in reasons),
    )


def _reasons(context: Context, *, registry: bool) -> list[Reason]:
    try:
        entries = context.ledger.read()
    except EnvironmentFault as fault:
        return [Reason("audit.chain", Verdict.FAIL, fault.in_one_line())]
    lines = [auditing.line(entry) for entry in entries]
    newest = f", the newest is {lines[-1].hash}" if lines else ""
    anchors = auditing.anchors(context) + (auditing.registry_anchors(context, lines) if registry else [])
    results = {key: sha256(content) for key, content in auditing.results(context).items()}
    said = auditing.said(context)
    missing = list(audit.missing_statements(lines, said))
    if context.ledger.shared and missing:
        # Each machine has what was said on it.
        told = f"{len(missing)} statements are not on this machine: {missing[0]}"
        elsewhere = [Reason("audit.elsewhere", Verdict.INCONCLUSIVE, told, sample=tuple(missing[1 : _SAMPLE + 1]))]
        missing = []
    else:
        elsewhere = []
    found = [
        *elsewhere,
        Reason("audit.chain", Verdict.PASS, f"{len(lines)} entries in a whole chain{newest}"),
        _judged("audit.anchors", f"{len(anchors)} anchors name entries that are there", audit.anchored(lines, anchors)),
        _judged("audit.results", f"{len(results)} results are those that entries tell of", audit.unknown_results(lines, results)),
        _judged(
            "audit.statements",
            f"{len(said)} statements are those that entries tell of",
            [*missing, *audit.unfit_statements(lines, said)],
        ),
        _judged("audit.time", "no entry is earlier than the one before", audit.back_in_time(lines, CLOCK_SLACK_SECONDS)),
    ]
    return [*found, _signatures(context, lines, said)]


def _signatures(context: Context, lines: list[audit.Line], said: list[audit.Said]) -> Reason:
    signed = sum(one.signed for one in said)
    if signed and not trusted(context):
        told = f"{signed} statements are signed, and no public key is known: set signing.keys"
        return Reason("audit.signatures", Verdict.INCONCLUSIVE, told)
    return _judged("audit.signatures", f"{signed} of {len(said)} statements are signed", audit.unsigned_after_signed(lines))


def _judged(check: str, well: str, broken: Iterable[str]) -> Reason:
    found = list(broken)
    if not found:
        return Reason(check, Verdict.PASS, well)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Reason(check, Verdict.FAIL, f"{found[0]}{more}", sample=tuple(found[1 : _SAMPLE + 1]))
