"""``staging``: the same package, released to the environment in front of production before it may reach that.

It is a service of its own: other name, other state, other ledger. Nothing is built again, and nothing of production is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from mlpipeline.config.model import Config
from mlpipeline.config.staging_layer import NAME, staged
from mlpipeline.core.verdict import Verdict, worst
from mlpipeline.errors import ConfigurationError, Failed
from mlpipeline.ports import Console
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import Run
from mlpipeline.verbs import deploy, rollback, settle, switch
from mlpipeline.verbs.context import Context
from mlpipeline.verbs.rehearsing import Rehearsal
from mlpipeline.verbs.verify_artifact import require_proof
from mlpipeline.verbs.wiring import make_context

VERB = "staging"
Make = Callable[[Config, Path, Console, Mapping[str, str]], Context]


def run(context: Context, run: Run, *, allow_quarantined: bool = False, make: Make = make_context) -> Result:
    """Deploys, switches, asks as users do, and settles there. What passed there with this digest is not done again.

    Args:
        allow_quarantined: A person decided that a version that was taken back there may be tried again.

    Raises:
        ConfigurationError: There is no ``staging`` section, or nothing was packaged.
        EnvironmentFault: The staging environment cannot be reached.
    """
    started = context.clock.monotonic()
    if context.config.staging is None:
        raise ConfigurationError(
            "there is no staging environment", facts={"key": "staging"}, tries=("staging: {target: {local: {port: 18080}}}",)
        )
    package = context.needed(run, "package", VERB)
    digest = str(package.evidence["digest"])
    before = context.runs.result(run.id, VERB)
    if before is not None and before.verdict is Verdict.PASS and before.evidence.get("digest") == digest:
        return before
    require_proof(context, run, digest)
    there = staging_context(context, make)
    copy = _run_there(there, run, package)
    context.console.say(f"staging: {digest[:19]} to {there.config.service}")
    reasons, results = _released(there, copy, allow_quarantined=allow_quarantined)
    verdict = worst(reason.verdict for reason in reasons)
    words = f"released to {there.config.service} first: {digest[:19]} passed {', '.join(results)} there"
    first = next((reason for reason in reasons if reason.verdict is not Verdict.PASS), None)
    ordered = [first, *(reason for reason in reasons if reason is not first)] if first is not None else reasons
    return context.finish(
        run,
        VERB,
        started,
        ordered,
        verdict=verdict,
        summary=f"in staging: {first.summary}" if first is not None else words,
        evidence={
            "environment": NAME,
            "service": there.config.service,
            "digest": digest,
            "run": copy.id,
            "steps": [_step(result) for result in results.values()],
        },
        facts={"environment": NAME, "service": there.config.service, "digest": digest},
    )


def staging_context(context: Context, make: Make = make_context) -> Context:
    """The same worker, in the environment in front of production."""
    made = make(staged(context.config), context.project, context.console, {**context.environment, **context.secrets})
    return msgspec.structs.replace(made, environment_name=NAME)


def _run_there(there: Context, run: Run, package: Result) -> Run:
    """The run's record there begins with what was packaged; everything else is found out anew."""
    copy = msgspec.structs.replace(run, id=f"{run.id}-{NAME}", service=there.config.service)
    known = next((one for one in there.runs.all() if one.id == copy.id), None)
    if known is None:
        there.runs.create(copy)
    there.runs.write(msgspec.structs.replace(package, run=copy.id, service=there.config.service))
    return copy


def _released(there: Context, run: Run, *, allow_quarantined: bool) -> tuple[list[Reason], dict[str, Result]]:
    """Step by step, until one does not pass."""
    results: dict[str, Result] = {}
    reasons: list[Reason] = []
    for verb in ("deploy", "switch", "golden", "settle"):
        try:
            if verb == "golden":
                told = _asked_as_user(there, run)
                reasons.extend(told)
                good = all(one.verdict is Verdict.PASS for one in told)
            else:
                results[verb] = result = _done(there, run, verb, allow_quarantined=allow_quarantined)
                reasons.append(Reason(f"staging.{verb}", result.verdict, f"{verb}: {result.summary}", sample=_sample(result)))
                good = result.verdict is Verdict.PASS
        except Failed as failed:
            reasons.append(Reason(f"staging.{verb}", Verdict.FAIL, f"{verb}: {failed.what}", sample=tuple(failed.tries)))
            good = False
        if not good:
            break
    return reasons, results


def _done(there: Context, run: Run, verb: str, *, allow_quarantined: bool) -> Result:
    before = there.runs.result(run.id, verb)
    settled = there.runs.result(run.id, "settle")
    if before is not None and settled is not None and before.verdict is settled.verdict is Verdict.PASS:
        return before
    there.console.say(f"staging: {verb} starts")
    if verb == "deploy":
        return deploy.run(there, run, allow_quarantined=allow_quarantined)
    return switch.run(there, run) if verb == "switch" else settle.run(there, run)


def _asked_as_user(there: Context, run: Run) -> tuple[Reason, ...]:
    """The golden requests through the router, as users would send them; taken back at once when an answer is wrong."""
    told = Rehearsal(there).judge_as_user(there.world.target(), "staging.golden")
    if any(one.verdict is not Verdict.PASS for one in told):
        try:
            rollback.run(there, run, reason=told[0].summary)
        except ConfigurationError as refused:
            there.console.say(f"staging: {refused.what}")
    return told


def _sample(result: Result) -> tuple[str, ...]:
    first = next((reason for reason in result.reasons if reason.verdict is result.verdict), None)
    return first.sample if first is not None and result.verdict is not Verdict.PASS else ()


def _step(result: Result) -> dict[str, object]:
    return {"verb": result.verb, "verdict": str(result.verdict), "summary": result.summary, "seconds": result.seconds}
