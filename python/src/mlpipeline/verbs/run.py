"""The verb ``run``: the whole release in order. Goes on where an earlier call stopped, and stops at the first thing that did
not pass."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from mlpipeline.core.verdict import Verdict
from mlpipeline.errors import ConfigurationError, EnvironmentFault, Failed, Held, MlpipelineError
from mlpipeline.record.result import Reason, Result
from mlpipeline.record.run import FLOW, Run
from mlpipeline.verbs.context import Context, spoken
from mlpipeline.verbs.holding import making, refuse_while_held
from mlpipeline.verbs.rehearsing import refuse_malformed
from mlpipeline.verbs.worthwhile import refuse_another, refuse_taken_back, refuse_unseen_champion

VERB = "run"
Step = Callable[[Context, Run], Result]
Find = Callable[[str], Step]


def _module(verb: str) -> Step:
    """The verb's own function, imported when its turn comes."""
    step: Step = importlib.import_module(f"mlpipeline.verbs.{verb.replace('-', '_')}").run
    return step


def run(context: Context, run: Run, *, find: Find = _module) -> Result:
    """Runs every verb of the flow that has not passed in this run, then writes the report.

    Args:
        find: What to call for each verb and for ``report``; by default the verbs' own modules.

    Users can be moved by others meanwhile, but for the time of the verbs that move them: a rollback need not wait for a training.

    Raises what a verb raises, after the report is written, Held when another run makes a release of this service or another
    worker changes it now, and ConfigurationError when the release of another run was left half-way.
    """
    with making(context, run, VERB):
        refuse_malformed(context)
        refuse_while_held(context)
        refuse_another(context, run)
        return _release(context, run, find)


def released(context: Context) -> Result | None:
    """The outcome of the settled release that all users are on, when it is of exactly this commit, configuration and data.

    Then there is nothing to do, and another release of the same needs a reason.

    Raises what ``gate data`` raises when the data cannot be had.
    """
    from mlpipeline.record.journal import Journal
    from mlpipeline.verbs.current import described
    from mlpipeline.verbs.gate_data import bring

    wanted = described(context, "")
    state = Journal(context.places.journal).read()
    champion = state.champion
    same = [run for run in context.runs.all() if run.same_inputs(wanted)]
    if not same or champion is None or state.release is not None or champion.version.run != same[-1].id:
        return None
    results = context.runs.results(same[-1].id)
    settled, gate = results.get("settle"), results.get("gate-data")
    observed = context.world.target().observe()
    live = observed.colours.get(champion.colour)
    answers = live is not None and live.ready and observed.plan is not None and observed.plan.percent(champion.colour) == 100
    if settled is None or settled.verdict is not Verdict.PASS or gate is None or not answers:
        return None
    if bring(context)[0] != gate.evidence.get("data_version"):
        return None
    context.console.say(
        f"run: nothing to do, users are on the release of this commit, configuration and data: run {same[-1].id}; "
        "to train and release it anew: mlpipeline run --reason WHY"
    )
    return results.get(VERB, settled)


def _release(context: Context, run: Run, find: Find) -> Result:
    started = context.clock.monotonic()
    context.console.say(f"run {run.id} of commit {run.commit[:12]}{' with uncommitted changes' if run.dirty else ''}")
    reasons: list[Reason] = []
    try:
        for number, verb in enumerate(FLOW):
            context.console.progress("release", number, len(FLOW))
            result = _step(context, run, verb, find)
            reasons.append(Reason(check=verb, verdict=result.verdict, summary=f"{spoken(verb)}: {result.summary}"))
            if result.verdict is not Verdict.PASS:
                break
        context.console.progress("release", len(FLOW), len(FLOW))
    except (MlpipelineError, KeyboardInterrupt):
        _report(context, run, find)
        raise
    # The reason that decided comes first; the rest stays in the order of the flow.
    ordered = [*reasons[-1:], *reasons[:-1]] if reasons[-1].verdict is not Verdict.PASS else reasons
    summary = ordered[0].summary if ordered[0].verdict is not Verdict.PASS else f"released: {reasons[-1].summary}"
    _report(context, run, find)
    return context.finish(run, VERB, started, ordered, summary=summary, links=_report_links(context, run))


