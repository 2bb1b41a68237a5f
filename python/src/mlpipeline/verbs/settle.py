"""``settle``: the switched version becomes the champion, and the old colour is retired."""

from __future__ import annotations

from mlpipeline.core.release import Phase, Release, Settle, Settled, quarantines_of
from mlpipeline.core.traffic import TrafficPlan
from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.holding import held
from mlpipeline.verbs.releasing import Releasing


def run(context: Context, run: Run) -> Result:
    """Settles this run's release. A registry that cannot be reached leaves it half done; the same call goes on.

    Raises:
        ConfigurationError: This run did not switch.
        EnvironmentFault: The registry or the target cannot be reached; users are where they were.
    """
    started = context.clock.monotonic()
    context.needed(run, "switch", "settle")
    with held(context, run, "settle") as token:
        releasing = Releasing(context, token)
        earlier = _done_before(context, run, releasing)
        if earlier is not None:
            return earlier
        release = releasing.release
        if release is None or release.run != run.id:
            raise ConfigurationError(
                "there is no switched release of this run to settle", facts={"run": run.id}, tries=("mlpipeline status",)
            )
        seen = releasing.see()
        reasons = [
            _check(
                "settle.traffic",
                seen.plan == TrafficPlan.all_to(release.colour),
                f"all users are on {release.colour}",
                f"users are not all on {release.colour}: the router says {seen.plan}",
            ),
            _check(
                "settle.ready",
                seen.ready.get(release.colour) == release.candidate.digest,
                f"{release.colour} is ready",
                f"{release.colour} does not answer with {release.candidate.digest[:19]}",
            ),
        ]
        facts = _facts(release)
        if all(reason.verdict is Verdict.PASS for reason in reasons) and release.phase in (Phase.SWITCHED, Phase.SETTLING):
            end(context, releasing, release)
            name = (
                f"version {release.candidate.model_version}" if release.candidate.model_version else release.candidate.digest[:19]
            )
            reasons.insert(0, Reason("settle.champion", Verdict.PASS, f"{name} is the champion, in {release.colour}"))
        return context.finish(run, "settle", started, reasons, evidence=dict(facts), facts=facts)


def end(context: Context, releasing: Releasing, release: Release) -> None:
    """Ends a release that all users were switched to: aliases, the old colour, the journal, the ledger."""
    releasing.happen(Settle())
    _note_lifted(releasing, release)
    releasing.happen(Settled())
    context.note("settled", run=release.run, facts=_facts(release))


def _facts(release: Release) -> dict[str, str]:
    return {
        "colour": str(release.colour),
        "digest": release.candidate.digest,
        "model_version": release.candidate.model_version,
    }


def _note_lifted(releasing: Releasing, release: Release) -> None:
    """Noted before the journal forgets it, so that a crash between them loses nothing."""
    lifted = quarantines_of(releasing.state, release.candidate)
    if lifted:
        facts = {"digest": ", ".join(lifted), "taken back in": ", ".join(sorted({barred.run for barred in lifted.values()}))}
        releasing.note_once("quarantine-lifted", release.run, facts)


def _done_before(context: Context, run: Run, releasing: Releasing) -> Result | None:
    """A crash after the journal said settled, before the result was written, costs only the result."""
    champion = releasing.state.champion
    if releasing.release is not None or champion is None or champion.version.run != run.id:
        return None
    earlier = context.runs.result(run.id, "settle")
    if earlier is not None and earlier.verdict is Verdict.PASS:
        return earlier
    facts = {
        "colour": str(champion.colour),
        "digest": champion.version.digest,
        "model_version": champion.version.model_version,
    }
    entries = context.ledger.read()
    if not any(entry.event == "settled" and entry.run == run.id for entry in entries):
        context.note("settled", run=run.id, facts=facts)
    reason = Reason("settle.champion", Verdict.PASS, f"the version of this run is the champion, in {champion.colour}")
    return context.finish(run, "settle", context.clock.monotonic(), [reason], evidence=dict(facts), facts=facts)


def _check(name: str, good: bool, passed: str, failed: str) -> Reason:
    return Reason(name, Verdict.PASS if good else Verdict.FAIL, passed if good else failed)