def _step(context: Context, run: Run, verb: str, find: Find) -> Result:
    before = context.runs.result(run.id, verb)
    if before is not None and before.verdict is Verdict.PASS and not _look_again(context, run, verb):
        context.console.say(f"{spoken(verb)}: passed before ({before.summary})")
        return before
    context.console.say(f"{spoken(verb)}: starts")
    started = context.clock.monotonic()
    try:
        if verb == "train":
            refuse_taken_back(context, run)
            refuse_unseen_champion(context)
        result = find(verb)(context, run)
    except MlpipelineError as error:
        seconds = context.clock.monotonic() - started
        context.console.say(f"{spoken(verb)}: {error.what} ({seconds:.1f} s)")
        note_broken(context, run, verb, started, error)
        raise
    except KeyboardInterrupt as interrupt:
        note_interrupted(context, run, verb, started, str(interrupt))
        raise
    context.console.say(f"{spoken(verb)}: {result.verdict}, {result.summary} ({context.clock.monotonic() - started:.1f} s)")
    if before is not None and before.evidence.get("data_version") != result.evidence.get("data_version"):
        context.console.say(f"{spoken(verb)}: the data changed since this run began, so what rested on it is done again")
        context.runs.drop_results_after(run.id, verb)
    return result


def _look_again(context: Context, run: Run, verb: str) -> bool:
    """Data is no part of the commit unless DVC tracks it: until something is deployed, it is looked at anew. So is the
    candidate, when users are not on the champion any more that it was compared with, or a waiver no longer holds that it
    passed under."""
    deployed = context.runs.result(run.id, "deploy")
    if verb == "gate-data":
        return deployed is None
    if verb == "gate-model" and (deployed is None or deployed.verdict is not Verdict.PASS):
        from mlpipeline.verbs.deploy import other_champion
        from mlpipeline.verbs.releasing import Releasing
        from mlpipeline.verbs.waive import lapsed

        return bool(other_champion(context, run, Releasing(context, token=0))) or lapsed(context, run, verb)
    return False


def note_broken(context: Context, run: Run, verb: str, started: float, error: MlpipelineError) -> None:
    """A verb that broke off leaves a result too, unless it wrote its own or nothing was tried.

    Args:
        started: ``clock.monotonic()`` at its begin.
    """
    if isinstance(error, Held | ConfigurationError):
        return
    known = context.runs.result(run.id, verb)
    if known is not None and known.verdict in {Verdict.PASS, Verdict.FAIL}:
        return
    verdict = Verdict.FAIL if isinstance(error, Failed) else Verdict.ERROR
    check = "environment" if isinstance(error, EnvironmentFault) else "candidate"
    details = tuple(error.render().splitlines()[1:])
    context.finish(run, verb, started, [Reason(check=f"{verb}.{check}", verdict=verdict, summary=error.what, sample=details)])


def note_interrupted(context: Context, run: Run, verb: str, started: float, name: str) -> None:
    """So that record, ledger and report show where it stopped. A result that stands, stands.

    Args:
        started: ``clock.monotonic()`` at its begin.
        name: Of the signal; empty when it is not known.
    """
    known = context.runs.result(run.id, verb)
    if known is not None and known.verdict in {Verdict.PASS, Verdict.FAIL}:
        return
    words = f"interrupted{f' by {name}' if name else ''}; run again to go on"
    context.finish(run, verb, started, [Reason(check=f"{verb}.interrupted", verdict=Verdict.ERROR, summary=words)])


def _report(context: Context, run: Run, find: Find) -> None:
    """A report that cannot be written must not hide what it would have said."""
    try:
        find("report")(context, run)
    except (MlpipelineError, OSError) as error:
        context.console.say(f"report: could not be written: {error}")


def _report_links(context: Context, run: Run) -> dict[str, str]:
    known = context.runs.result(run.id, "report")
    return dict(known.links) if known else {}
